"""Which operators AOTAutograd takes apart before we see them: core ATen, minus what we compile whole,
plus what PyTorch keeps whole and we do not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from . import encoder_layers
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
    torch.ops.aten._native_multi_head_attention.default: encoder_layers.multi_head_attention,
    torch.ops.aten._transformer_encoder_layer_fwd.default: encoder_layers.encoder_layer,
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
    """What AOTAutograd does to operators: takes them apart, or lays results out as eager does."""
    return with_strides_of_kernels(taken_apart())


@functools.cache
def taken_apart() -> dict[Any, Callable[..., Any]]:
    """The decompositions alone."""
    from torch._decomp import core_aten_decompositions, get_decompositions

    kept = {
        getattr(torch.ops.aten, name) for name in {*KEEP, *PACKETS} if hasattr(torch.ops.aten, name)
    }
    core = {
        op: f
        for op, f in core_aten_decompositions().items()
        if getattr(op, "overloadpacket", op) not in kept
    }
    return core | get_decompositions(BORROWED) | OWN
