"""Pooling in three dimensions, adaptive pooling of any rank, and the gradient of replicated padding."""

from __future__ import annotations

import math

from .pooling import adaptive_bounds, first_inside
from .table import is_float, lower


def _all(values, rank, default=None):
    values = list(values) if values else list(default)
    return values * rank if len(values) == 1 else values


def _int(b, value):
    return b.g.literal(b.core_int64, value)


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


def _table(b, positions, extents, outer):
    """Flat positions [1.., o.., k.. as one] from a table [o, k] for each dimension."""
    rank = len(positions)
    total = None
    for i, position in enumerate(positions):
        shape = [1] * (2 * rank)
        shape[i], shape[rank + i] = position.shape
        position = b.g.reshape(position, shape)
        total = position if total is None else total * extents[i] + position
    places = [p.shape[0] for p in positions]
    size = math.prod(p.shape[1] for p in positions)
    total = b.expand(total, places + [p.shape[1] for p in positions])
    return b.g.reshape(total, [1] * outer + places + [size])


def _scatter_back(b, grad, x, indices, rank):
    outer = list(x.shape[: x.ndim - rank])
    area, places = math.prod(x.shape[-rank:]), math.prod(grad.shape[-rank:])
    index, values = b.g.reshape(indices, [*outer, places]), b.g.reshape(grad, [*outer, places])
    zeros = b.g.full([*outer, area], grad.dtype, 0)
    return b.g.reshape(b.g.scatter(zeros, len(outer), index, values, "add"), list(x.shape))


@lower("aten.adaptive_max_pool2d_backward.default")
def adaptive_max_pool2d_backward(b, grad, x, indices):
    return _scatter_back(b, grad, x, indices, 2)


@lower("aten.adaptive_max_pool3d_backward.default")
def adaptive_max_pool3d_backward(b, grad, x, indices):
    return _scatter_back(b, grad, x, indices, 3)


@lower("aten.max_pool3d_with_indices_backward.default")
def max_pool3d_backward(b, grad, x, kernel, stride, padding, dilation, ceil_mode, indices):
    return _scatter_back(b, grad, x, indices, 3)


# Sliding windows


def _windows(b, x, kernel, stride, padding, dilation, places, fill):
    """[outer.., o.., k..]: padded by `fill`, also where a last partial window sticks out."""
    rank = len(kernel)
    first = x.ndim - rank
    low, high = [0] * x.ndim, [0] * x.ndim
    for i in range(rank):
        reach = (places[i] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
        low[first + i] = padding[i]
        high[first + i] = max(reach - x.shape[first + i] - padding[i], 0)
    x = b.g.pad(x, low, high, [0] * x.ndim, fill) if any(low) or any(high) else x
    x = b.g.window(x, [(first + i, kernel[i], stride[i], dilation[i]) for i in range(rank)])
    for i in range(rank):
        x = b.g.narrow(x, first + i, 0, places[i])
    return x


@lower("aten.max_pool3d_with_indices.default")
def max_pool3d(b, x, kernel, stride=(), padding=(0,), dilation=(1,), ceil_mode=False):
    if not is_float(x.dtype):
        b.unsupported("max pooling of integers")
    kernel = _all(kernel, 3)
    stride, padding, dilation = _all(stride, 3, kernel), _all(padding, 3), _all(dilation, 3)
    places, extents = b.shape[-3:], x.shape[-3:]
    windows = _windows(b, x, kernel, stride, padding, dilation, places, -math.inf)
    flat = b.g.reshape(windows, [*b.shape, math.prod(kernel)])
    positions = []
    for i in range(3):
        start = b.along(b.g.iota(b.core_int64, places[i]) * stride[i] - padding[i], 0, 2)
        position = start + b.along(b.g.iota(b.core_int64, kernel[i]) * dilation[i], 1, 2)
        # Where all is -inf PyTorch names the first place inside the input.
        inside = b.expand(first_inside(b, start, dilation[i], extents[i]), position.shape)
        positions.append(b.at_most(b.where(position < 0, inside, position), extents[i] - 1))
    return _choose(b, flat, _table(b, positions, extents, x.ndim - 3))


def _average(b, x, kernel, stride, padding, places, include_pad, override):
    rank = len(kernel)
    first = x.ndim - rank
    windows = _windows(b, x, kernel, stride, padding, [1] * rank, places, 0)
    total = b.g.sum(windows, list(range(x.ndim, x.ndim + rank)), False)
    if override:
        return total / float(override)
    for i in range(rank):
        extent = x.shape[first + i]
        start = b.g.iota(b.core_int64, places[i]) * stride[i] - padding[i]
        end = b.at_most(start + kernel[i], extent + padding[i])
        if not include_pad:
            start, end = b.at_least(start, 0), b.at_most(end, extent)
        total = total / b.along(b.g.cast(end - start, x.dtype), first + i, x.ndim)
    return total


@lower("aten.avg_pool3d.default")
def avg_pool3d(b, x, kernel, stride=(), padding=(0,), ceil_mode=False, include=True, divisor=None):
    kernel = _all(kernel, 3)
    stride, padding = _all(stride, 3, kernel), _all(padding, 3)
    return _average(b, x, kernel, stride, padding, b.shape[-3:], include, divisor)


@lower("aten.avg_pool3d_backward.default")
def avg_pool3d_backward(b, grad, x, kernel, stride, padding, ceil_mode, include, divisor):
    kernel = _all(kernel, 3)
    stride, padding = _all(stride, 3, kernel), _all(padding, 3)
    out = _average(b, x, kernel, stride, padding, list(grad.shape[-3:]), include, divisor)
    return b.g.gradients([out], [grad], [x])[0]


def _adaptive_windows(b, x, places):
    """[outer.., o.., k..] with each window's last element repeated, positions [o, k], and the ends."""
    rank = len(places)
    first = x.ndim - rank
    positions, bounds = [], []
    shape = list(x.shape[:first])
    for i, n in enumerate(places):
        extent = x.shape[first + i]
        size = max(-(-(o + 1) * extent // n) - o * extent // n for o in range(n))
        start, end = adaptive_bounds(b, extent, n)
        position = b.along(start, 0, 2) + b.along(b.g.iota(b.core_int64, size), 1, 2)
        position = b.g.min(position, b.expand(b.along(end - 1, 0, 2), position.shape))
        wide = list(x.shape)
        wide[first + i] = n * size
        index = b.along(b.g.reshape(position, [n * size]), first + i, x.ndim)
        x = b.g.gather(x, first + i, b.expand(index, wide))
        positions.append(position)
        bounds.append((start, end))
        shape += [n, size]
    x = b.g.reshape(x, shape)
    order = [*range(first), *range(first, x.ndim, 2), *range(first + 1, x.ndim, 2)]
    return b.g.permute(x, order), positions, bounds


@lower("aten.adaptive_max_pool2d.default", "aten.adaptive_max_pool3d.default")
def adaptive_max_pool(b, x, size):
    if not x.numel or not math.prod(b.shape):
        b.unsupported("adaptive pooling of nothing")
    rank = len(size)
    windows, positions, _ = _adaptive_windows(b, x, list(size))
    count = math.prod(windows.shape[x.ndim :])
    flat = b.g.reshape(windows, [*b.shape, count])
    return _choose(b, flat, _table(b, positions, x.shape[-rank:], x.ndim - rank))


# Replicated padding


def _replicate(b, x, padding):
    for i in range(len(padding) // 2):
        dim = x.ndim - 1 - i
        low, high = padding[2 * i], padding[2 * i + 1]
        parts = [b.g.narrow(x, dim, max(-low, 0), x.shape[dim] - max(-high, 0))]
        shape = list(x.shape)
        if low > 0:
            shape[dim] = low
            parts.insert(0, b.g.broadcast_to(b.g.narrow(x, dim, 0, 1), shape))
        if high > 0:
            shape[dim] = high
            last = b.g.narrow(x, dim, x.shape[dim] - 1, x.shape[dim])
            parts.append(b.g.broadcast_to(last, shape))
        x = b.g.concat(parts, dim) if len(parts) > 1 else parts[0]
    return x


@lower(*(f"aten.replication_pad{rank}d_backward.default" for rank in (1, 2, 3)))
def replication_pad_backward(b, grad, x, padding):
    return b.g.gradients([_replicate(b, x, list(padding))], [grad], [x])[0]


# Windows at pseudo-random places


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
    kernel, places = _all(kernel, rank), b.shape[-rank:]
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
    return _scatter_back(b, grad, x, indices, 2)


@lower("aten.fractional_max_pool3d_backward.default")
def fractional_max_pool3d_backward(b, grad, x, kernel, output_size, indices):
    return _scatter_back(b, grad, x, indices, 3)
