"""Expressions of traced sizes as functions of Python: of CoreGrad's sizes, and of numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import sympy
import torch
from torch.fx.experimental.symbolic_shapes import SYMPY_INTERP
from torch.utils._sympy.printers import PythonPrinter

from .. import _core
from .sized_float import SizedFloat

#: What tracing has in the place of numbers.
SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)


class Printer(PythonPrinter):
    """Expressions as Python text in which floats of sizes stay expressions."""

    def _print_FloatTrueDiv(self, expression: sympy.Basic) -> str:
        return f"true_quotient({', '.join(map(self.doprint, expression.args))})"

    _print_IntTrueDiv = _print_FloatTrueDiv

    def _print_ToFloat(self, expression: sympy.Basic) -> str:
        return f"to_float({self.doprint(expression.args[0])})"


def expression_of(value: Any) -> sympy.Basic:
    if isinstance(value, SYMBOLIC):
        return value.node.expr
    return sympy.sympify(value)


def function(parameters: Sequence[str], results: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
    """A function of Python text for each result; it gives a tuple, of any length."""
    values = "".join(f"{r}, " for r in results)
    names = {
        **SYMPY_INTERP,
        **{"max": _largest, "min": _smallest, "quotient": _quotient},
        **{"true_quotient": _true_quotient, "to_float": _to_float},
    }
    return eval(f"lambda {', '.join(parameters)}: ({values})", names)


def _quotient(size: int, divisor: int) -> int:
    count, rest = divmod(size, divisor)
    if rest:
        raise RuntimeError(f"coregrad: traced for multiples of {divisor}, called with {size}")
    return count


def _to_float(value: Any) -> Any:
    return SizedFloat.of(value) if isinstance(value, _core.SymInt) else float(value)


def _true_quotient(a: Any, b: Any) -> Any:
    return SizedFloat.of(a) / SizedFloat.of(b)


def _largest(*values: Any) -> Any:
    is_sized = any(isinstance(v, _core.SymInt) for v in values)
    return functools.reduce(_core.sym_max, values) if is_sized else max(*values)


def _smallest(*values: Any) -> Any:
    is_sized = any(isinstance(v, _core.SymInt) for v in values)
    return functools.reduce(_core.sym_min, values) if is_sized else min(*values)


def plain(value: Any) -> Any:
    """SymPy's own numbers and truth values as Python's."""
    if isinstance(value, sympy.Integer):
        return int(value)
    if isinstance(value, sympy.Float):
        return float(value)
    if isinstance(value, sympy.logic.boolalg.BooleanAtom):
        return bool(value)
    return value
