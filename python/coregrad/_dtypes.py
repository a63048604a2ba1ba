"""Dtypes: their names, kinds, limits, and what becomes of several."""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from . import _core
from ._core import DType, Tensor

bool = bool_ = DType.bool
int32 = DType.int32
int64 = DType.int64
float16 = DType.float16
bfloat16 = DType.bfloat16
float32 = DType.float32
float64 = DType.float64
int8 = DType.int8
uint8 = DType.uint8
int16 = DType.int16
uint16 = DType.uint16
uint32 = DType.uint32

#: What names a dtype: a DType, its name, NumPy's dtypes and scalar types, bool, int and float.
DTypeLike = DType | str | type | np.dtype


def kind_of(dtype: DType) -> str:
    """bool, int, uint, float or bfloat."""
    return dtype.name.rstrip("0123456789")


def category_of(dtype: DType) -> int:
    """0 for bool, 1 for integers, 2 for floats."""
    return {"bool": 0, "int": 1, "uint": 1, "float": 2, "bfloat": 2}[kind_of(dtype)]


_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int",),
    "unsigned integer": ("uint",),
    "integral": ("int", "uint"),
    "real floating": ("float", "bfloat"),
    "complex floating": (),
    "numeric": ("int", "uint", "float", "bfloat"),
}


def isdtype(dtype: DTypeLike, kind: DTypeLike | tuple[Any, ...]) -> builtins.bool:
    """Whether a dtype is another one, of a kind, or one of several: "bool", "signed integer", "unsigned
    integer", "integral", "real floating", "complex floating" or "numeric".

    Raises TypeError for what names neither a kind nor a dtype.

    >>> import coregrad as cg
    >>> cg.isdtype(cg.int8, "integral"), cg.isdtype(cg.int8, (cg.bool_, "real floating"))
    (True, False)
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, one) for one in kind)
    dtype = _core._dtype(dtype)
    if isinstance(kind, str) and kind in _KINDS:
        return kind_of(dtype) in _KINDS[kind]
    return dtype == _core._dtype(kind)


def can_cast(from_: DTypeLike | Tensor, to: DTypeLike) -> builtins.bool:
    """Whether what two dtypes promote to is the second one.

    >>> import coregrad as cg
    >>> cg.can_cast(cg.int8, cg.int64), cg.can_cast(cg.float32, cg.int64)
    (True, False)
    """
    from_ = from_.dtype if isinstance(from_, Tensor) else _core._dtype(from_)
    return _core.promote_types(from_, to) == _core._dtype(to)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that an operation on these tensors, dtypes and numbers gives.

    Tensors without dimensions and numbers count only where they are of a higher category than what
    comes before them. Raises ValueError without arguments.

    >>> import coregrad as cg
    >>> cg.result_type(cg.int8, cg.int16), cg.result_type(cg.ones(2), cg.zeros((), float), 1)
    (DType.int16, DType.float32)
    """
    groups: list[list[DType]] = [[], [], []]
    for given in arrays_and_dtypes:
        if isinstance(given, Tensor):
            groups[0 if given.ndim else 1].append(given.dtype)
        elif isinstance(given, builtins.bool | int | float) and not isinstance(given, np.generic):
            groups[2].append(_core.full((), given).dtype)
        else:
            groups[0].append(_core._dtype(given))
    found = [reduce(_core.promote_types, group) for group in groups if group]
    if not found:
        raise _core.ValueError("result_type: there must be at least one argument")

    def add(result: DType, lower: DType) -> DType:
        higher = category_of(lower) > category_of(result)
        return _core.promote_types(result, lower) if higher else result

    return reduce(add, found)


@dataclass(frozen=True)
class finfo_object:
    """What a floating dtype holds."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True)
class iinfo_object:
    """What an integer dtype holds."""

    bits: int
    max: int
    min: int
    dtype: DType


def _limits_of(type: DTypeLike | Tensor) -> DType:
    return type.dtype if isinstance(type, Tensor) else _core._dtype(type)


def finfo(type: DTypeLike | Tensor) -> finfo_object:
    """Bits, eps, max, min and smallest_normal of a floating dtype; DTypeError for others.

    >>> import coregrad as cg
    >>> cg.finfo("bfloat16").eps
    0.0078125
    """
    dtype = _limits_of(type)
    if category_of(dtype) != 2:
        raise _core.DTypeError(f"finfo: needs a floating dtype, got {dtype.name}")
    if dtype == bfloat16:
        largest = (2 - 2.0**-7) * 2.0**127
        return finfo_object(16, 2.0**-7, largest, -largest, 2.0**-126, dtype)
    of = np.finfo(dtype.name)
    numbers = (float(of.eps), float(of.max), float(of.min), float(of.smallest_normal))
    return finfo_object(of.bits, *numbers, dtype)


def iinfo(type: DTypeLike | Tensor) -> iinfo_object:
    """Bits, max and min of an integer dtype; DTypeError for others.

    >>> import coregrad as cg
    >>> cg.iinfo(cg.uint8).max
    255
    """
    dtype = _limits_of(type)
    if category_of(dtype) != 1:
        raise _core.DTypeError(f"iinfo: needs an integer dtype, got {dtype.name}")
    of = np.iinfo(dtype.name)
    return iinfo_object(of.bits, int(of.max), int(of.min), dtype)
