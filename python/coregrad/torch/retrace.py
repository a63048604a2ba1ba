"""Sizes that tracing named twice.

AOTAutograd merges equal operators. Where two that tell a size became one, what read the second one has
a size that only that one told. Traced again from what it reads now, it says which size that is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols
from torch.utils import _pytree as pytree
from torch.utils._sympy.solve import try_solve

from . import compat
from .expressions import SYMBOLIC, expression_of
from .spelling import tells_size


def sizes_in(traced: Any) -> Iterator[Any]:
    """The sizes of traced values."""
    for value in pytree.tree_leaves(traced):
        if not isinstance(value, torch.Tensor):
            yield value
        elif value.layout == torch.strided:
            yield from (*value.shape, *value.stride(), value.storage_offset())


def symbols_of(nodes: Iterable[FxNode]) -> set[sympy.Symbol]:
    """What the sizes of traced values are expressions of."""
    sizes = (s for n in nodes for s in sizes_in(n.meta.get("val")) if isinstance(s, SYMBOLIC))
    return set().union(*(expression_of(s).free_symbols for s in sizes))


def identify_sizes(module: GraphModule) -> None:
    """Tells PyTorch's ShapeEnv which sizes are those that nothing of the graph tells any more."""
    leaves = [n for n in module.graph.nodes if n.op == "placeholder" or tells_size(n)]
    if not any(free_unbacked_symbols(v) for n in leaves for v in sizes_in(n.meta.get("val"))):
        return  # sizes of inputs are never merged
    told = symbols_of(leaves)
    for node in module.graph.nodes:
        is_operator = node.op == "call_function" and callable(node.target) and not tells_size(node)
        is_traced = all("val" in n.meta for n in (node, *node.all_input_nodes))
        if is_operator and is_traced and symbols_of([node]) - told:
            for old, new in zip(sizes_in(node.meta["val"]), _sizes_again(node), strict=True):
                if isinstance(old, torch.SymInt):
                    _identify(old, new, told)
            told = symbols_of(leaves)


def _identify(old: torch.SymInt, new: Any, told: set[sympy.Symbol]) -> None:
    """Says what the symbol of a size that nothing tells is if the size is this other one."""
    is_equal = sympy.Eq(expression_of(old), expression_of(new))
    untold = is_equal.free_symbols - told
    if len(untold) == 1:
        solution = try_solve(is_equal, untold.pop())
        if solution is not None:
            compat.replace_symbol(old.node.shape_env, solution[0].lhs, solution[1])


def _sizes_again(node: FxNode) -> list[Any]:
    values = pytree.tree_leaves([n.meta.get("val") for n in (node, *node.all_input_nodes)])
    mode = next((v.fake_mode for v in values if isinstance(v, FakeTensor)), None)
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta["val"])
    with mode if mode is not None else contextlib.nullcontext(), torch.no_grad():
        return list(sizes_in(node.target(*args, **kwargs)))
