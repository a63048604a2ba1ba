"""Reductions over consecutive parts of a dimension, and their gradients."""

from __future__ import annotations

import math

from .table import lower


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
    return b.g.segment_reduce(x, reduce, lengths, offsets, axis, initial)


@lower("aten._segment_reduce_backward.default")
def segment_reduce_backward(
    b, grad, out, x, reduce, *, lengths=None, offsets=None, axis=0, initial=None
):
    if not x.numel or not grad.numel:
        return b.full_like(x, 0)

    def reduced(v, word):
        return b.g.segment_reduce(v, word, lengths, offsets, axis, initial)

    if reduce not in ("max", "min"):
        return b.gradient(lambda v: reduced(v, reduce), x, grad)

    def spread(values):
        return b.gradient(lambda v: reduced(v, "sum"), x, values)

    # What was saved says who won: it is shared by all that are equal, as PyTorch does.
    hit = b.g.eq(x, spread(out)) | b.g.ne(x, x)
    count = b.g.segment_reduce(b.g.cast(hit, x.dtype), "sum", lengths, offsets, axis)
    return b.where(hit, spread(grad / b.at_least(count, 1)), 0)
