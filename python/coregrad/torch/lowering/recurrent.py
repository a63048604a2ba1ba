"""Recurrent layers over all time steps (see `recurrence.py`)."""

from __future__ import annotations

from .table import lower


@lower("coregrad.recurrence.default")
def recurrence(b, *args):
    return tuple(b.g.recurrence(*args))


@lower("coregrad.recurrence_backward.default")
def recurrence_backward(b, *args):
    return tuple(b.g.recurrence_backward(*args))
