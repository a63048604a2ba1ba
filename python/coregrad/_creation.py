"""Tensors from data: arrays, numbers, lists, and what is like another tensor."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _core
from ._core import DType, Tensor
from ._dtypes import DTypeLike


def _own(tensor: Tensor) -> Tensor:
    """The values in memory of their own."""
    if tensor.dtype == DType.bfloat16:
        return _core.from_bits(np.array(tensor.bits()), DType.bfloat16)
    return _core._copy_array(tensor.numpy())


def _in_own_bytes(array: np.ndarray) -> np.ndarray:
    """The array, or a copy of one whose bytes stand in another machine's order."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def array_dtype(dtype: DType) -> str:
    """NumPy's dtype for the values of one, which for bfloat16 is float32."""
    return "float32" if dtype == DType.bfloat16 else dtype.name


def _array_of(data: Any, dtype: DType | None) -> np.ndarray:
    """Numbers and nested lists as an array; floats are float32 unless a dtype is given."""
    if dtype is not None:
        return np.asarray(data, array_dtype(dtype))
    array = np.asarray(data)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _require_cpu(device: Any, operation: str) -> None:
    if device not in (None, "cpu"):
        raise _core.ValueError(f"{operation}: the device must be 'cpu', got {device!r}")


def tensor(
    data: Any,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
    device: str | None = None,
) -> Tensor:
    """Make a tensor with a copy of an array, a tensor, a number or nested lists.

    Lists of Python floats give float32, arrays keep their dtype unless another one is given. A
    tensor's copy is a constant: no gradient flows back. from_numpy() and asarray() make tensors
    without a copy. Raises DTypeError for element types that are not supported.

    >>> import coregrad as cg
    >>> cg.tensor([[1, 2], [3, 4]]).shape
    (2, 2)
    >>> cg.tensor([0.5, 1], dtype="float64").dtype
    DType.float64
    """
    _require_cpu(device, "tensor")
    wanted = None if dtype is None else _core._dtype(dtype)
    if isinstance(data, Tensor):
        result = _own(data)
    elif isinstance(data, np.ndarray | np.generic):
        result = _core._copy_array(_in_own_bytes(np.asarray(data)))
    elif hasattr(data, "__dlpack__"):
        result = _own(from_dlpack(data))
    else:
        result = _core._copy_array(_array_of(data, wanted))
    if wanted is not None and result.dtype != wanted:
        result = result.cast(wanted)
    if requires_grad:
        result.requires_grad = True
    return result


def from_numpy(array: np.ndarray) -> Tensor:
    """Make a tensor over an array's memory, without a copy; the array must not change afterwards.

    Operations read the memory when their values are asked for, so that a later write would show in
    them. Raises LayoutError for negative strides, DTypeError for element types that are not
    supported.

    >>> import coregrad as cg, numpy as np
    >>> cg.from_numpy(np.arange(3)).tolist()
    [0, 1, 2]
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: a NumPy array is needed, got {type(array).__name__}")
    if not array.dtype.isnative:
        raise _core.DTypeError(f"from_numpy: bytes must be in the machine's order: {array.dtype}")
    return _core._from_array(array)


def from_dlpack(x: Any, device: Any = None, copy: bool | None = None) -> Tensor:
    """Make a tensor over the memory of an object with `__dlpack__`, or of a copy of it.

    Raises DTypeError for element types that are not supported.
    """
    if device not in (None, "cpu", (1, 0)):
        raise _core.ValueError(f"from_dlpack: the device must be 'cpu', got {device!r}")
    if isinstance(x, Tensor):
        return x.clone() if copy else x
    result = _core._from_array(x)
    return _own(result) if copy else result


def asarray(
    obj: Any,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    copy: bool | None = None,
) -> Tensor:
    """Make a tensor of anything, without a copy where that can be (None), never (False) or always.

    A tensor is returned as it is; arrays that are read in place must not change afterwards. Raises
    ValueError where a copy must not but has to be made: of lists and numbers, for another dtype, and
    for negative strides.

    >>> import coregrad as cg, numpy as np
    >>> array = np.arange(3)
    >>> np.shares_memory(cg.asarray(array, copy=False).numpy(), array)
    True
    """
    _require_cpu(device, "asarray")
    wanted = None if dtype is None else _core._dtype(dtype)
    is_array = isinstance(obj, np.ndarray)
    if copy is True or not (is_array or hasattr(obj, "__dlpack__")):
        if copy is False:
            raise _core.ValueError(f"asarray: {type(obj).__name__} cannot be read without a copy")
        keeps_gradient = isinstance(obj, Tensor) and obj.requires_grad
        return obj.clone().astype(wanted or obj.dtype) if keeps_gradient else tensor(obj, wanted)
    if is_array and (not obj.dtype.isnative or any(step < 0 for step in obj.strides)):
        if copy is False:
            raise _core.ValueError("asarray: reversed arrays cannot be read without a copy")
        return tensor(obj, wanted)
    result = from_dlpack(obj) if not is_array else from_numpy(obj)
    if wanted is None or result.dtype == wanted:
        return result
    if copy is False:
        raise _core.ValueError(
            f"asarray: {result.dtype.name} cannot be {wanted.name} without a copy"
        )
    return result.cast(wanted)


def zeros_like(input: Tensor, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros in the shape and dtype of a tensor, or in another dtype."""
    return full_like(input, 0, dtype, device)


def ones_like(input: Tensor, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones in the shape and dtype of a tensor, or in another dtype."""
    return full_like(input, 1, dtype, device)


def empty_like(input: Tensor, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Elements that may be anything, in the shape of a tensor; they are zeros."""
    return full_like(input, 0, dtype, device)


def full_like(
    input: Tensor,
    fill_value: bool | float,
    dtype: DTypeLike | None = None,
    device: str | None = None,
) -> Tensor:
    """One number in the shape and dtype of a tensor, or in another dtype.

    >>> import coregrad as cg
    >>> cg.full_like(cg.arange(2), 7).tolist()
    [7, 7]
    """
    return _core.full(input.shape, fill_value, input.dtype if dtype is None else dtype, device)


def rand_like(input: Tensor, dtype: DTypeLike | None = None) -> Tensor:
    """Uniform numbers in [0, 1) in the shape and dtype of a tensor."""
    return _core.rand(input.shape, input.dtype if dtype is None else dtype)


def randn_like(input: Tensor, dtype: DTypeLike | None = None) -> Tensor:
    """Standard normal numbers in the shape and dtype of a tensor."""
    return _core.randn(input.shape, input.dtype if dtype is None else dtype)
