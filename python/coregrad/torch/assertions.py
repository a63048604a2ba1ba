"""What a graph asserts about its sizes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import sympy
import torch
from torch.fx import Node as FxNode

from .expressions import SYMBOLIC, expression_of
from .retrace import sizes_in, symbols_of

aten = torch.ops.aten


def _asserted(node: FxNode) -> tuple[sympy.Basic, str]:
    condition, message = node.args
    value = condition.meta["val"] if isinstance(condition, FxNode) else condition
    return expression_of(value), message


def _constrained(node: FxNode, lowest: int | None) -> tuple[sympy.Basic, str]:
    size = expression_of(node.args[0].meta["val"])
    low, high = node.kwargs.get("min"), node.kwargs.get("max")
    bounds = [size >= (lowest if low is None else low)] if (low, lowest) != (None, None) else []
    bounds += [size <= high] if high is not None else []
    return sympy.And(*bounds), f"a size is not between {low} and {high}"


#: Operators that say something about sizes: what, and the error if it does not hold.
ASSERTS: dict[Any, Callable[[FxNode], tuple[sympy.Basic, str]]] = {
    aten._assert_scalar.default: _asserted,
    aten.sym_constrain_range.default: lambda node: _constrained(node, None),
    aten.sym_constrain_range_for_size.default: lambda node: _constrained(node, 0),
}


def assertions_of(nodes: Iterable[FxNode]) -> dict[sympy.Basic, str]:
    """What the operators of a graph assert and what tracing left to be checked, with messages."""
    nodes = list(nodes)
    found = dict(ASSERTS[n.target](n) for n in nodes if n.target in ASSERTS)
    sizes = (s for n in nodes for s in sizes_in(n.meta.get("val")))
    shape_env = next((s.node.shape_env for s in sizes if isinstance(s, SYMBOLIC)), None)
    left = shape_env.deferred_runtime_asserts if shape_env is not None else {}
    if left:
        symbols = symbols_of(nodes)
        for deferred in itertools.chain(*left.values()):
            expression = shape_env.replace(deferred.expr)
            if expression.free_symbols <= symbols:
                text = f"Runtime assertion failed for expression {expression}"
                found.setdefault(expression, text)
    return {e: text for e, text in found.items() if e != sympy.true}


def is_only_asserted(node: FxNode) -> bool:
    """Whether a node is read by nothing but what asserts something."""
    return bool(node.users) and all(user.target in ASSERTS for user in node.users)
