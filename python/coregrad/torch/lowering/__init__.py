"""Lowerings of ATen operators, one row an overload, grouped by concept."""

from . import (
    attention,
    convolution,
    creation,
    indexing,
    losses,
    matmul,
    normalization,
    pointwise,
    pooling,
    random,
    recurrent,
    reductions,
    softmax,
    views,
)
from .table import ROWS, Lowering, Unsupported

__all__ = ["ROWS", "Lowering", "Unsupported"]
