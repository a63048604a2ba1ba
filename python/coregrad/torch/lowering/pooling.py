"""Pooling in PyTorch's conventions. Gradients of maxima go where the saved positions say."""

from __future__ import annotations

import math

from .table import each, lower


def scatter_back(b, grad, x, indices, rank):
    """The gradient of maxima that stood at flat positions of the last `rank` dimensions."""
    outer = list(x.shape[: x.ndim - rank])
    area, places = math.prod(x.shape[-rank:]), math.prod(grad.shape[-rank:])
    index, values = b.g.reshape(indices, [*outer, places]), b.g.reshape(grad, [*outer, places])
    zeros = b.g.full([*outer, area], grad.dtype, 0)
    return b.g.reshape(b.g.scatter(zeros, len(outer), index, values, "add"), list(x.shape))


def _pools(rank):
    """The rows of sliding windows over `rank` dimensions."""
    pool = f"{rank}d"

    @lower(f"aten.max_pool{pool}_with_indices.default")
    def max_pool(b, x, kernel, stride=(), padding=(0,), dilation=(1,), ceil_mode=False):
        kernel, lists = each(kernel, rank), map(list, (stride, padding, dilation))
        return b.g.max_pool_with_indices(x, kernel, *lists, ceil_mode)

    @lower(f"aten.max_pool{pool}_with_indices_backward.default")
    def max_pool_backward(b, grad, x, kernel, stride, padding, dilation, ceil_mode, indices):
        return scatter_back(b, grad, x, indices, rank)

    @lower(f"aten.avg_pool{pool}.default")
    def avg_pool(b, x, kernel, stride=(), padding=(0,), ceil_mode=False, pads=True, divisor=None):
        kernel, lists = each(kernel, rank), map(list, (stride, padding))
        return b.g.avg_pool(x, kernel, *lists, ceil_mode, pads, divisor)

    @lower(f"aten.avg_pool{pool}_backward.default")
    def avg_pool_backward(b, grad, x, *options):
        return b.gradient(lambda v: avg_pool(b, v, *options), x, grad)

    @lower(f"aten._adaptive_avg_pool{pool}.default")
    def adaptive_avg_pool(b, x, size):
        if not b.result.numel():
            return b.g.full(b.shape, b.dtype, 0)
        return b.g.adaptive_avg_pool(x, list(size))

    @lower(f"aten._adaptive_avg_pool{pool}_backward.default")
    def adaptive_avg_pool_backward(b, grad, x):
        if not b.result.numel():
            return b.g.full(b.shape, b.dtype, 0)
        size = list(grad.shape[-rank:])
        return b.gradient(lambda v: b.g.adaptive_avg_pool(v, size), x, grad)

    @lower(f"aten.adaptive_max_pool{pool}.default")
    def adaptive_max_pool(b, x, size):
        if not x.numel or not math.prod(b.shape):
            b.unsupported("adaptive pooling of nothing")
        return b.g.adaptive_max_pool_with_indices(x, list(size))

    @lower(f"aten.adaptive_max_pool{pool}_backward.default")
    def adaptive_max_pool_backward(b, grad, x, indices):
        return scatter_back(b, grad, x, indices, rank)


for _rank in (2, 3):
    _pools(_rank)
