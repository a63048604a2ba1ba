"""Pooling over sliding windows, and adaptive pooling."""

from __future__ import annotations

import itertools
import math

from .table import is_float, lower

NEGATIVE_INFINITY = float("-inf")
LARGEST_UNROLLED = 16  #: elements of a window that are compared one by one


def _pair(values, default=None):
    values = list(values) if values else list(default)
    return values * 2 if len(values) == 1 else values


def _windows(b, x, kernel, stride, padding, dilation, out_shape, fill):
    """[N, C, oh, ow, kh, kw]: padded by `fill`, also where a last partial window sticks out."""
    low, high = [0] * x.ndim, [0] * x.ndim
    first = x.ndim - 2
    for i in range(2):
        extent, dim = x.shape[first + i], first + i
        reach = (out_shape[dim] - 1) * stride[i] + (kernel[i] - 1) * dilation[i] + 1
        low[dim] = padding[i]
        high[dim] = max(reach - extent - padding[i], 0)
    if any(low) or any(high):
        x = b.g.pad(x, low, high, [0] * x.ndim, fill)
    windows = b.g.window(x, [(first + i, kernel[i], stride[i], dilation[i]) for i in range(2)])
    for i in range(2):  # whole windows beyond the result (ceil_mode drops those)
        windows = b.g.narrow(windows, first + i, 0, out_shape[first + i])
    return windows


def first_inside(b, start, dilation, extent):
    """The first place inside the input of a window that may start in front of it."""
    if dilation == 1:
        return b.at_least(start, 0)
    steps = b.g.div(b.at_least(-start, 0) + (dilation - 1), b.g.literal(start.dtype, dilation))
    return b.at_most(start + steps * dilation, extent - 1)


@lower("aten.max_pool2d_with_indices.default")
def max_pool2d_with_indices(b, x, kernel, stride=(), padding=(0,), dilation=(1,), ceil_mode=False):
    kernel = _pair(kernel)
    stride, padding, dilation = _pair(stride, kernel), _pair(padding), _pair(dilation)
    fill = NEGATIVE_INFINITY if is_float(x.dtype) else None
    if fill is None:
        b.unsupported("max pooling of integers")
    shape, first = b.shape, x.ndim - 2
    windows = _windows(b, x, kernel, stride, padding, dilation, shape, fill)
    if kernel[0] * kernel[1] > LARGEST_UNROLLED:
        return _max_and_place(b, x, windows, kernel, stride, padding, dilation)
    # Small windows: one comparison a place, all of them in one elementwise kernel. PyTorch starts
    # from the first place inside the input and names a window's last NaN.
    dtype = b.core_int32 if x.shape[first] * x.shape[first + 1] < 2**31 else b.core_int64
    starts = [
        b.along(b.g.iota(dtype, shape[first + i]) * stride[i] - padding[i], first + i, x.ndim)
        for i in range(2)
    ]
    width = x.shape[first + 1]
    corner = starts[0] * width + starts[1]
    best = b.g.full(shape, x.dtype, fill)
    first_row, first_column = (
        first_inside(b, starts[i], dilation[i], x.shape[first + i]) for i in range(2)
    )
    place = b.expand(first_row * width + first_column, shape)
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        window = b.g.narrow(b.g.narrow(windows, x.ndim, i, i + 1), x.ndim + 1, j, j + 1)
        value = b.g.reshape(window, shape)
        better = (best < value) | b.g.ne(value, value)
        here = b.expand(corner + (i * dilation[0] * width + j * dilation[1]), shape)
        best, place = b.where(better, value, best), b.where(better, here, place)
    return best, b.g.cast(place, b.core_int64)


def _max_and_place(b, x, windows, kernel, stride, padding, dilation):
    """Windows of any size: reductions over their elements as one dimension."""
    shape = b.shape
    flat = b.g.reshape(windows, [*shape, kernel[0] * kernel[1]])
    last = len(shape)
    # Of several NaN in a window PyTorch names the last one.
    place = b.expand(
        b.along(b.g.iota(b.core_int64, kernel[0] * kernel[1]), last, last + 1), flat.shape
    )
    last_nan = b.g.reduce_max(b.where(b.g.ne(flat, flat), place, -1), [last], False)
    offset = b.where(last_nan < 0, b.g.argmax(flat, last, False), last_nan)
    width = b.g.literal(b.core_int64, kernel[1])
    row = b.g.div(offset, width) * dilation[0]
    column = b.g.rem(offset, width) * dilation[1]
    first = x.ndim - 2
    for dim, i in ((first, 0), (first + 1, 1)):
        base = b.along(b.g.iota(b.core_int64, shape[dim]) * stride[i] - padding[i], dim, len(shape))
        if i == 0:
            row = row + base
        else:
            column = column + base
    # A window of nothing but -inf may choose padding; PyTorch names the first place inside.
    row = b.at_most(first_inside(b, row, dilation[0], x.shape[first]), x.shape[first] - 1)
    column = first_inside(b, column, dilation[1], x.shape[first + 1])
    column = b.at_most(column, x.shape[first + 1] - 1)
    return b.g.reduce_max(flat, [last], False), row * x.shape[first + 1] + column


@lower("aten.max_pool2d_with_indices_backward.default")
def max_pool2d_with_indices_backward(
    b, grad, x, kernel, stride, padding, dilation, ceil_mode, indices
):
    outer = list(x.shape[:-2])
    area, places = x.shape[-2] * x.shape[-1], grad.shape[-2] * grad.shape[-1]
    zeros = b.g.full([*outer, area], grad.dtype, 0)
    flat = b.g.scatter(
        zeros,
        len(outer),
        b.g.reshape(indices, [*outer, places]),
        b.g.reshape(grad, [*outer, places]),
        "add",
    )
    return b.g.reshape(flat, list(x.shape))


def _divisors(b, x, kernel, stride, padding, out_shape, count_include_pad, divisor_override):
    """How many elements each window's sum is divided by: a number, or a node [oh, ow]."""
    first = x.ndim - 2
    if divisor_override:
        return float(divisor_override)
    counts = []
    for i in range(2):
        extent, n = x.shape[first + i], out_shape[first + i]
        per_window = []
        for o in range(n):
            start = o * stride[i] - padding[i]
            end = min(start + kernel[i], extent + padding[i])
            if not count_include_pad:
                start, end = max(start, 0), min(end, extent)
            per_window.append(end - start)
        counts.append(per_window)
    if all(c == counts[0][0] for c in counts[0]) and all(c == counts[1][0] for c in counts[1]):
        return float(counts[0][0] * counts[1][0])
    rows, columns = (_constant_vector(b, c, x.dtype) for c in counts)
    return b.along(rows, 0, 2) * b.along(columns, 1, 2)


def _constant_vector(b, values, dtype):
    """Few different integers in runs: a literal a run, joined."""
    runs = []
    for v in values:
        if runs and runs[-1][0] == v:
            runs[-1][1] += 1
        else:
            runs.append([v, 1])
    parts = [b.g.full([n], dtype, v) for v, n in runs]
    return b.g.concat(parts, 0) if len(parts) > 1 else parts[0]


@lower("aten.avg_pool2d.default")
def avg_pool2d(
    b,
    x,
    kernel,
    stride=(),
    padding=(0,),
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    kernel = _pair(kernel)
    stride, padding = _pair(stride, kernel), _pair(padding)
    windows = _windows(b, x, kernel, stride, padding, [1, 1], b.shape, 0)
    total = b.g.sum(windows, [windows.ndim - 2, windows.ndim - 1], False)
    return total / _divisors(
        b, x, kernel, stride, padding, b.shape, count_include_pad, divisor_override
    )


@lower("aten.avg_pool2d_backward.default")
def avg_pool2d_backward(
    b, grad, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor_override
):
    kernel = _pair(kernel)
    stride, padding = _pair(stride, kernel), _pair(padding)
    grad = grad / _divisors(
        b, x, kernel, stride, padding, grad.shape, count_include_pad, divisor_override
    )
    # Position i collects every window o with 0 <= i + p - o * s < k: spread the windows out by the
    # stride, then sum windows of the kernel's size.
    first = x.ndim - 2
    low, high, interior = [0] * x.ndim, [0] * x.ndim, [0] * x.ndim
    for i in range(2):
        dim = first + i
        spread = (grad.shape[dim] - 1) * stride[i] + 1
        low[dim], interior[dim] = kernel[i] - 1, stride[i] - 1
        high[dim] = max(padding[i] + x.shape[dim] - spread, 0)
    wide = b.g.pad(grad, low, high, interior, 0)
    for i in range(2):
        wide = b.g.narrow(
            wide, first + i, padding[i], padding[i] + x.shape[first + i] + kernel[i] - 1
        )
    windows = b.g.window(wide, [(first + i, kernel[i], 1, 1) for i in range(2)])
    return b.g.sum(windows, [windows.ndim - 2, windows.ndim - 1], False)


# Adaptive windows: place o covers floor(o * n / m) up to ceil((o + 1) * n / m)


def adaptive_bounds(b, extent, places):
    """Where each window starts and ends."""
    row, divisor = b.g.iota(b.core_int64, places), b.g.literal(b.core_int64, places)
    start = b.g.div(row * extent, divisor)
    return start, b.g.div((row + 1) * extent + (places - 1), divisor)


def _windows_of(b, extent, places, dtype):
    """[places, extent]: whether a window covers a position; and how many it covers."""
    start, end = adaptive_bounds(b, extent, places)
    column = b.along(b.g.iota(b.core_int64, extent), 1, 2)
    covers = (column >= b.along(start, 0, 2)) & (column < b.along(end, 0, 2))
    return covers, b.g.cast(end - start, dtype)


def _sum_where(b, x, dim, covers):
    """The sum, for each row of `covers`, of the elements along a dimension that it chooses. They are
    not multiplied by 0 and 1: an infinite element would make every sum NaN.
    """
    shape = [1] * (x.ndim + 1)
    shape[dim : dim + 2] = covers.shape
    return b.g.sum(b.where(b.g.reshape(covers, shape), b.g.unsqueeze(x, dim), 0), [dim + 1], False)


def _adaptive_average(b, x, size):
    first = x.ndim - len(size)
    if all(extent % places == 0 for extent, places in zip(x.shape[first:], size)):
        counts = [extent // places for extent, places in zip(x.shape[first:], size)]
        split = [n for pair in zip(size, counts) for n in pair]
        inner = [first + 1 + 2 * i for i in range(len(size))]
        x = b.g.reshape(x, [*x.shape[:first], *split])
        return b.g.sum(x, inner, False) / float(math.prod(counts))
    for dim, places in enumerate(size, first):
        covers, count = _windows_of(b, x.shape[dim], places, x.dtype)
        x = _sum_where(b, x, dim, covers) / b.along(count, dim, x.ndim)
    return x


@lower("aten._adaptive_avg_pool2d.default", "aten._adaptive_avg_pool3d.default")
def adaptive_avg_pool(b, x, size):
    return (
        _adaptive_average(b, x, list(size)) if b.result.numel() else b.g.full(b.shape, b.dtype, 0)
    )


def _adaptive_average_gradient(b, grad, size):
    if not b.result.numel():
        return b.g.full(b.shape, b.dtype, 0)
    for dim, extent in enumerate(size, grad.ndim - len(size)):
        places = grad.shape[dim]
        covers, count = _windows_of(b, extent, places, grad.dtype)
        grad = grad / b.along(count, dim, grad.ndim)
        if extent % places:
            grad = _sum_where(b, grad, dim, b.g.transpose(covers, 0, 1))
            continue
        wide = [*grad.shape[: dim + 1], extent // places, *grad.shape[dim + 1 :]]
        flat = [*grad.shape[:dim], extent, *grad.shape[dim + 1 :]]
        grad = b.g.reshape(b.expand(b.g.unsqueeze(grad, dim + 1), wide), flat)
    return grad


@lower("aten._adaptive_avg_pool2d_backward.default")
def adaptive_avg_pool2d_backward(b, grad, x):
    return _adaptive_average_gradient(b, grad, list(x.shape[-2:]))


@lower("aten._adaptive_avg_pool3d_backward.default")
def adaptive_avg_pool3d_backward(b, grad, x):
    return _adaptive_average_gradient(b, grad, list(x.shape[-3:]))
