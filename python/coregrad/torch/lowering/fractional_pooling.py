"""Maxima of windows at pseudo-random places."""

from __future__ import annotations

import math

from .pooling import scatter_back
from .table import each, is_float, lower


def _choose(b, flat, table):
    """The maximum along the last dimension and its entry of `table`: of NaN the last, else the first."""
    last = flat.ndim - 1
    place = b.expand(b.along(b.g.iota(b.core_int64, flat.shape[last]), last, last + 1), flat.shape)
    first = b.g.argmax(flat, last, True)
    if is_float(flat.dtype):
        last_nan = b.g.reduce_max(b.where(b.g.ne(flat, flat), place, -1), [last], True)
        first = b.where(last_nan < 0, first, last_nan)
    # A sum over one place is a gather that needs no index of its own.
    hit = b.g.eq(place, b.expand(first, flat.shape))
    index = b.g.sum(b.where(hit, b.expand(table, flat.shape), 0), [last], False)
    return b.g.reduce_max(flat, [last], False), index


def _fractional_starts(b, sample, extent, size, places):
    """Where the windows of an axis start, [outer.., places], from a number in [0, 1) each, [outer..]."""
    shape = [*sample.shape, places]
    last = b.expand(b.g.literal(b.core_int64, extent - size), shape)
    if places == 1:
        return last
    # PyTorch's kernel computes in the input's precision, and integers must come out the same.
    alpha = b.full_like(sample, extent - size) / float(places - 1)
    place = b.along(b.g.iota(b.core_int64, places), len(shape) - 1, len(shape))
    first = b.g.cast(sample * alpha, b.core_int64)
    sample, alpha, first = (b.g.unsqueeze(v, v.ndim) for v in (sample, alpha, first))
    start = b.g.cast((b.g.cast(place, sample.dtype) + sample) * alpha, b.core_int64) - first
    return b.where(b.expand(place < places - 1, shape), start, last)


@lower("aten.fractional_max_pool2d.default", "aten.fractional_max_pool3d.default")
def fractional_max_pool(b, x, kernel, output_size, samples):
    rank = samples.shape[-1]
    kernel, places = each(kernel, rank), b.shape[-rank:]
    if not x.numel or not math.prod(b.shape):
        b.unsupported("fractional pooling of nothing")
    outer, extents = list(x.shape[:-rank]), x.shape[-rank:]
    first, positions = len(outer), []
    if first == 1:  # without a batch PyTorch reads the first samples, however many there are
        samples = b.g.narrow(samples, 0, 0, 1)
    for axis in range(rank):
        which = rank - 1 - axis if rank == 2 else axis  # PyTorch's order of the samples
        sample = b.g.reshape(b.g.narrow(samples, 2, which, which + 1), outer)
        start = _fractional_starts(b, sample, extents[axis], kernel[axis], places[axis])
        position = b.g.unsqueeze(start, start.ndim) + b.g.iota(b.core_int64, kernel[axis])
        positions.append(position)  # [outer.., o, k]
        count = places[axis] * kernel[axis]
        index = [1] * (first + rank)
        index[:first], index[first + axis] = outer, count
        wide = list(x.shape)
        wide[first + axis] = count
        x = b.g.gather(x, first + axis, b.expand(b.g.reshape(position, index), wide))
    table = None
    for axis, position in enumerate(positions):
        shape = [*outer, *[1] * (2 * rank)]
        shape[first + axis], shape[first + rank + axis] = places[axis], kernel[axis]
        position = b.g.reshape(position, shape)
        table = position if table is None else table * extents[axis] + position
    x = b.g.reshape(x, [*outer, *(n for pair in zip(places, kernel) for n in pair)])
    order = [*range(first), *range(first, x.ndim, 2), *range(first + 1, x.ndim, 2)]
    flat = [*b.shape, math.prod(kernel)]
    table = b.g.reshape(b.expand(table, [*outer, *places, *kernel]), flat)
    return _choose(b, b.g.reshape(b.g.permute(x, order), flat), table)


@lower("aten.fractional_max_pool2d_backward.default")
def fractional_max_pool2d_backward(b, grad, x, kernel, output_size, indices):
    return scatter_back(b, grad, x, indices, 2)


@lower("aten.fractional_max_pool3d_backward.default")
def fractional_max_pool3d_backward(b, grad, x, kernel, output_size, indices):
    return scatter_back(b, grad, x, indices, 3)
