"""Which operators AOTAutograd takes apart before we see them: core ATen, minus what we compile whole."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

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
    "gelu",
    "gelu_backward",
    "silu",
    "silu_backward",
    "sigmoid_backward",
    "tanh_backward",
    "threshold_backward",
    "hardtanh",
    "hardtanh_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "elu",
    "elu_backward",
    "hardswish",
    "hardswish_backward",
    "hardsigmoid",
    "hardsigmoid_backward",
    "softplus",
    "softplus_backward",
    "log_sigmoid_forward",
    "log_sigmoid_backward",
    "mish",
    "mish_backward",
    "glu",
    "glu_backward",
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
    "mse_loss",
    "mse_loss_backward",
    "binary_cross_entropy",
    "binary_cross_entropy_backward",
    "binary_cross_entropy_with_logits",
    "smooth_l1_loss",
    "smooth_l1_loss_backward",
    "huber_loss",
    "huber_loss_backward",
    "_unsafe_index",
    "_unsafe_index_put",
    "clamp_min",
    "clamp_max",
    "masked_fill",
    "tril",
    "triu",
    "logsumexp",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool2d_backward",
    "var",
    "var_mean",
    "std",
    "roll",
    "rsub",
    "any",
    "all",
    "square",
)


@functools.cache
def table() -> dict[Any, Callable[..., Any]]:
    """The decomposition table for AOTAutograd."""
    from torch._decomp import core_aten_decompositions

    kept = {getattr(torch.ops.aten, name) for name in KEEP if hasattr(torch.ops.aten, name)}
    return {
        op: f
        for op, f in core_aten_decompositions().items()
        if getattr(op, "overloadpacket", op) not in kept
    }
