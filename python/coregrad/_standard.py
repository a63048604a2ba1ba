"""Functions of the array API standard that are made of others; most are NumPy's and PyTorch's too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _core
from ._core import Tensor
from ._creation import DTypeLike, tensor

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi

# Other names of functions.
bitwise_invert = _core.bitwise_not
divide = _core.div
multiply = _core.mul
negative = _core.neg
subtract = _core.sub


def _axis(axis: int, ndim: int, operation: str) -> int:
    if not -ndim <= axis < ndim:
        raise _core.IndexError(f"{operation}: dimension {axis} is not there, of {ndim}")
    return axis % ndim


def positive(x: Tensor) -> Tensor:
    """Each element as it is."""
    return x.clone()


def conj(x: Tensor) -> Tensor:
    """Each element as it is, since it is real."""
    return x.clone()


def real(x: Tensor) -> Tensor:
    """Each element as it is, since it is real."""
    return x.clone()


def imag(x: Tensor) -> Tensor:
    """Zeros, since elements are real."""
    return _core.full(x.shape, 0, x.dtype)


def astype(
    x: Tensor, dtype: DTypeLike, /, *, copy: bool = True, device: str | None = None
) -> Tensor:
    """The elements in another dtype; x itself if it has that one and copy is False."""
    return x.astype(dtype, copy=copy, device=device)


def clip(x: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """clamp(), of which both bounds may be missing.

    >>> import coregrad as cg
    >>> cg.clip(cg.arange(5), 1, 3).tolist()
    [1, 1, 2, 3, 3]
    """
    return x.clone() if min is None and max is None else _core.clamp(x, min, max)


# Shapes


def expand_dims(x: Tensor, axis: int = 0) -> Tensor:
    """A dimension of extent 1 put in."""
    return _core.unsqueeze(x, axis)


def permute_dims(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Dimensions in another order.

    Raises ValueError unless each is named once.
    """
    return _core.permute(x, axes)


def matrix_transpose(x: Tensor) -> Tensor:
    """The last two dimensions exchanged; IndexError for fewer."""
    return x.mT


def moveaxis(x: Tensor, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Dimensions moved to other places, the others in their order.

    Raises ValueError unless there is a place of its own for each.

    >>> import coregrad as cg
    >>> cg.moveaxis(cg.zeros(2, 3, 4), 0, -1).shape
    (3, 4, 2)
    """
    sources, places = (
        [_axis(a, x.ndim, "moveaxis") for a in ([given] if isinstance(given, int) else given)]
        for given in (source, destination)
    )
    if len(sources) != len(places) or any(len(set(s)) != len(s) for s in (sources, places)):
        raise _core.ValueError(
            f"moveaxis: each dimension needs a place of its own, got {sources} to {places}"
        )
    order = [dim for dim in range(x.ndim) if dim not in sources]
    for place, dim in sorted(zip(places, sources, strict=True)):
        order.insert(place, dim)
    return _core.permute(x, order)


def flatten(x: Tensor) -> Tensor:
    """The elements row by row in one dimension."""
    return x.reshape(-1)


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """Tensors repeated to their common shape; ShapeError if there is none.

    >>> import coregrad as cg
    >>> [x.shape for x in cg.broadcast_arrays(cg.zeros(3, 1), cg.zeros(2))]
    [(3, 2), (3, 2)]
    """
    try:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
    except ValueError:
        shapes = ", ".join(str(list(x.shape)) for x in arrays)
        raise _core.ShapeError(f"broadcast_arrays: shapes must broadcast, got {shapes}") from None
    return [x.broadcast_to(shape) for x in arrays]


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> list[Tensor]:
    """Coordinates of a grid from those of its axes: the first one runs along columns as in NumPy, or
    along rows where indexing is "ij".

    Raises ShapeError unless each has one dimension, ValueError for other words.

    >>> import coregrad as cg
    >>> [x.tolist() for x in cg.meshgrid(cg.arange(2), cg.arange(3), indexing="ij")]
    [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    """
    if indexing not in ("xy", "ij"):
        raise _core.ValueError(f"meshgrid: indexing must be 'xy' or 'ij', got {indexing!r}")
    if any(x.ndim != 1 for x in arrays):
        shapes = ", ".join(str(list(x.shape)) for x in arrays)
        raise _core.ShapeError(f"meshgrid: each must have one dimension, got {shapes}")
    order = list(range(len(arrays)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = 1, 0
    wide = [
        x.reshape([-1 if dim == order[number] else 1 for dim in range(len(order))])
        for number, x in enumerate(arrays)
    ]
    return broadcast_arrays(*wide)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The slices of a dimension, without it.

    >>> import coregrad as cg
    >>> [row.tolist() for row in cg.unstack(cg.eye(2))]
    [[1.0, 0.0], [0.0, 1.0]]
    """
    axis = _axis(axis, x.ndim, "unstack")
    return tuple(x.select(axis, place) for place in range(x.shape[axis]))


def repeat(
    x: Tensor, repeats: int | Tensor | Sequence[int], /, *, axis: int | None = None
) -> Tensor:
    """Each element of a dimension, or of all in a row, as often as a number says, or one for each.

    Numbers of a tensor are computed. Raises ShapeError unless there is one, or one for each.

    >>> import coregrad as cg
    >>> cg.repeat(cg.arange(3), [2, 0, 1]).tolist()
    [0, 0, 2]
    """
    if axis is None:
        x, axis = flatten(x), 0
    axis = _axis(axis, x.ndim, "repeat")
    if isinstance(repeats, int):
        return _core.repeat_interleave(x, repeats, axis)
    counts = np.asarray(repeats)
    if counts.ndim > 1 or counts.size not in (1, x.shape[axis]):
        raise _core.ShapeError(
            f"repeat: there must be one number, or {x.shape[axis]}, got {list(counts.shape)}"
        )
    places = np.repeat(np.arange(x.shape[axis]), counts)
    return _core.index_select(x, axis, tensor(places))


# Elements by place


def take(x: Tensor, indices: Any, /, *, axis: int | None = None) -> Tensor:
    """Elements of a dimension by whole numbers of any shape, which takes its place; of x in a row
    without a dimension, as in NumPy. Negative numbers count from the end.

    Raises IndexError for elements that are not there.

    >>> import coregrad as cg
    >>> cg.take(cg.eye(3), cg.tensor([2, -3]), axis=1).shape
    (3, 2)
    """
    if axis is None:
        x, axis = flatten(x), 0
    indices = indices if isinstance(indices, Tensor) else np.asarray(indices)
    return x[(slice(None),) * _axis(axis, x.ndim, "take") + (indices,)]


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements of a dimension by whole numbers at each place of the other dimensions, which broadcast.

    Raises ShapeError unless there are as many dimensions, IndexError for elements that are not there.
    """
    extent = x.shape[_axis(axis, x.ndim, "take_along_axis")]
    return _core.take_along_dim(x, _core.where(indices < 0, indices + extent, indices), axis)


def nonzero(x: Tensor) -> tuple[Tensor, ...]:
    """int64 places of the elements that are not zero, a tensor for each dimension; x is computed.

    Raises ShapeError for a tensor without dimensions. As x[nonzero(x)] needs it, and NumPy has it;
    argwhere() gives PyTorch's.

    >>> import coregrad as cg
    >>> [at.tolist() for at in cg.nonzero(cg.eye(2))]
    [[0, 1], [0, 1]]
    """
    if not x.ndim:
        raise _core.ShapeError("nonzero: there must be a dimension")
    return tuple(map(tensor, np.nonzero((x != 0).numpy())))


def argwhere(x: Tensor) -> Tensor:
    """int64 places [n, x.ndim] of the elements that are not zero; x is computed."""
    return tensor(np.argwhere((x != 0).numpy()))


# Sets: x is computed, since its values say how many elements there are


class UniqueAll(NamedTuple):
    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor) -> UniqueAll:
    """The different elements in order, the int64 place, in x as one row, of the first of each, which of
    them each element is, and how many there are of each. Each NaN is different.

    >>> import coregrad as cg
    >>> [t.tolist() for t in cg.unique_all(cg.tensor([3, 1, 3]))]
    [[1, 3], [1, 0], [1, 0, 1], [1, 2]]
    """
    values = np.asarray(x.detach())
    _, at, inverse, counts = np.unique(
        values, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    return UniqueAll(
        flatten(x)[at], tensor(at), tensor(inverse.reshape(values.shape)), tensor(counts)
    )


def unique_counts(x: Tensor) -> UniqueCounts:
    """The different elements in order, and how many there are of each."""
    found = unique_all(x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Tensor) -> UniqueInverse:
    """The different elements in order, and which of them each element is."""
    found = unique_all(x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Tensor) -> Tensor:
    """The different elements in order."""
    return unique_all(x).values


# Sums and products


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sums of products along a dimension of both; the others broadcast.

    >>> import coregrad as cg
    >>> cg.vecdot(cg.ones(2, 3), cg.arange(3)).tolist()
    [3.0, 3.0]
    """
    if not x1.ndim or not x2.ndim or x1.shape[axis] != x2.shape[axis]:
        raise _core.ShapeError(
            f"vecdot: extents of dimension {axis} must be equal, got {list(x1.shape)} and "
            f"{list(x2.shape)}"
        )
    return (moveaxis(x1, axis, -1) * moveaxis(x2, axis, -1)).sum(-1)


def tensordot(
    x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> Tensor:
    """Sums of products over the last dimensions of x1 and the first of x2, or over given ones.

    Raises ShapeError when their extents differ.

    >>> import coregrad as cg
    >>> cg.tensordot(cg.ones(2, 3, 4), cg.ones(4, 3, 5), axes=([1, 2], [1, 0])).shape
    (2, 5)
    """
    if isinstance(axes, int):
        axes = (range(x1.ndim - axes, x1.ndim), range(axes))
    left, right = (
        [_axis(a, x.ndim, "tensordot") for a in given]
        for x, given in zip((x1, x2), axes, strict=True)
    )
    summed = [x1.shape[a] for a in left]
    if summed != [x2.shape[a] for a in right]:
        raise _core.ShapeError(
            f"tensordot: extents of {left} and {right} must be equal, got {list(x1.shape)} and "
            f"{list(x2.shape)}"
        )
    rows = [a for a in range(x1.ndim) if a not in left]
    columns = [a for a in range(x2.ndim) if a not in right]
    length = math.prod(summed)
    shape = [x1.shape[a] for a in rows] + [x2.shape[a] for a in columns]
    count = math.prod(x1.shape[a] for a in rows)
    first = x1.permute(rows + left).reshape(count, length)
    second = x2.permute(right + columns).reshape(length, math.prod(shape[len(rows) :]))
    return (first @ second).reshape(shape)


def _cumulative(
    scan: Any, first: int, x: Tensor, axis: int | None, dtype: Any, initial: bool
) -> Tensor:
    if axis is None:
        if x.ndim != 1:
            raise _core.ValueError(
                f"cumulative_{scan.__name__[3:]}: a dimension must be given unless there is one, got "
                f"{list(x.shape)}"
            )
        axis = 0
    result = scan(x, axis, dtype)
    if not initial:
        return result
    shape = list(result.shape)
    shape[axis] = 1
    return _core.cat([_core.full(shape, first, result.dtype), result], axis)


def cumulative_sum(
    x: Tensor,
    /,
    *,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Tensor:
    """Running sums along a dimension, from the first element on, or from 0.

    >>> import coregrad as cg
    >>> cg.cumulative_sum(cg.arange(4), include_initial=True).tolist()
    [0, 0, 1, 3, 6]
    """
    return _cumulative(_core.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Tensor,
    /,
    *,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Tensor:
    """Running products along a dimension, from the first element on, or from 1."""
    return _cumulative(_core.cumprod, 1, x, axis, dtype, include_initial)


def diff(
    x: Tensor,
    /,
    *,
    axis: int = -1,
    n: int = 1,
    prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:
    """Differences of neighbours in a dimension, n times; of bool whether they differ.

    Raises ValueError for a negative n.

    >>> import coregrad as cg
    >>> cg.diff(cg.tensor([1, 4, 9, 16]), n=2).tolist()
    [2, 2]
    """
    if n < 0:
        raise _core.ValueError(f"diff: n must not be negative, got {n}")
    axis = _axis(axis, x.ndim, "diff")
    if n and (prepend is not None or append is not None):
        x = _core.cat([part for part in (prepend, x, append) if part is not None], axis)
    for _ in range(n):
        extent = x.shape[axis]
        late, early = x.slice(axis, 1, extent), x.slice(axis, 0, max(extent - 1, 0))
        x = late ^ early if x.dtype == _core.DType.bool else late - early
    return x
