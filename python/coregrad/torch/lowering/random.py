"""Random numbers: counter-based, so that a seed drawn from PyTorch's generator decides them all."""

from __future__ import annotations

import math

from .table import lower


def _keep(b, shape, dtype, p):
    """True with probability 1 - p."""
    return b.uniform(dtype, shape) >= p


@lower("aten.native_dropout.default")
def native_dropout(b, x, p, train):
    if train is False or p == 0:
        return x, b.g.full(list(x.shape), b.core_bool, True)
    if p == 1:
        return b.full_like(x, 0), b.g.full(list(x.shape), b.core_bool, False)
    mask = _keep(b, x.shape, x.dtype, p)
    return b.where(mask, x * (1 / (1 - p)), 0), mask


@lower("aten.native_dropout_backward.default")
def native_dropout_backward(b, grad, mask, scale):
    return b.where(b.node(mask, b.core_bool), b.node(grad, b.dtype) * scale, 0)


@lower("aten.rand.default", "aten.rand_like.default")
def rand(b, *_, **__):
    return b.uniform(b.dtype, b.shape)


@lower("aten.randn.default", "aten.randn_like.default")
def randn(b, *_, **__):
    # Box and Muller's transform; 1 - u keeps the logarithm finite.
    radius = b.g.sqrt(b.g.log(1.0 - b.uniform(b.dtype, b.shape)) * -2.0)
    return radius * b.g.cos(b.uniform(b.dtype, b.shape) * (2 * math.pi))


@lower("aten.bernoulli.p")
def bernoulli(b, x, p=0.5, *, generator=None):
    return b.node(b.uniform(b.core_float32, b.shape) < p, b.dtype)
