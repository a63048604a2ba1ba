"""Which overloads take or give int8, uint8 and int16: they are int32 in our graphs, wrapped where they
are computed.

Other overloads are refused where they meet one, so that nothing overflows in another way than PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch

from .table import find_overload

#: Rows that only move elements, choose among them, or give no small integers.
MOVES = (
    *("alias.default", "clone.default", "contiguous.default", "detach.default"),
    *("lift_fresh_copy.default", "_unsafe_view.default", "view.default", "reshape.default"),
    *("permute.default", "t.default", "transpose.int", "expand.default", "unsqueeze.default"),
    *("squeeze.default", "squeeze.dim", "squeeze.dims", "select.int", "slice.Tensor"),
    *("split.Tensor", "split_with_sizes.default", "unbind.int", "flip.default", "roll.default"),
    *("repeat.default", "index_select.default", "gather.default", "embedding.default"),
    *("stack.default", "cat.default", "where.self", "diagonal.default"),
    *("zeros.default", "ones.default", "zeros_like.default", "ones_like.default", "eye.default"),
    *("empty.memory_format", "empty_like.default", "new_zeros.default", "new_ones.default"),
    *("eye.m", "tril.default", "triu.default", "any.default", "any.dim", "all.default", "all.dim"),
    *("maximum.default", "minimum.default", "amax.default", "amin.default", "argmax.default"),
    *("eq.Tensor", "ne.Tensor", "lt.Tensor", "le.Tensor", "gt.Tensor", "ge.Tensor"),
    *("logical_not.default", "logical_and.default", "logical_or.default", "scatter.src"),
    *("embedding_dense_backward.default", "sort.default", "relu.default", "_int_mm.default"),
)
#: Rows whose int32 results are wrapped; with numbers only such as the dtype can hold.
COMPUTES = (
    *("_to_copy.default", "add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "neg.default"),
    *("bitwise_and.Tensor", "bitwise_or.Tensor", "bitwise_xor.Tensor", "bitwise_not.default"),
    *("sum.default", "sum.dim_IntList", "mean.default", "mean.dim", "arange.start_step"),
    *("abs.default", "floor_divide.default", "remainder.Tensor", "scatter_add.default"),
    *("copy.default", "full.default", "full_like.default", "scalar_tensor.default"),
)
#: The same where the number stands second.
WITH_NUMBERS = (
    *("eq.Scalar", "ne.Scalar", "lt.Scalar", "le.Scalar", "gt.Scalar", "ge.Scalar"),
    *("add.Scalar", "sub.Scalar", "mul.Scalar", "div.Scalar", "remainder.Scalar"),
    *("bitwise_and.Scalar", "bitwise_or.Scalar", "bitwise_xor.Scalar"),
    *("add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor"),
)


def _overloads(names: tuple[str, ...]) -> frozenset[Any]:
    return frozenset(find_overload(f"aten.{name}") for name in names) - {None}


_MOVES, _COMPUTES, _WITH_NUMBERS = map(_overloads, (MOVES, COMPUTES, WITH_NUMBERS))


def refusal(overload: Any) -> str | None:
    """Why an overload cannot take or give small integers; None if it can."""
    return None if overload in _MOVES | _COMPUTES | _WITH_NUMBERS else "no lowering"


def wrapped(graph: Any, overload: Any, x: Any, dtype: torch.dtype) -> Any:
    """An int32 result as the dtype would hold it."""
    if overload in _MOVES:
        return x
    info = torch.iinfo(dtype)
    mask = graph.literal(x.dtype, info.max - info.min)
    if not info.min:
        return x & mask
    return ((x - info.min) & mask) + info.min
