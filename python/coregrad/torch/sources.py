"""Where a call tells the symbols of a traced graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import sympy
import torch
from torch.utils._sympy.printers import PythonPrinter
from torch.utils._sympy.solve import try_solve

from .expressions import SYMBOLIC, expression_of
from .fallback import is_dense
from .metadata import TO_CORE, part_dtype


@dataclasses.dataclass(frozen=True)
class Source:
    """How the arguments of a call tell a symbol."""

    place: tuple[str, int, int]  #: as _core.make_sized_entry takes it
    text: str = "{}"  #: Python for its value, of what is found there

    def read(self, values: str) -> str:
        """Python for its value, of a list of arguments."""
        kind, number, dim = self.place
        found = f"{values}[{number}]"
        if kind in ("size", "shape"):
            found += f".shape[{dim}]"
        elif kind == "stride":
            found += f".stride()[{dim}]"
        elif kind == "storage_offset":
            found += ".storage_offset()"
        return self.text.format(found)


Places = list[tuple[Any, tuple[str, int, int]]]


def places_of(number: int, value: Any) -> Places:
    """The sizes that an argument tells, traced, and their places."""
    if isinstance(value, torch.Tensor):
        kind = "size" if _is_borrowed(value) else "shape"
        return [(n, (kind, number, d)) for d, n in enumerate(value.shape)]
    return [(value, ("float" if isinstance(value, torch.SymFloat) else "int", number, 0))]


def _places_of_layout(number: int, value: Any) -> Places:
    """The same for strides and the offset of a tensor's memory."""
    if not isinstance(value, torch.Tensor) or not _is_borrowed(value):
        return []
    strides = [(n, ("stride", number, d)) for d, n in enumerate(value.stride())]
    return [*strides, (value.storage_offset(), ("storage_offset", number, 0))]


def _is_borrowed(value: torch.Tensor) -> bool:
    """Whether an entry can look at a tensor's memory."""
    return is_dense(value) and part_dtype(value.dtype) in TO_CORE


def sources(values: Sequence[Any]) -> dict[sympy.Symbol, Source]:
    """For each symbol that a call's arguments, traced as `values`, tell: the first place that says it
    outright, or else one from which it can be solved, or else one of a layout, which memory may have
    other ones of.
    """
    outright: dict[sympy.Symbol, Source] = {}
    solved: dict[sympy.Symbol, Source] = {}
    layouts: dict[sympy.Symbol, Source] = {}
    printer = PythonPrinter()
    for number, value in enumerate(values):
        for what, place in _places_of_layout(number, value):
            if isinstance(what, torch.SymInt) and isinstance(what.node.expr, sympy.Symbol):
                layouts.setdefault(what.node.expr, Source(place))
        for what, place in places_of(number, value):
            if not isinstance(what, SYMBOLIC):
                continue
            expression = expression_of(what)
            if isinstance(what, torch.SymBool):  # of item(): a symbol that is 1
                if not isinstance(expression, sympy.Eq) or expression.rhs != 1:
                    continue
                expression = expression.lhs
            if isinstance(expression, sympy.Symbol):
                outright.setdefault(expression, Source(place))
                continue
            if len(expression.free_symbols) == 1:
                (symbol,) = expression.free_symbols
                given = sympy.Symbol("given", integer=True, positive=True)
                solution = try_solve(sympy.Eq(expression, given), symbol)
                if solution is not None and solution[1].free_symbols == {given}:
                    text = f"round((lambda given: {printer.doprint(solution[1])})({{}}))"
                    solved.setdefault(symbol, Source(place, text))
    return layouts | solved | outright
