"""The strides of what PyTorch's kernels give, where those that its tracing gives are others.

A traced graph's strides decide the layout of outputs and what `as_strided` reads, so a compiled function
would differ from the eager one. Each rule here says what the kernel does; operators that are traced
rightly have none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch._prims_common import is_contiguous_or_false, suggest_memory_format
from torch.fx.experimental.proxy_tensor import disable_proxy_modes_tracing
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from .metadata import inverse_permutation, storage_order

aten = torch.ops.aten
Strides = Sequence[int]


def _shapes(x: torch.Tensor) -> torch.Tensor:
    """A tensor of the same layout without elements."""
    return torch.empty_strided(x.shape, x.stride(), device="meta")


def _of_iterator(*operands: Any, **_: Any) -> Strides:
    """Elementwise kernels: the order of dimensions that their operands have."""
    tensors = [_shapes(x) for x in operands if isinstance(x, torch.Tensor)]
    return (sum(tensors[1:], tensors[0]) if len(tensors) > 1 else tensors[0] + 1).stride()


def _of_first(x: torch.Tensor, *_: Any, **__: Any) -> Strides:
    """Kernels that make their result like their first operand."""
    return torch.empty_like(_shapes(x)).stride()


def _row_major(x: torch.Tensor, *_: Any, **__: Any) -> Strides:
    return torch.empty(x.shape, device="meta").stride()


def _channels(shape: Callable[..., Sequence[int]] | None = None) -> Callable[..., Strides]:
    """Kernels whose result is channels-last where their first operand is, else row-major."""

    def rule(x: torch.Tensor, *args: Any, **_: Any) -> Strides:
        size = x.shape if shape is None else shape(x, *args)
        return torch.empty(size, device="meta", memory_format=suggest_memory_format(x)).stride()

    return rule


def _of_roll(x: torch.Tensor, shifts: Any, dims: Sequence[int] = ()) -> Strides:
    """Two parts are joined along each dimension, or the row-major elements are rolled."""
    if not dims:
        return _row_major(x)
    x = _shapes(x)
    for shift, dim in zip([shifts] if isinstance(shifts, int) else shifts, dims):
        n = x.shape[dim]
        cut = -shift % n
        x = torch.cat([x.narrow(dim, cut, n - cut), x.narrow(dim, 0, cut)], dim)
    return x.stride()


def _of_power(base: Any, exponent: torch.Tensor) -> Strides:
    return _row_major(exponent)


def _of_ldexp(x: torch.Tensor, exponent: torch.Tensor) -> Strides:
    return _of_iterator(x, torch.empty(exponent.shape, device="meta"))  # a power of the number 2


#: A rule for an operator's result, or the first of them.
RULES: dict[Any, Callable[..., Strides]] = {
    **dict.fromkeys(
        (
            aten.copysign.Tensor,
            aten.copysign.Scalar,
            aten.floor_divide.default,
            aten.div.Tensor_mode,
            aten.heaviside.default,
            aten.logaddexp.default,
            aten.logical_and.default,
            aten.logical_or.default,
            aten.logical_xor.default,
            aten.native_dropout_backward.default,
            aten.special_xlog1py.default,
            aten.xlogy.Tensor,
        ),
        _of_iterator,
    ),
    aten.binary_cross_entropy.default: _of_first,
    aten.log_sigmoid_forward.default: _row_major,
    **dict.fromkeys(
        (
            aten.native_batch_norm.default,
            aten._native_batch_norm_legit.default,
            aten._native_batch_norm_legit.no_stats,
            aten._native_batch_norm_legit_functional.default,
            aten._native_batch_norm_legit_no_training.default,
            aten._batch_norm_with_update.default,
            aten._batch_norm_with_update_functional.default,
            aten._batch_norm_no_update.default,
            aten.channel_shuffle.default,
            aten.native_channel_shuffle.default,
        ),
        _channels(),
    ),
    aten.pow.Scalar: _of_power,
    aten.ldexp.Tensor: _of_ldexp,
    aten.max_unpool2d.default: _channels(lambda x, _, size: (*x.shape[:-2], *size)),
    aten.roll.default: _of_roll,
}


def with_strides_of_kernels(table: dict[Any, Callable[..., Any]]) -> dict[Any, Callable[..., Any]]:
    """A decomposition table that also gives results the strides above."""
    return table | {op: _corrected(op, rule, table.get(op)) for op, rule in RULES.items()}


def _corrected(
    op: Any, rule: Callable[..., Strides], original: Callable[..., Any] | None
) -> Callable[..., Any]:
    is_inside = False

    def decomposition(*args: Any, **kwargs: Any) -> Any:
        nonlocal is_inside
        tensors = [x for x in pytree.arg_tree_leaves(*args) if isinstance(x, torch.Tensor)]
        has_choice = any(
            not is_contiguous_or_false(x) for x in tensors if x.layout == torch.strided
        )
        if is_inside or not has_choice or any(x.layout != torch.strided for x in tensors):
            return NotImplemented if original is None else original(*args, **kwargs)
        is_inside = True
        try:
            results = (original or op)(*args, **kwargs)
        finally:
            is_inside = False
        is_single = isinstance(results, torch.Tensor)
        first, *others = [results] if is_single else results
        with disable_proxy_modes_tracing():
            dims = _order(first, rule(*args, **kwargs))
        if dims is not None:
            row_major = first.permute(dims).clone(memory_format=torch.contiguous_format)
            first = row_major.permute(inverse_permutation(dims))
        return first if is_single else (first, *others)

    return decomposition


def _order(x: torch.Tensor, strides: Strides) -> list[int] | None:
    """The dimensions in the order that strides say, if a dense tensor has another one."""

    def significant(strides: Strides) -> list[int]:
        return [d for d in storage_order(strides) if x.shape[d] != 1]

    if free_unbacked_symbols(x):  # nothing is known about its sizes
        return None
    is_there = not x.numel() or significant(x.stride()) == significant(strides)
    return None if is_there else storage_order(strides)
