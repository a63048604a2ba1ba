"""Lowerings of ATen operators, one row an overload, grouped by concept."""

from . import (
    arithmetic,
    attention,
    bessel,
    convolution,
    creation,
    indexing,
    losses,
    matmul,
    normalization,
    orthogonal,
    pointwise,
    pooling,
    pooling_nd,
    random,
    recurrent,
    reductions,
    search,
    softmax,
    special,
    views,
)
from .table import ROWS, Lowering, Unsupported

__all__ = ["ROWS", "Lowering", "Unsupported"]
