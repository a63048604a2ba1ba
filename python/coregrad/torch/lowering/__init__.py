"""Lowerings of ATen operators, one row an overload, grouped by concept."""

from . import (
    arithmetic,
    attention,
    convolution,
    creation,
    distances,
    embedding,
    fractional_pooling,
    indexing,
    linalg,
    losses,
    matmul,
    normalization,
    pointwise,
    pooling,
    random,
    recurrent,
    reductions,
    sampling,
    search,
    segments,
    shared,
    softmax,
    special,
    views,
)
from .complex import COMPLEX_ROWS, Complex, interleaved, split_pairs
from .table import ROWS, Lowering, Unsupported

__all__ = [
    "COMPLEX_ROWS",
    "ROWS",
    "Complex",
    "Lowering",
    "Unsupported",
    "interleaved",
    "split_pairs",
]
