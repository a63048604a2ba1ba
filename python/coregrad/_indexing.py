"""Indexing as NumPy has it: x[index] and x[index] = value.

An index is read once (`read`): integers, slices, None and ... become views, everything with elements
becomes index tensors for dimensions of what the views give. A boolean mask counts as the positions of
its true elements, so it is computed where it is met.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _core
from ._core import DType, Tensor
from ._creation import array_dtype, tensor


@dataclass
class Index:
    """What an index does to a tensor of one shape."""

    #: Views, one after the other.
    views: list[Callable[[Tensor], Tensor]] = field(default_factory=list)
    #: Dimensions after the views, and the index tensor of each.
    tensors: list[tuple[int, Tensor]] = field(default_factory=list)
    #: Where the index tensors' common dimensions go.
    front: int = 0

    def of(self, x: Tensor) -> Tensor:
        """x[index]."""
        for view in self.views:
            x = view(x)
        if not self.tensors:
            return x
        places = [dim for dim, _ in self.tensors]
        kept = [dim for dim in range(x.ndim) if dim not in places]
        picked = _core.index(_permute(x, places + kept), [index for _, index in self.tensors])
        width = picked.ndim - len(kept)
        numbers = list(range(width, picked.ndim))
        return _permute(picked, [*numbers[: self.front], *range(width), *numbers[self.front :]])


def _permute(x: Tensor, order: list[int]) -> Tensor:
    return x if order == list(range(x.ndim)) else x.permute(order)


def _as_array(item: Any) -> np.ndarray | Tensor | None:
    """What has elements to index by; None for anything else."""
    if isinstance(item, Tensor):
        return item.numpy() if item.dtype == DType.bool else item
    if isinstance(item, list | tuple) and not len(item):
        return np.zeros(0, np.int64)
    if isinstance(item, bool | list | tuple | np.ndarray | np.bool_):
        try:
            array = np.asarray(item)
        except ValueError as error:
            raise _core.IndexError(f"index: no index is made of {item!r}: {error}") from None
        return array
    return None


def _expand(index: Any, ndim: int) -> list[Any]:
    """The parts of an index, with ... written out."""
    items = list(index) if isinstance(index, tuple) else [index]
    parts: list[Any] = []
    used = 0
    for item in items:
        array = None if item is None or item is Ellipsis else _as_array(item)
        if isinstance(array, np.ndarray) and array.dtype == bool:
            used += array.ndim
        elif item is not None and item is not Ellipsis:
            used += 1
        # An array without dimensions is a number.
        is_number = isinstance(array, np.ndarray) and not array.ndim and array.dtype.kind in "iu"
        parts.append(int(array) if is_number else item if array is None else array)
    if used > ndim:
        raise _core.IndexError(f"index: {used} indices for {ndim} dimensions")
    dots = [number for number, part in enumerate(parts) if part is Ellipsis]
    if len(dots) > 1:
        raise _core.IndexError("index: at most one ... is allowed")
    position = dots[0] if dots else len(parts)
    parts[position : position + len(dots)] = [slice(None)] * (ndim - used)
    return parts


def _whole(item: Any, extent: int, dim: int) -> int:
    try:
        number = operator.index(item)
    except TypeError:
        raise _core.IndexError(
            "index: indices are integers, slices, None, ..., and arrays or lists of integers or "
            f"bool, got {type(item).__name__}"
        ) from None
    if not -extent <= number < extent:
        raise _core.IndexError(
            f"index: index {number} is out of range for dimension {dim} of extent {extent}"
        )
    return number % extent


def _slice(part: slice, extent: int, dim: int) -> list[Callable[[Tensor], Tensor]]:
    start, stop, step = part.indices(extent)
    count = len(range(start, stop, step))
    if step < 0:
        start, step = (start + (count - 1) * step if count else 0), -step
    stop = start + (count - 1) * step + 1 if count else start
    views: list[Callable[[Tensor], Tensor]] = []
    if (start, stop, step) != (0, extent, 1):
        views.append(lambda x: x.slice(dim, start, stop, step))
    if part.step is not None and operator.index(part.step) < 0:
        views.append(lambda x: x.flip(dim))
    return views


def _whole_numbers(array: np.ndarray | Tensor, extent: int, dim: int) -> Tensor:
    """Places in a dimension as a tensor; those that are known are checked."""
    if isinstance(array, Tensor):
        if "float" in array.dtype.name:
            raise _core.IndexError(
                f"index: index tensors must be integers or bool, got {array.dtype.name}"
            )
        return array
    if array.dtype.kind not in "iu":
        raise _core.IndexError(
            f"index: index arrays must be integers or bool, got {array.dtype.name}"
        )
    bad = array[(array < -extent) | (array >= extent)]
    if bad.size:
        raise _core.IndexError(
            f"index: index {bad[0]} is out of range for dimension {dim} of extent {extent}"
        )
    return _core._copy_array(array.astype(np.int64))


def _positions(mask: np.ndarray, shape: tuple[int, ...], dim: int) -> list[np.ndarray]:
    """Where a mask holds: an index for each of its dimensions."""
    extents = shape[dim : dim + mask.ndim]
    if mask.shape != extents:
        raise _core.IndexError(
            f"index: a mask must have the extents {list(extents)} of the dimensions that it is "
            f"for, got {list(mask.shape)}"
        )
    return list(np.nonzero(mask))


def read(index: Any, shape: tuple[int, ...]) -> Index:
    """What an index does to a tensor of a shape; IndexError for what is none."""
    result = Index()
    advanced: list[int] = []  # numbers of the parts that pick by arrays, or integers beside them
    at = dim = 0  # dimensions of the tensor, and of what the views give so far
    for number, part in enumerate(_expand(index, len(shape))):
        if part is None:
            result.views.append(lambda x, dim=dim: x.unsqueeze(dim))
            dim += 1
        elif isinstance(part, slice):
            result.views += _slice(part, shape[at], dim)
            at, dim = at + 1, dim + 1
        elif isinstance(part, np.ndarray | Tensor):
            if not advanced:
                result.front = dim
            advanced.append(number)
            if not isinstance(part, np.ndarray) or part.dtype != bool:
                result.tensors.append((dim, _whole_numbers(part, shape[at], at)))
                at, dim = at + 1, dim + 1
            elif part.ndim:
                for along in _positions(part, shape, at):
                    result.tensors.append((dim, _core._copy_array(along)))
                    at, dim = at + 1, dim + 1
            else:  # one truth value: a new dimension of as many elements as are true
                result.views.append(lambda x, dim=dim: x.unsqueeze(dim))
                result.tensors.append((dim, _core._copy_array(np.zeros(int(part), np.int64))))
                dim += 1
        else:
            place = _whole(part, shape[at], at)
            if not advanced:
                result.front = dim
            advanced.append(number)
            result.views.append(lambda x, dim=dim, place=place: x.select(dim, place))
            at += 1
    try:
        np.broadcast_shapes(*(places.shape for _, places in result.tensors))
    except ValueError:
        shapes = ", ".join(str(list(places.shape)) for _, places in result.tensors)
        raise _core.IndexError(f"index: index arrays must broadcast, got {shapes}") from None
    if advanced and advanced[-1] - advanced[0] + 1 != len(advanced):
        result.front = 0
    return result


def get_item(x: Tensor, index: Any) -> Tensor:
    """x[index] as NumPy has it."""
    return read(index, x.shape).of(x)


def _only_mask(index: Any, x: Tensor, value: Tensor) -> Tensor | None:
    """The mask, in x's dimensions, of an index that is one mask and nothing else, for values that
    do not tell its elements apart.
    """
    if not isinstance(index, Tensor) or index.dtype != DType.bool or not index.ndim:
        return None
    if index.shape != x.shape[: index.ndim] or value.ndim > x.ndim - index.ndim:
        return None
    return index.reshape([*index.shape, *[1] * (x.ndim - index.ndim)])


def _number(value: Any, dtype: DType) -> Tensor:
    """A number as data, so that assignments of other numbers are the same program."""
    value = value.item() if isinstance(value, np.generic) else value
    try:
        return _core._copy_array(np.array(value, array_dtype(dtype)))
    except OverflowError:
        raise _core.ValueError(
            f"setitem: the number does not fit {dtype.name}: got {value}"
        ) from None


def _places(index: Any, x: Tensor) -> Tensor:
    """The numbers, row by row, of the elements that x[index] is."""
    read_index = read(index, x.shape)
    parts = _expand(index, x.ndim)
    if any(isinstance(part, Tensor) for part in parts):
        return read_index.of(_core.arange(x.numel).reshape(x.shape))
    # Places that are known are data, so that other ones are the same program. Coordinates are
    # views without memory, of which only those of the picked elements are read.
    places, stride = np.zeros((), np.int64), 1
    for dim in reversed(range(x.ndim)):
        along = np.arange(x.shape[dim]).reshape([-1] + [1] * (x.ndim - dim - 1))
        places = places + np.broadcast_to(along, x.shape)[tuple(parts)] * stride
        stride *= x.shape[dim]
    return _core._copy_array(places if x.ndim else np.zeros((), np.int64)[tuple(parts)])


def with_item(x: Tensor, index: Any, value: Any) -> Tensor:
    """X with value, which broadcasts, in place of x[index]."""
    if isinstance(value, bool | int | float | np.generic):
        value = _number(value, x.dtype)
    elif not isinstance(value, Tensor):
        value = tensor(value)
    mask = _only_mask(index, x, value)
    if mask is not None:
        value = value.cast(x.dtype).broadcast_to(x.shape[x.ndim - value.ndim :])
        return _core.where(mask, value, x)
    places = _places(index, x)
    while value.ndim > places.ndim and value.shape[0] == 1:
        value = value.reshape(value.shape[1:])
    try:
        value = value.cast(x.dtype).broadcast_to(places.shape)
    except _core.ShapeError:
        raise _core.ShapeError(
            f"setitem: the value must broadcast to {list(places.shape)}, got {list(value.shape)}"
        ) from None
    return x.put(places, value)
