"""Searches in sorted sequences, in PyTorch's conventions."""

from __future__ import annotations

from .table import lower


@lower("aten.searchsorted.Tensor", "aten.searchsorted.Scalar")
def searchsorted(b, boundaries, x, *, out_int32=False, right=False, side=None, sorter=None):
    if sorter is not None:
        sorter = b.node(sorter, b.core_int64)
        boundaries = b.g.gather(boundaries, boundaries.ndim - 1, sorter)
    x = b.expand(b.node(x, boundaries.dtype), b.shape)
    return b.node(b.g.searchsorted(boundaries, x, right or side == "right"), b.dtype)


@lower("aten.bucketize.Tensor", "aten.bucketize.Scalar")
def bucketize(b, x, boundaries, *, out_int32=False, right=False):
    return searchsorted(b, boundaries, x, out_int32=out_int32, right=right)


@lower("aten.repeat_interleave.Tensor")
def repeat_interleave(b, repeats, *, output_size=None):
    n = b.shape[0]
    if not n or not repeats.numel:
        return b.g.full(b.shape, b.dtype, 0)
    ends = b.g.cumsum(b.node(repeats, b.core_int64), 0)
    return b.node(b.g.searchsorted(ends, b.g.iota(b.core_int64, n), True), b.dtype)
