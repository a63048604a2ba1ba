"""Gradients of distances, which take the saved distances."""

from __future__ import annotations

import math

from .table import lower


def _differences(b, x, y):
    """[.., m, n, d] of x [.., m, d] and y [.., n, d]."""
    return b.g.unsqueeze(x, x.ndim - 1) - b.g.unsqueeze(y, y.ndim - 2)


def _slope(b, d, distance, p):
    """How the distance changes with each difference; both of one shape."""
    if p == 0:
        return b.full_like(d, 0)
    if p == 1:
        return b.g.sign(d)
    if p == math.inf:
        return b.where(b.g.eq(b.g.abs(d), distance), b.g.sign(d), 0)
    apart = b.g.ne(distance, b.full_like(distance, 0))  # NaN is
    if p == 2:
        return b.where(apart, d / distance, 0)
    size = b.g.abs(d)
    ratio = b.g.pow(size, b.full_like(d, p - 1)) / b.g.pow(distance, b.full_like(d, p - 1))
    if p < 1:
        apart = apart & b.g.ne(d, b.full_like(d, 0))
    return b.where(apart, b.g.sign(d) * ratio, 0)


@lower("aten._cdist_backward.default")
def cdist_backward(b, grad, x, y, p, distance):
    if not math.prod(b.shape) or not grad.numel:
        return b.g.full(b.shape, b.dtype, 0)
    d = _differences(b, x, y)
    last = d.ndim - 1
    grad, distance = (b.expand(b.g.unsqueeze(v, last), d.shape) for v in (grad, distance))
    return b.g.sum(_slope(b, d, distance, p) * grad, [last - 1], False)


@lower("aten._pdist_backward.default")
def pdist_backward(b, grad, x, p, distance):
    n, width = x.shape
    if n < 2 or not width:
        return b.full_like(x, 0)
    index = b.g.iota(b.core_int64, n)
    row, column = (b.expand(b.along(index, dim, 2), [n, n]) for dim in (0, 1))
    i, j = b.g.min(row, column), b.g.max(row, column)
    # Where the pair stands; pairs i < j come row by row. The diagonal takes any.
    pair = i * n - b.g.div((i + 1) * (i + 2), b.g.literal(b.core_int64, 2), "trunc") + j
    pair = b.g.reshape(b.at_least(pair, 0), [n * n])

    def matrix(values):
        square = b.g.reshape(b.g.index_select(values, 0, pair), [n, n])
        return b.where(b.g.ne(row, column), square, 0)

    d = _differences(b, x, x)
    grad, distance = (b.expand(b.g.unsqueeze(matrix(v), 2), d.shape) for v in (grad, distance))
    return b.g.sum(_slope(b, d, distance, p) * grad, [1], False)
