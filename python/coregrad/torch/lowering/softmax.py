"""Softmax and its logarithm by PyTorch's names, and their gradients, which take the results."""

from __future__ import annotations

from .table import lower


@lower("aten._softmax.default")
def softmax(b, x, dim, half_to_float):
    return b.g.softmax(b.node(x, b.dtype), dim)


@lower("aten._safe_softmax.default")
def safe_softmax(b, x, dim, dtype=None):
    x = b.node(x, b.dtype)
    if not x.numel:
        return x
    # A row that is masked out completely gives zeros instead of 0 / 0.
    masked = b.g.eq(b.g.amax(x, dim, True), b.g.literal(x.dtype, float("-inf")))
    return b.where(b.expand(masked, x.shape), 0, b.g.softmax(x, dim))


@lower("aten._log_softmax.default")
def log_softmax(b, x, dim, half_to_float):
    return b.g.log_softmax(b.node(x, b.dtype), dim)


def _sum_along(b, x, dim):
    return b.g.sum(x, [b.dim(dim, x)], True) if x.ndim else x


@lower("aten._softmax_backward_data.default")
def softmax_backward(b, grad, y, dim, input_dtype):
    return y * (grad - _sum_along(b, grad * y, dim))


@lower("aten._log_softmax_backward_data.default")
def log_softmax_backward(b, grad, y, dim, input_dtype):
    return grad - b.g.exp(y) * _sum_along(b, grad, dim)
