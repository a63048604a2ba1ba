"""The namespace of the array API standard 2024.12, for code that asks tensors for it.

The names are those of `coregrad`. Where that has PyTorch's meaning, a function here has the standard's:
`std` and `var` divide by the count, `flip` reverses all dimensions unless told which. What is left out:
complex numbers and uint64, and the extensions `linalg` and `fft`. Numbers of other kinds than a tensor's
promote as everywhere in `coregrad`.

>>> import coregrad as cg
>>> xp = cg.ones(3).__array_namespace__()
>>> x = xp.asarray([1.0, 3.0])
>>> xp.var(x).item(), cg.var(x).item()
(1.0, 2.0)
"""

# ruff: noqa: F401  most names are for those who ask for the namespace
from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from . import _core
from ._core import (
    Tensor,
    abs,
    acos,
    acosh,
    add,
    all,
    any,
    arange,
    argmax,
    argmin,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    broadcast_to,
    ceil,
    copysign,
    cos,
    cosh,
    empty,
    equal,
    exp,
    expm1,
    eye,
    floor,
    floor_divide,
    full,
    greater,
    greater_equal,
    hypot,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    linspace,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    matmul,
    max,
    maximum,
    mean,
    min,
    minimum,
    nextafter,
    not_equal,
    ones,
    pow,
    prod,
    reciprocal,
    remainder,
    reshape,
    round,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    squeeze,
    stack,
    sum,
    tan,
    tanh,
    trunc,
    where,
    zeros,
)  # fmt: skip
from ._creation import (
    asarray,
    empty_like,
    from_dlpack,
    full_like,
    ones_like,
    zeros_like,
)  # fmt: skip
from ._dtypes import (
    DTypeLike,
    bool,
    can_cast,
    finfo,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    result_type,
    uint8,
    uint16,
    uint32,
)  # fmt: skip
from ._standard import (
    astype,
    bitwise_invert,
    broadcast_arrays,
    clip,
    conj,
    cumulative_prod,
    cumulative_sum,
    diff,
    divide,
    e,
    expand_dims,
    flatten,
    imag,
    inf,
    matrix_transpose,
    meshgrid,
    moveaxis,
    multiply,
    nan,
    negative,
    newaxis,
    nonzero,
    permute_dims,
    pi,
    positive,
    real,
    repeat,
    subtract,
    take,
    take_along_axis,
    tensordot,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    unstack,
    vecdot,
)  # fmt: skip

__array_api_version__ = "2024.12"

Axes = int | Sequence[int] | None


def std(
    x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: builtins.bool = False
) -> Tensor:
    """The standard deviation, of which the sum of squares is divided by count - correction."""
    return _core.std(x, axis, correction, keepdims)


def var(
    x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: builtins.bool = False
) -> Tensor:
    """The variance, whose sum of squares is divided by count - correction."""
    return _core.var(x, axis, correction, keepdims)


def sign(x: Tensor, /) -> Tensor:
    """-1, 0 or 1 by the sign of each element; NaN stays."""
    return where(isnan(x), x, _core.sign(x)) if isdtype(x.dtype, "real floating") else _core.sign(x)


def flip(x: Tensor, /, *, axis: Axes = None) -> Tensor:
    """Dimensions reversed, or all of them."""
    return _core.flip(x, builtins.list(range(x.ndim)) if axis is None else axis)


def roll(x: Tensor, /, shift: int | Sequence[int], *, axis: Axes = None) -> Tensor:
    """Elements shifted along dimensions, or as one row; those that leave come back at the other end."""
    if axis is not None and isinstance(shift, int) and not isinstance(axis, int):
        shift = [shift] * len(axis)
    return _core.roll(x, shift, axis)


def tile(x: Tensor, repetitions: Sequence[int], /) -> Tensor:
    """Repeat x along its last dimensions, and new leading ones."""
    return _core.tile(x, [1] * (x.ndim - len(repetitions)) + builtins.list(repetitions))


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """Tensors joined along a dimension, or all as one row."""
    return _core.cat([flatten(x) for x in arrays] if axis is None else arrays, axis or 0)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: builtins.bool = False) -> Tensor:
    """How many elements are not zero; int64."""
    return _core.sum(x != 0, axis, keepdims)


def sort(
    x: Tensor, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True
) -> Tensor:
    """The elements of a dimension in order; equal ones stay in theirs."""
    return _core.sort(x, axis, descending)


def argsort(
    x: Tensor, /, *, axis: int = -1, descending: builtins.bool = False, stable: builtins.bool = True
) -> Tensor:
    """int64 indices that sort a dimension; equal elements stay in order."""
    return _core.argsort(x, axis, descending)


def searchsorted(
    x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """int64 positions at which x2 goes into x1, which is sorted, or is by sorter."""
    if side not in ("left", "right"):
        raise _core.ValueError(f"searchsorted: side must be 'left' or 'right', got {side!r}")
    x1 = x1 if sorter is None else take(x1, sorter, axis=0)
    return _core.searchsorted(x1, x2, side == "right")


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The last two dimensions with zeros above a diagonal."""
    return _core.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """The last two dimensions with zeros below a diagonal."""
    return _core.triu(x, k)


class _Info:
    """What the library is like; see the standard's "inspection API"."""

    _DTYPES = (
        bool, int8, int16, int32, int64, uint8, uint16, uint32, float32, float64,
    )  # fmt: skip

    def capabilities(self) -> dict[str, Any]:
        """Indexing by masks, and results whose shapes depend on values, are there."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": 64,
        }

    def default_device(self) -> str:
        """The CPU."""
        return "cpu"

    def devices(self) -> list[str]:
        """The CPU."""
        return ["cpu"]

    def default_dtypes(self, *, device: str | None = None) -> dict[str, Any]:
        """The dtypes that numbers have; there is no complex one."""
        return {"real floating": float32, "integral": int64, "indexing": int64}

    def dtypes(
        self, *, device: str | None = None, kind: DTypeLike | tuple[Any, ...] | None = None
    ) -> dict[str, Any]:
        """The standard's dtypes of a kind, by name."""
        chosen = [d for d in self._DTYPES if kind is None or isdtype(d, kind)]
        return {d.name: d for d in chosen}


def __array_namespace_info__() -> _Info:
    """What the library is like."""
    return _Info()
