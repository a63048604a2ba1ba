"""Reductions over consecutive parts of a dimension, and their gradients."""

from __future__ import annotations

import math

from .indexing import REDUCE_MODES
from .table import lower

STARTS = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}


class _Segments:
    """Which part each element [outer.., n, inner..] belongs to; a part more holds what is in none."""

    def __init__(self, b, shape, lengths, offsets, axis):
        self.b, self.axis = b, axis
        if lengths is None:
            if offsets is None:
                b.unsupported("a segment reduction without lengths")
            offsets = b.node(offsets, b.core_int64)
            count = offsets.shape[-1] - 1
            ends = b.g.narrow(offsets, axis, 1, count + 1)
            lengths = ends - b.g.narrow(offsets, axis, 0, count)
        else:
            lengths = b.node(lengths, b.core_int64)
            ends = b.g.cumsum(lengths, axis)
        self.count, outer, inner = lengths.shape[-1], list(shape[:axis]), list(shape[axis + 1 :])
        place = b.expand(
            b.along(b.g.iota(b.core_int64, shape[axis]), axis, axis + 1), shape[: axis + 1]
        )
        part = b.g.searchsorted(ends, place, True)
        ones = [1] * len(inner)
        self.index = b.expand(b.g.reshape(part, [*part.shape, *ones]), shape)
        self.room = [*outer, self.count + 1, *inner]
        self.lengths = b.g.reshape(lengths, [*outer, self.count, *ones])

    def gather(self, values):
        """For each element its part's value."""
        b, shape = self.b, list(values.shape)
        shape[self.axis] = 1
        values = b.g.cat([values, b.g.full(shape, values.dtype, 0)], self.axis)
        return b.g.gather(values, self.axis, self.index)

    def reduce(self, values, start, mode):
        b = self.b
        room = b.g.full(self.room, values.dtype, start)
        room = b.g.scatter(room, self.axis, self.index, values, mode)
        return b.g.narrow(room, self.axis, 0, self.count)


def _mode(reduce):
    return REDUCE_MODES[{"max": "amax", "min": "amin"}.get(reduce, reduce)]


@lower("aten.segment_reduce.default")
def segment_reduce(
    b,
    x,
    reduce,
    *,
    lengths=None,
    indices=None,
    offsets=None,
    axis=0,
    unsafe=False,
    initial=None,
):
    if not x.numel or not math.prod(b.shape):
        b.unsupported("a segment reduction of nothing")
    segments = _Segments(b, list(x.shape), lengths, offsets, axis % x.ndim)
    start = STARTS[reduce] if initial is None else float(initial)
    total = segments.reduce(x, start, _mode(reduce))
    if reduce != "mean":
        return total
    count = b.g.cast(segments.lengths, x.dtype)
    of_none = math.nan if initial is None else start
    return b.where(b.expand(count > 0, total.shape), total / b.at_least(count, 1), of_none)


@lower("aten._segment_reduce_backward.default")
def segment_reduce_backward(
    b, grad, out, x, reduce, *, lengths=None, offsets=None, axis=0, initial=None
):
    if not x.numel or not grad.numel:
        return b.full_like(x, 0)
    segments = _Segments(b, list(x.shape), lengths, offsets, axis % x.ndim)
    if reduce == "sum":
        return segments.gather(grad)
    if reduce == "mean":
        return segments.gather(grad / b.at_least(b.g.cast(segments.lengths, x.dtype), 1))
    if reduce in ("max", "min"):  # shared by all that are equal, as PyTorch does
        hit = b.g.eq(x, segments.gather(out)) | b.g.ne(x, x)
        count = segments.reduce(b.g.cast(hit, x.dtype), 0, "add")
        return b.where(hit, segments.gather(grad / b.at_least(count, 1)), 0)
    # The product of all others: where one factor is zero, of those that are not.
    zero = b.g.eq(x, b.full_like(x, 0))
    zeros = segments.gather(segments.reduce(b.g.cast(zero, x.dtype), 0, "add"))
    start = 1.0 if initial is None else float(initial)
    rest = segments.gather(segments.reduce(b.where(zero, 1, x), start, "mul"))
    others = b.where(zero, b.where(zeros <= 1, rest, 0), b.where(zeros > 0, 0, rest / x))
    return segments.gather(grad) * others
