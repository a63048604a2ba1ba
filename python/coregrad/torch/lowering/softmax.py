"""Softmax, its logarithm, and their gradients."""

from __future__ import annotations

from .table import lower


def softmax_nodes(b, x, dim):
    """Softmax of a floating node along one dimension."""
    if not x.ndim or not x.numel:
        return b.full_like(x, 1)
    e = b.g.exp(x - b.g.reduce_max(x, [dim], True))
    return e / b.g.sum(e, [dim], True)


@lower("aten._softmax.default")
def softmax(b, x, dim, half_to_float):
    return softmax_nodes(b, b.node(x, b.dtype), b.dim(dim, x))


@lower("aten._safe_softmax.default")
def safe_softmax(b, x, dim, dtype=None):
    x = b.node(x, b.dtype)
    if not x.numel:
        return x
    dim = b.dim(dim, x)
    top = b.g.reduce_max(x, [dim], True)
    # A row that is masked out completely gives zeros instead of 0 / 0.
    masked = b.g.eq(top, b.g.literal(x.dtype, float("-inf")))
    return b.where(b.expand(masked, x.shape), 0, softmax_nodes(b, x, dim))


@lower("aten._log_softmax.default")
def log_softmax(b, x, dim, half_to_float):
    x = b.node(x, b.dtype)
    if not x.ndim or not x.numel:
        return b.full_like(x, 0)
    dim = b.dim(dim, x)
    shifted = x - b.g.reduce_max(x, [dim], True)
    return shifted - b.g.log(b.g.sum(b.g.exp(shifted), [dim], True))


def _sum_along(b, x, dim):
    return b.g.sum(x, [b.dim(dim, x)], True) if x.ndim else x


@lower("aten._softmax_backward_data.default")
def softmax_backward(b, grad, y, dim, input_dtype):
    return y * (grad - _sum_along(b, grad * y, dim))


@lower("aten._log_softmax_backward_data.default")
def log_softmax_backward(b, grad, y, dim, input_dtype):
    return grad - b.g.exp(y) * _sum_along(b, grad, dim)
