"""Lazy tensors: what the extension module leaves to Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import _core
from ._core import DType, Tensor

bool_ = DType.bool
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


def tensor(data: Any, dtype: DType | None = None, requires_grad: bool = False) -> Tensor:
    """Make a tensor from a NumPy array, a DLPack array, a number or nested lists.

    Arrays are read in place, without a copy, and must not change afterwards; lists of Python floats
    give float32. Raises DTypeError for element types that are not supported.

    >>> import coregrad as cg
    >>> cg.tensor([[1, 2], [3, 4]]).shape
    (2, 2)
    """
    if isinstance(data, Tensor):
        result = data
    else:
        if not isinstance(data, np.ndarray) and not hasattr(data, "__dlpack__"):
            data = np.asarray(data)
            if data.dtype == np.float64:
                data = data.astype(np.float32)
        if isinstance(data, np.ndarray) and any(step < 0 for step in data.strides):
            data = np.ascontiguousarray(data)
        result = _core._from_array(data)
    if dtype is not None and result.dtype != dtype:
        result = result.cast(dtype)
    if requires_grad:
        result.requires_grad = True
    return result


def from_numpy(array: np.ndarray) -> Tensor:
    """Make a tensor over an array's memory, without a copy; the array must not change afterwards.

    >>> import coregrad as cg, numpy as np
    >>> cg.from_numpy(np.arange(3)).tolist()
    [0, 1, 2]
    """
    return tensor(array)


def from_dlpack(array: Any) -> Tensor:
    """Make a tensor over the memory of an object with `__dlpack__`, without a copy."""
    return _core._from_array(array)


class no_grad:
    """While it is entered, this thread records operations whose results need no gradient.

    >>> import coregrad as cg
    >>> x = cg.tensor([1.0], requires_grad=True)
    >>> with cg.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    def __enter__(self) -> no_grad:
        self._guard = _core._NoGrad()
        return self

    def __exit__(self, *_: object) -> None:
        del self._guard


def _values(tensor: Tensor) -> np.ndarray:
    """The values as NumPy has them: bfloat16 as float32, which is exact."""
    return (tensor.cast(float32) if tensor.dtype == bfloat16 else tensor).numpy()


class _TensorMethods:
    """Methods of Tensor that are written in Python."""

    __array_priority__ = 1000
    # Equality is elementwise, so a tensor is hashed as the object that it is.
    __hash__ = object.__hash__

    def __getitem__(self: Tensor, index: Any) -> Tensor:
        """Pick elements: whole numbers, slices with positive steps, None, ... and one index tensor."""
        items = list(index) if isinstance(index, tuple) else [index]
        used = sum(item is not None and item is not Ellipsis for item in items)
        if used > self.ndim:
            raise _core.IndexError(f"getitem: {used} indices for {self.ndim} dimensions")
        dots = [i for i, item in enumerate(items) if item is Ellipsis]
        if len(dots) > 1:
            raise _core.IndexError("getitem: at most one ... is allowed")
        position = dots[0] if dots else len(items)
        items[position : position + len(dots)] = [slice(None)] * (self.ndim - used)
        result, dim = self, 0
        for item in items:
            if item is None:
                result = result.unsqueeze(dim)
                dim += 1
            elif isinstance(item, slice):
                step = 1 if item.step is None else item.step
                if step < 1:
                    raise _core.ValueError(
                        f"getitem: steps must be positive, got {step}; use flip()"
                    )
                start, stop, _ = item.indices(result.shape[dim])
                if (start, max(start, stop), step) != (0, result.shape[dim], 1):
                    result = result.slice(dim, start, max(start, stop), step)
                dim += 1
            elif isinstance(item, Tensor):
                result = result.index_select(dim, item)
                dim += 1
            elif hasattr(item, "__index__"):
                result = result.select(dim, item.__index__())
            else:
                raise _core.IndexError(f"getitem: cannot index with {type(item).__name__}")
        return result

    def item(self: Tensor) -> bool | int | float:
        """Give the only element as a Python number; ValueError unless there is exactly one.

        >>> import coregrad as cg
        >>> cg.arange(0, 4).sum().item()
        6
        """
        if self.numel != 1:
            raise _core.ValueError(f"item: needs exactly one element, got shape {list(self.shape)}")
        return _values(self).item()

    def tolist(self: Tensor) -> Any:
        """Give the elements as nested lists of Python numbers."""
        return _values(self).tolist()

    @property
    def size(self: Tensor) -> int:
        """Number of elements, as in NumPy."""
        return self.numel

    @property
    def T(self: Tensor) -> Tensor:
        """The dimensions in reverse order."""
        return self.permute(list(range(self.ndim))[::-1])

    def __repr__(self: Tensor) -> str:
        name = str(self.dtype).removeprefix("DType.")
        values = np.array2string(_values(self), separator=", ", prefix="tensor(")
        return f"tensor({values}, dtype={name}" + (
            ", requires_grad=True)" if self.requires_grad else ")"
        )

    def __len__(self: Tensor) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a tensor without dimensions")
        return self.shape[0]

    def __iter__(self: Tensor) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self: Tensor) -> bool:
        return bool(self.item())

    def __float__(self: Tensor) -> float:
        return float(self.item())

    def __int__(self: Tensor) -> int:
        return int(self.item())

    def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(_values(self), dtype=dtype, copy=copy)

    def __dlpack__(self: Tensor, **kwargs: Any) -> Any:
        owner = self._dlpack() if self.dtype == bfloat16 else self.numpy()
        return owner.__dlpack__(**kwargs)

    def __dlpack_device__(self: Tensor) -> tuple[int, int]:
        return (1, 0)


for _name, _value in vars(_TensorMethods).items():
    if _name not in ("__module__", "__doc__", "__dict__", "__weakref__"):
        setattr(Tensor, _name, _value)
