"""Recurrent layers over all time steps (see `recurrence.py`)."""

from __future__ import annotations

from .. import recurrence  # noqa: F401  registers the operators
from .table import lower


@lower("coregrad.recurrence.default")
def forward(b, *args):
    return tuple(b.g.recurrence(*args))


@lower("coregrad.recurrence_backward.default")
def backward(b, *args):
    return tuple(b.g.recurrence_backward(*args))
