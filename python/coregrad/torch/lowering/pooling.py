"""Pooling over sliding windows, and adaptive pooling."""

from __future__ import annotations

import itertools

from .matmul import label
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
    place = b.expand(b.at_least(starts[0], 0) * width + b.at_least(starts[1], 0), shape)
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
    offset = b.where(last_nan < 0, b.g.argmax(flat, [last], False), last_nan)
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
    # A window of nothing but -inf may choose padding; its index must still lie inside.
    row = b.at_most(b.at_least(row, 0), x.shape[first] - 1)
    column = b.at_most(b.at_least(column, 0), x.shape[first + 1] - 1)
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


def _averaging_matrix(b, extent, places, dtype):
    """[places, extent]: row o averages positions floor(o*n/m) to ceil((o+1)*n/m)."""
    g = b.g
    row = g.iota(b.core_int64, places)
    start = g.div(row * extent, g.literal(b.core_int64, places))
    end = g.div((row + 1) * extent + (places - 1), g.literal(b.core_int64, places))
    column = b.along(g.iota(b.core_int64, extent), 1, 2)
    inside = (column >= b.along(start, 0, 2)) & (column < b.along(end, 0, 2))
    return g.cast(inside, dtype) / b.along(g.cast(end - start, dtype), 0, 2)


def _apply_matrices(b, x, rows, columns):
    """out[..., a, c] = sum of rows[a, h] * x[..., h, w] * columns[c, w]."""
    outer = list(x.shape[:-2])
    n = 1
    for extent in outer:
        n *= extent
    h, w = x.shape[-2:]
    a, c = rows.shape[0], columns.shape[0]
    x = b.g.reshape(x, [n, h, w])
    x = b.g.contract(
        x, columns, [n, h, w, c], [label(0), label(1), label(2)], [label(3), label(2)], [0, 1, 3]
    )
    x = b.g.contract(
        rows, x, [n, a, c, h], [label(1), label(3)], [label(0), label(3), label(2)], [0, 1, 2]
    )
    return b.g.reshape(x, [*outer, a, c])


@lower("aten._adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(b, x, size):
    if list(size) == [1, 1]:
        dims = [x.ndim - 2, x.ndim - 1]
        return b.g.sum(x, dims, True) / float(x.shape[-1] * x.shape[-2])
    return _apply_matrices(
        b,
        x,
        _averaging_matrix(b, x.shape[-2], size[0], x.dtype),
        _averaging_matrix(b, x.shape[-1], size[1], x.dtype),
    )


@lower("aten._adaptive_avg_pool2d_backward.default")
def adaptive_avg_pool2d_backward(b, grad, x):
    rows = _averaging_matrix(b, x.shape[-2], grad.shape[-2], x.dtype)
    columns = _averaging_matrix(b, x.shape[-1], grad.shape[-1], x.dtype)
    return _apply_matrices(b, grad, b.g.transpose(rows, 0, 1), b.g.transpose(columns, 0, 1))


def _smoothing_matrix(b, extent, places, align_corners, scale, dtype):
    """[places, extent]: a triangle as wide as a step of the larger grid around each place."""
    if align_corners:
        step = (extent - 1) / (places - 1) if places > 1 else 0.0
    else:
        step = 1 / scale if scale else extent / places
    support = max(step, 1.0)
    center = (b.g.cast(b.g.iota(b.core_int64, places), b.core_float64) + 0.5) * step
    center = b.along(center, 0, 2)
    column = b.g.cast(b.along(b.g.iota(b.core_int64, extent), 1, 2), b.core_float64)
    first, last = (b.g.floor(b.at_least(center + s * support + 0.5, 0)) for s in (-1, 1))
    weight = b.at_least(1.0 - b.g.abs((column - center + 0.5) / support), 0)
    weight = b.where((column >= first) & (column < last), weight, 0)
    return b.g.cast(weight / b.g.sum(weight, [1], True), dtype)


def _smoothing_matrices(b, x, extents, places, align_corners, scales):
    return [
        _smoothing_matrix(b, *both, align_corners, scale, x.dtype)
        for *both, scale in zip(extents, places, scales)
    ]


@lower("aten._upsample_bilinear2d_aa.default")
def upsample_smoothly(b, x, output_size, align_corners, *scales):
    scales = scales or (None, None)
    matrices = _smoothing_matrices(b, x, x.shape[-2:], output_size, align_corners, scales)
    return _apply_matrices(b, x, *matrices)


@lower("aten._upsample_bilinear2d_aa_backward.default")
def upsample_smoothly_backward(b, grad, output_size, input_size, align_corners, *scales):
    scales = scales or (None, None)
    matrices = _smoothing_matrices(b, grad, input_size[-2:], output_size, align_corners, scales)
    return _apply_matrices(b, grad, *(b.g.transpose(m, 0, 1) for m in matrices))
