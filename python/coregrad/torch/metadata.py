"""Facts about traced tensors: dtypes that cross, layouts that outputs get."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .. import _core
from .._core import DType

TO_CORE = {
    torch.bool: DType.bool,
    torch.int32: DType.int32,
    torch.int64: DType.int64,
    torch.float16: DType.float16,
    torch.bfloat16: DType.bfloat16,
    torch.float32: DType.float32,
    torch.float64: DType.float64,
    torch.int8: DType.int8,
    torch.uint8: DType.uint8,
    torch.int16: DType.int16,
    torch.uint16: DType.uint16,
    torch.uint32: DType.uint32,
}
TO_TORCH = {core: name for name, core in TO_CORE.items()}
#: What is stored, never computed with, and what it is computed in: float32 for narrow floats, a wider
#: integer for small ones.
COMPUTED = {d: _core.compute_dtype(d) for d in TO_TORCH if _core.compute_dtype(d) != d}
NARROW = (DType.float16, DType.bfloat16)  #: the floats among them


class GraphRejected(Exception):
    """A graph that cannot be taken as a whole; the message is the reason."""


class CompilerFaultWarning(RuntimeWarning):
    """Something runs in PyTorch because CoreGrad failed to compile it, which it should not."""


def part_dtype(dtype: torch.dtype) -> torch.dtype:
    """What stands for a dtype in our graphs: a complex one's parts."""
    return dtype.to_real() if dtype.is_complex else dtype


def storage_key(value: torch.Tensor) -> int:
    """Equal for traced tensors that share storage."""
    return value.untyped_storage()._cdata if value.layout == torch.strided else id(value)


def is_concrete(value: object) -> bool:
    """True when no size of a traced value is symbolic."""
    if isinstance(value, torch.Tensor):
        sizes = tuple(value.size())
        if value.layout == torch.strided:
            sizes += (*value.stride(), value.storage_offset())
        return all(isinstance(n, int) for n in sizes)
    return not isinstance(value, (torch.SymInt, torch.SymFloat, torch.SymBool))


def contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major strides in elements."""
    strides, step = [], 1
    for extent in reversed(shape):
        strides.append(step)
        step *= max(extent, 1)
    return tuple(reversed(strides))


def as_pairs(strides: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of complex numbers as those of their parts, which become a last dimension."""
    return (*(2 * s for s in strides), 1)


def is_non_overlapping_and_dense(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """True when the elements fill their span exactly once, in some order of the dimensions."""
    expected = 1
    for stride, extent in sorted((s, n) for n, s in zip(shape, strides) if n != 1):
        if stride != expected:
            return False
        expected *= extent
    return True


def is_writable(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """True when no two elements share memory, as far as sorted strides can tell."""
    reach = 0
    for stride, extent in sorted((s, n) for n, s in zip(shape, strides) if n > 1):
        if stride <= reach:
            return False
        reach += stride * (extent - 1)
    return True


def storage_order(strides: Sequence[int]) -> list[int]:
    """The dimensions in the order in which they lie in memory, the outermost first."""
    return sorted(range(len(strides)), key=lambda d: (-strides[d], d))


def inverse_permutation(order: Sequence[int]) -> list[int]:
    """Where each dimension stands in an order of them: permuting by it undoes permuting by the order."""
    return sorted(range(len(order)), key=order.__getitem__)


def output_strides(value: torch.Tensor) -> tuple[int, ...]:
    """Strides that memory made for a traced value gets: its own if they are dense, else row-major."""
    shape, strides = tuple(value.shape), tuple(value.stride())
    if 0 in shape or not is_non_overlapping_and_dense(shape, strides):
        return contiguous_strides(shape)
    return strides
