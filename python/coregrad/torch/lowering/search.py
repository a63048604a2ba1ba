"""Searches in sorted sequences, histograms, and scans for extremes."""

from __future__ import annotations

from .table import is_float, lower


def bisect(b, boundaries, values, right, sorter=None):
    """Where values [..., n] go in sorted boundaries [..., m] of the same leading dimensions.

    PyTorch's own bisection, step by step, so that NaN ends up where it does there.
    """
    m, dim = boundaries.shape[-1], values.ndim - 1
    start = b.g.full(list(values.shape), b.core_int64, 0)
    end = b.g.full(list(values.shape), b.core_int64, m)
    for _ in range(m.bit_length()):
        going = start < end
        half = b.g.div(end - start, b.full_like(end, 2), "trunc")
        middle = start + half
        probe = b.where(going, middle, 0)
        if sorter is not None:
            probe = b.g.gather(sorter, dim, probe)
        found = b.g.gather(boundaries, dim, probe)
        stop = values < found if right else values <= found
        start = b.where(going & ~stop, middle + 1, start)
        end = b.where(going & stop, middle, end)
    return start


@lower("aten.searchsorted.Tensor", "aten.searchsorted.Scalar")
def searchsorted(b, boundaries, x, *, out_int32=False, right=False, side=None, sorter=None):
    x = b.expand(b.node(x, boundaries.dtype), b.shape)
    if not x.numel or not boundaries.numel:
        return b.g.full(b.shape, b.dtype, 0)
    if boundaries.ndim == 1:
        x = b.g.reshape(x, [-1])
    elif not b.shape:
        b.unsupported("a search for one value in many sequences")
    if sorter is not None:
        sorter = b.node(sorter, b.core_int64)
    found = bisect(b, boundaries, x, right or side == "right", sorter)
    return b.node(b.g.reshape(found, b.shape), b.dtype)


@lower("aten.bucketize.Tensor", "aten.bucketize.Scalar")
def bucketize(b, x, boundaries, *, out_int32=False, right=False):
    return searchsorted(b, boundaries, x, out_int32=out_int32, right=right)


@lower("aten.repeat_interleave.Tensor")
def repeat_interleave(b, repeats, *, output_size=None):
    n = b.shape[0]
    if not n or not repeats.numel:
        return b.g.full(b.shape, b.dtype, 0)
    ends = b.g.cumsum(b.node(repeats, b.core_int64), 0)
    return b.node(bisect(b, ends, b.g.iota(b.core_int64, n), True), b.dtype)


@lower("aten.histc.default")
def histc(b, x, bins=100, min=0, max=0):
    flat = b.g.reshape(x, [-1])
    if not is_float(x.dtype):
        b.unsupported("a histogram of integers")
    if not x.numel:
        return b.g.full(b.shape, b.dtype, 0)
    if min == max:
        low, high = b.g.reduce_min(flat, [0], True), b.g.reduce_max(flat, [0], True)
        same = b.g.eq(low, high)
        low, high = b.where(same, low - 1.0, low), b.where(same, high + 1.0, high)
    else:
        low, high = b.g.full([1], x.dtype, min), b.g.full([1], x.dtype, max)
    inside = (flat >= low) & (flat <= high)
    place = (flat - low) / (high - low) * float(bins)
    place = b.node(b.where(inside, place, 0), b.core_int64)
    place = b.where(inside, b.at_most(place, bins - 1), bins)
    counts = b.g.full([bins + 1], x.dtype, 0)
    counts = b.g.scatter(counts, 0, place, b.full_like(flat, 1), "add")
    return b.g.narrow(counts, 0, 0, bins)


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


@lower("aten.logcumsumexp.default")
def logcumsumexp(b, x, dim):
    if not x.ndim or not x.numel:
        return x

    def join(earlier, later):
        low, high = b.g.min(earlier[0], later[0]), b.g.max(earlier[0], later[0])
        # Equal infinities would give inf - inf.
        gap = b.where(b.g.eq(low, high), 0, low - high)
        return [high + b.g.log1p(b.g.exp(gap))]

    wide = b.node(x, b.core_float64)
    return b.node(scan(b, [wide], b.dim(dim, x), join)[0], b.dtype)
