"""Which operators AOTAutograd takes apart before we see them: core ATen, minus what we compile whole,
plus what PyTorch keeps whole and we do not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from .layouts import with_strides_of_kernels
from .lowering.shared import PACKETS

#: Beside what the table of operators names.
KEEP = (
    "native_layer_norm",
    "native_layer_norm_backward",
    "native_group_norm",
    "native_group_norm_backward",
    "native_batch_norm_backward",
    "_softmax",
    "_softmax_backward_data",
    "_safe_softmax",
    "_log_softmax",
    "_log_softmax_backward_data",
    "nll_loss_forward",
    "nll_loss_backward",
    "nll_loss2d_forward",
    "nll_loss2d_backward",
    "sigmoid_backward",
    "tanh_backward",
    "threshold_backward",
    "elu_backward",
    "log_sigmoid_forward",
    "log_sigmoid_backward",
    "native_dropout",
    "native_dropout_backward",
    "embedding_dense_backward",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "convolution_backward",
    "addmm",
    "baddbmm",
    "addcmul",
    "addcdiv",
    "lerp",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits",
    "_unsafe_index",
    "_unsafe_index_put",
    "clamp_min",
    "clamp_max",
    "masked_fill",
    "tril",
    "triu",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool2d_backward",
    "var",
    "var_mean",
    "std",
    "roll",
    "rsub",
    "eye",
    "index_add",
    "index_copy",
)


def _bags_of(indices: torch.Tensor, offsets: torch.Tensor, num_bags: int) -> torch.Tensor:
    """The bag each index belongs to: how many bags have begun, less one."""
    n = indices.shape[0]
    starts = offsets[:num_bags].long()
    begun = offsets.new_zeros(n + 1, dtype=torch.int64).index_add(
        0, starts, torch.ones_like(starts)
    )
    return begun.cumsum(0)[:n] - 1


def _embedding_bag(
    weight: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: torch.Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> Any:
    """Rows of `weight` summed (mode 0), averaged (1) or maximised (2) over bags, the bag of each index,
    the size of each bag, and the indices of the maxima.
    """
    if sparse or scale_grad_by_freq:  # eager's scaling is not the inverse frequency: left to it
        return NotImplemented
    num_bags = offsets.shape[0] - int(include_last_offset)
    bag = _bags_of(indices, offsets, num_bags)
    is_used = indices != padding_idx
    rows = torch.ops.aten.embedding(weight, indices)
    sizes = bag.new_zeros(num_bags).index_add(0, bag, is_used.long())
    shape = (num_bags, weight.shape[1])
    if mode == 2:
        every = bag.unsqueeze(1).expand_as(rows)
        lowest = rows.new_full(shape, float("-inf"))
        rows = torch.where(is_used.unsqueeze(1), rows, float("-inf"))
        most = lowest.scatter_reduce(0, every, rows, "amax")
        place = torch.arange(indices.shape[0], device=indices.device).unsqueeze(1)
        there = most.gather(0, every)
        is_most = (rows == there) | (rows.isnan() & there.isnan())
        place = torch.where(is_most & is_used.unsqueeze(1), place, indices.shape[0])
        first = bag.new_full(shape, indices.shape[0]).scatter_reduce(0, every, place, "amin")
        is_empty = (sizes == 0).unsqueeze(1)
        ends = torch.cat([indices.long(), indices.new_zeros(1, dtype=torch.int64)])
        return torch.where(is_empty, 0, most), bag, sizes, ends[first]
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    rows = torch.where(is_used.unsqueeze(1), rows, 0)
    out = rows.new_zeros(shape).index_add(0, bag, rows)
    if mode == 1:
        out = out / sizes.clamp(min=1).unsqueeze(1)
    return out, bag, sizes, torch.zeros_like(sizes)


def _embedding_bag_backward(
    grad: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    bag: torch.Tensor,
    sizes: torch.Tensor,
    maximum_indices: torch.Tensor,
    num_weights: int,
    scale_grad_by_freq: bool,
    mode: int,
    sparse: bool,
    per_sample_weights: torch.Tensor | None,
    padding_idx: int = -1,
) -> Any:
    """The gradient of `weight`, [num_weights, features]."""
    if sparse or scale_grad_by_freq:
        return NotImplemented
    if mode == 2:
        zeros = grad.new_zeros(num_weights, grad.shape[1])
        return zeros.scatter_add(
            0, maximum_indices, torch.where((sizes == 0).unsqueeze(1), 0, grad)
        )
    if mode == 1:
        grad = grad / sizes.clamp(min=1).unsqueeze(1)
    rows = grad.index_select(0, bag)
    if per_sample_weights is not None:
        rows = rows * per_sample_weights.unsqueeze(1)
    return torch.ops.aten.embedding_dense_backward(rows, indices, num_weights, padding_idx, False)


def _embedding_bag_per_sample_weights_backward(
    grad: torch.Tensor,
    weight: torch.Tensor,
    indices: torch.Tensor,
    offsets: torch.Tensor,
    bag: torch.Tensor,
    mode: int,
    padding_idx: int = -1,
) -> Any:
    if bag.shape != indices.shape:  # the forward pass was left to PyTorch
        return NotImplemented
    products = grad.index_select(0, bag) * torch.ops.aten.embedding(weight, indices)
    return torch.where(indices != padding_idx, products.sum(1), 0)


def _weight_norm_interface_backward(
    grad_w: torch.Tensor,
    saved_v: torch.Tensor,
    saved_g: torch.Tensor,
    saved_norms: torch.Tensor,
    dim: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of v and g where w = g * v / |v|, the norm over all dimensions but `dim`."""
    others = [d for d in range(saved_v.ndim) if d != dim]
    norms = saved_norms.reshape(saved_g.shape)
    along = (grad_w * saved_v).sum(others, keepdim=True)
    grad_v = (saved_g / norms) * (grad_w - saved_v * (along / (norms * norms)))
    return grad_v, along / norms


OWN = {
    torch.ops.aten._embedding_bag.default: _embedding_bag,
    torch.ops.aten._embedding_bag_forward_only.default: _embedding_bag,
    torch.ops.aten._embedding_bag_backward.default: _embedding_bag_backward,
    torch.ops.aten._embedding_bag_per_sample_weights_backward.default: (
        _embedding_bag_per_sample_weights_backward
    ),
    torch.ops.aten._weight_norm_interface_backward.default: _weight_norm_interface_backward,
}


#: What PyTorch has formulas for outside of its core table.
BORROWED = (
    torch.ops.aten.rrelu_with_noise_backward,
    torch.ops.aten.tril_indices,
    torch.ops.aten.triu_indices,
)


@functools.cache
def table() -> dict[Any, Callable[..., Any]]:
    """The decomposition table for AOTAutograd."""
    from torch._decomp import core_aten_decompositions, get_decompositions

    kept = {
        getattr(torch.ops.aten, name) for name in {*KEEP, *PACKETS} if hasattr(torch.ops.aten, name)
    }
    core = {
        op: f
        for op, f in core_aten_decompositions().items()
        if getattr(op, "overloadpacket", op) not in kept
    }
    return with_strides_of_kernels(core | get_decompositions(BORROWED) | OWN)
