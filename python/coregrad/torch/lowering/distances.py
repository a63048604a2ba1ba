"""Distances between the rows of one matrix, and gradients of distances."""

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


def _pairs(b, n):
    """Rows and columns of the pairs i < j in the order in which pdist has them."""
    row = b.g.iota(b.core_int64, n)
    ends = (row + 1) * n - b.g.div((row + 1) * (row + 2), b.g.literal(b.core_int64, 2), "trunc")
    pair = b.g.iota(b.core_int64, n * (n - 1) // 2)
    i = b.g.searchsorted(ends, pair, True)
    before = b.g.gather(ends, 0, i)  # pairs up to the end of the row: its last column is n - 1
    return i, pair - before + n


@lower("aten._pdist_forward.default")
def pdist(b, x, p=2):
    n, width = x.shape
    if n < 2 or not width:
        return b.g.full(b.shape, b.dtype, 0)
    rows = [b.g.gather(x, 0, b.expand(b.g.unsqueeze(v, 1), [v.numel, width])) for v in _pairs(b, n)]
    return b.g.norm(rows[0] - rows[1], p, [1], False)


@lower("aten._pdist_backward.default")
def pdist_backward(b, grad, x, p, distance):
    n, width = x.shape
    if n < 2 or not width:
        return b.full_like(x, 0)
    i, j = _pairs(b, n)

    def matrix(values):  # both of its triangles
        flat = b.g.full([n * n], values.dtype, 0)
        flat = b.g.scatter(flat, 0, i * n + j, values, "set")
        return b.g.reshape(b.g.scatter(flat, 0, j * n + i, values, "set"), [n, n])

    d = _differences(b, x, x)
    grad, distance = (b.expand(b.g.unsqueeze(matrix(v), 2), d.shape) for v in (grad, distance))
    return b.g.sum(_slope(b, d, distance, p) * grad, [1], False)
