"""Recurrent layers step by step: the formulas of `recurrence.py`, recorded as nodes."""

from __future__ import annotations

from .. import recurrence
from .matmul import label
from .table import lower


class _GraphMath:
    """The formulas on nodes of one graph."""

    def __init__(self, b, dtype):
        self._b, self._g, self._dtype = b, b.g, dtype
        self.tanh = b.g.tanh

    def sigmoid(self, x):
        return self._b.g.sigmoid(x)

    def relu(self, x):
        return self._b.at_least(x, 0)

    def where_positive(self, condition, x):
        return self._b.where(condition > 0, x, 0)

    def linear(self, x, weight):
        (m, k), n = x.shape, weight.shape[0]
        maps = [label(0), label(2)], [label(1), label(2)]
        return self._g.contract(x, weight, [m, n, k], *maps, [0, 1])

    def mm(self, x, weight):
        return self._b.g.matmul(x, weight)

    def step(self, x, t):
        return self._g.squeeze(self._g.narrow(x, 0, t, t + 1), [0])

    def chunk(self, x, n):
        size = x.shape[-1] // n
        return [self._g.narrow(x, x.ndim - 1, i * size, (i + 1) * size) for i in range(n)]

    def cat(self, parts):
        return self._g.cat(list(parts), parts[0].ndim - 1)

    def stack(self, steps):
        return self._g.cat([self._g.unsqueeze(s, 0) for s in steps], 0)

    def zeros(self, *shape):
        return self._g.full(list(shape), self._dtype, 0)


@lower("coregrad.recurrence.default")
def recurrence_forward(b, kind, gates, *rest):
    return recurrence.forward(_GraphMath(b, b.dtype), kind, gates, *rest)


@lower("coregrad.recurrence_backward.default")
def recurrence_backward(b, kind, *args):
    return recurrence.backward(_GraphMath(b, b.dtype), kind, *args)
