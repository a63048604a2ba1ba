"""Searches in sorted sequences, and scans for extremes."""

from __future__ import annotations

from .table import is_float, lower


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


def scan(b, values, dim, join):
    """Each place joined with all before it, by doubling; `values` are nodes of one shape.

    `join(earlier, later)` must be associative; what lies before the start is left out.
    """
    extent = values[0].shape[dim]
    position = b.along(b.g.iota(b.core_int64, extent), dim, values[0].ndim)
    step = 1
    while step < extent:
        earlier = []
        for v in values:
            low, high = [0] * v.ndim, [0] * v.ndim
            low[dim] = step
            kept = b.g.narrow(v, dim, 0, extent - step)
            earlier.append(b.g.pad(kept, low, high, [0] * v.ndim, 0))
        begun = b.expand(position >= step, values[0].shape)
        joined = join(earlier, values)
        values = [b.where(begun, j, v) for j, v in zip(joined, values)]
        step *= 2
    return values


def _extreme_scan(name):
    def row(b, x, dim):
        if not x.ndim or not x.numel:
            return x, b.g.full(list(x.shape), b.core_int64, 0)
        dim = b.dim(dim, x)
        place = b.expand(b.along(b.g.iota(b.core_int64, x.shape[dim]), dim, x.ndim), x.shape)

        def join(earlier, later):
            old, new = earlier[0], later[0]
            wins = new >= old if name == "max" else new <= old
            if is_float(x.dtype):
                wins = b.g.ne(new, new) | (b.g.eq(old, old) & wins)
            return [b.where(wins, n, o) for o, n in zip(earlier, later)]

        # Truth values are compared as numbers.
        numbers = b.node(x, b.core_int32) if x.dtype == b.core_bool else x
        values, places = scan(b, [numbers, place], dim, join)
        return b.node(values, x.dtype), places

    return row


lower("aten.cummax.default")(_extreme_scan("max"))
lower("aten.cummin.default")(_extreme_scan("min"))
