"""Lazy tensors: what the extension module leaves to Python."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from . import _core, _standard
from ._core import Tensor
from ._creation import tensor
from ._dtypes import DTypeLike, bfloat16, category_of, float32
from ._indexing import get_item, with_item


class no_grad(contextlib.ContextDecorator):
    """While it is entered, this thread records operations whose results need no gradient.

    A function can be decorated with `@no_grad()`.

    >>> import coregrad as cg
    >>> x = cg.tensor([1.0], requires_grad=True)
    >>> with cg.no_grad():
    ...     (x * 2).requires_grad
    False
    """

    def __init__(self) -> None:
        self._guards: list[_core._NoGrad] = []

    def __enter__(self) -> no_grad:
        self._guards.append(_core._NoGrad())
        return self

    def __exit__(self, *_: object) -> None:
        self._guards.pop()

    def _recreate_cm(self) -> no_grad:
        # For a decorated function: each call, on whatever thread, has a guard of its own.
        return type(self)()


def _values(tensor: Tensor) -> np.ndarray:
    """The values as NumPy has them: bfloat16 as float32, which is exact."""
    return (tensor.cast(float32) if tensor.dtype == bfloat16 else tensor).numpy()


def _rebind(tensor: Tensor, value: Tensor, operation: str) -> None:
    """Let a tensor stand for a value of its shape, in its dtype."""
    if tensor.requires_grad and tensor.is_leaf and _core.is_grad_enabled():
        raise _core.AutogradError(
            f"{operation}: a leaf that requires a gradient cannot be changed; use no_grad(), or "
            "compute another tensor from it"
        )
    tensor.assign(value if value.dtype == tensor.dtype else value.cast(tensor.dtype))


#: Functions for ufuncs of NumPy's that have another name there.
_UFUNCS = {
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh",
    "arctan": "atan", "arctan2": "atan2", "arctanh": "atanh", "fabs": "abs", "invert": "bitwise_not",
    "left_shift": "bitwise_left_shift", "power": "pow", "right_shift": "bitwise_right_shift",
    "rint": "round",
}  # fmt: skip


class _TensorMethods:
    """Methods of Tensor that are written in Python."""

    # Equality is elementwise, so a tensor is hashed as the object that it is.
    __hash__ = object.__hash__

    def __array_namespace__(self: Tensor, *, api_version: str | None = None) -> Any:
        """The namespace of the array API standard, coregrad.array_api; ValueError for versions that it
        does not have.
        """
        from . import array_api

        if api_version not in (None, "2021.12", "2022.12", "2023.12", "2024.12"):
            raise _core.ValueError(f"__array_namespace__: there is no version {api_version!r}")
        return array_api

    def __array_ufunc__(self: Tensor, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """What NumPy's functions of elements, and operators with an array on the left, give: a tensor,
        with its gradient. TypeError for functions that tensors do not have, and for arrays to write to.
        """
        name = _UFUNCS.get(ufunc.__name__, ufunc.__name__)
        function = getattr(_core, name, None) or getattr(_standard, name, None)
        is_numpys = getattr(np, ufunc.__name__, None) is ufunc
        if method != "__call__" or options or function is None or not is_numpys:
            return NotImplemented
        arrays = (tensor(x) if isinstance(x, np.ndarray) else x for x in inputs)
        return function(*arrays)

    def __getitem__(self: Tensor, index: Any) -> Tensor:
        """Elements as NumPy picks them: by integers, slices, None, ..., and by arrays, lists or tensors
        of integers or bool, which broadcast against each other.

        A bool mask is computed, since it says how many elements there are. Raises IndexError for what
        is none, or is out of range; where index tensors are pending, when the values are asked for.

        >>> import coregrad as cg
        >>> x = cg.arange(6).reshape(2, 3)
        >>> x[:, ::-1].tolist(), x[[0, 1], [2, 0]].tolist(), x[x > 3].tolist()
        ([[2, 1, 0], [5, 4, 3]], [2, 3], [4, 5])
        """
        return get_item(self, index)

    def __setitem__(self: Tensor, index: Any, value: Any) -> None:
        """Let this tensor stand for one with value, which broadcasts, in place of self[index].

        No memory is written: what was computed from this tensor before, views too, keeps its values,
        and so does an array that it reads. Gradients flow to value and to the rest. Raises
        AutogradError for a leaf that requires a gradient, unless in no_grad(); IndexError as picking
        does; ShapeError when value does not fit.

        >>> import coregrad as cg
        >>> x = cg.zeros(2, 3)
        >>> row = x[0]
        >>> x[:, 1] = cg.tensor([5, 6])
        >>> x.tolist(), row.tolist()
        ([[0.0, 5.0, 0.0], [0.0, 6.0, 0.0]], [0.0, 0.0, 0.0])
        """
        _rebind(self, with_item(self, index, value), "setitem")

    def __contains__(self: Tensor, value: Any) -> bool:
        return bool((self == value).any())

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
    def device(self: Tensor) -> str:
        """Where the values are: "cpu"."""
        return "cpu"

    def to_device(self: Tensor, device: str, /, *, stream: None = None) -> Tensor:
        """The tensor itself; ValueError for another device than "cpu"."""
        if device != "cpu" or stream is not None:
            raise _core.ValueError(f"to_device: the device must be 'cpu', got {device!r}")
        return self

    @property
    def T(self: Tensor) -> Tensor:
        """The dimensions in reverse order."""
        return self.permute(list(range(self.ndim))[::-1])

    @property
    def mT(self: Tensor) -> Tensor:
        """The last two dimensions exchanged; IndexError for fewer."""
        return self.transpose(-1, -2)

    def transpose(self: Tensor, *dims: Any) -> Tensor:
        """Two dimensions exchanged, as in PyTorch; all in reverse order, or in a given one, as in NumPy.

        Two numbers are PyTorch's. Raises ValueError unless an order names each dimension once.

        >>> import coregrad as cg
        >>> x = cg.zeros(2, 3, 4)
        >>> x.transpose(0, 1).shape, x.transpose().shape, x.transpose((1, 0, 2)).shape
        ((3, 2, 4), (4, 3, 2), (3, 2, 4))
        """
        if len(dims) == 2:
            return _core.transpose(self, *dims)
        if not dims or dims == (None,):
            return self.T
        return self.permute(*dims)

    def expand(self: Tensor, *shape: Any) -> Tensor:
        """broadcast_to(), where -1 stands for an extent that stays.

        >>> import coregrad as cg
        >>> cg.zeros(3, 1).expand(2, -1, 4).shape
        (2, 3, 4)
        """
        extents = list(
            shape[0] if len(shape) == 1 and not hasattr(shape[0], "__index__") else shape
        )
        offset = len(extents) - self.ndim
        for place, extent in enumerate(extents):
            if extent == -1 and place >= offset:
                extents[place] = self.shape[place - offset]
        return self.broadcast_to(extents)

    def astype(
        self: Tensor, dtype: DTypeLike, *, copy: bool = True, device: str | None = None
    ) -> Tensor:
        """The elements in another dtype; this tensor itself if it has that one and copy is False.

        >>> import coregrad as cg
        >>> cg.tensor([1.5, -1.5]).astype(int).tolist()
        [1, -1]
        """
        self.to_device(device or "cpu")
        wanted = _core._dtype(dtype)
        return self if wanted == self.dtype and not copy else self.cast(wanted)

    def clip(self: Tensor, min: Any = None, max: Any = None, out: None = None) -> Tensor:
        """clamp(), of which both bounds may be missing."""
        if out is not None:
            raise TypeError("clip: tensors are not written to, so out must be None")
        return _standard.clip(self, min, max)

    def flatten(self: Tensor) -> Tensor:
        """The elements row by row in one dimension."""
        return self.reshape(-1)

    def ravel(self: Tensor) -> Tensor:
        """The elements row by row in one dimension."""
        return self.reshape(-1)

    def nonzero(self: Tensor) -> tuple[Tensor, ...]:
        """int64 places of the elements that are not zero, a tensor for each dimension."""
        return _standard.nonzero(self)

    def clone(self: Tensor) -> Tensor:
        """Another tensor of the same value, through which gradients flow."""
        return self.cast(self.dtype)

    def __copy__(self: Tensor) -> Tensor:
        return self.clone()

    def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Tensor:
        """Values and gradient in memory of their own; AutogradError for what was computed from leaves
        that require a gradient, whose history has no copy.
        """
        if not self.is_leaf:
            raise _core.AutogradError(
                "deepcopy: a tensor computed from leaves that require a gradient has no deep copy; "
                "detach() it"
            )
        result = tensor(self, requires_grad=self.requires_grad)
        if self.grad is not None:
            result.grad = tensor(self.grad)
        memo[id(self)] = result
        return result

    def _text(self: Tensor, values: str) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        return f"tensor({values}, dtype={self.dtype.name}{grad})"

    def __repr__(self: Tensor) -> str:
        """The values, of many elements the outer ones, or that they are pending: a debugger that shows
        a tensor must not start its computation. str() and print() do.
        """
        if self.is_realized:
            return str(self)
        return self._text(f"<pending>, shape={self.shape}")

    def __str__(self: Tensor) -> str:
        return self._text(np.array2string(_values(self), separator=", ", prefix="tensor("))

    def __format__(self: Tensor, spec: str) -> str:
        return format(self.item() if spec else str(self), spec)

    def __len__(self: Tensor) -> int:
        if self.ndim == 0:
            raise TypeError("len() of a tensor without dimensions")
        return self.shape[0]

    def __iter__(self: Tensor) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __pos__(self: Tensor) -> Tensor:
        return self.clone()

    def __divmod__(self: Tensor, other: Any) -> tuple[Tensor, Tensor]:
        return self // other, self % other

    def __rdivmod__(self: Tensor, other: Any) -> tuple[Tensor, Tensor]:
        return other // self, other % self

    def __bool__(self: Tensor) -> bool:
        return bool(self.item())

    def __float__(self: Tensor) -> float:
        return float(self.item())

    def __int__(self: Tensor) -> int:
        return int(self.item())

    def __index__(self: Tensor) -> int:
        """The element of an integer tensor without dimensions; TypeError for others."""
        if category_of(self.dtype) != 1 or self.ndim:
            raise TypeError(
                "an index must be an integer tensor without dimensions, got "
                f"{self.dtype.name}{list(self.shape)}"
            )
        return self.item()

    def __complex__(self: Tensor) -> complex:
        return complex(self.item())

    def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The values for NumPy, read-only or copied; AutogradError where a gradient would be lost."""
        if self.requires_grad and _core.is_grad_enabled():
            raise _core.AutogradError(
                "__array__: NumPy would lose the gradient that this tensor requires; detach() it, or "
                "take numpy()"
            )
        return np.array(_values(self), dtype=dtype, copy=copy)

    def __dlpack__(
        self: Tensor,
        *,
        stream: None = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """The values for another library, read-only and without a copy.

        Versions before 1.0 cannot say that memory is read-only, so they get a copy; BufferError if they
        must not, for other devices, and where a gradient would be lost.
        """
        if self.requires_grad and _core.is_grad_enabled():
            raise BufferError("__dlpack__: detach() a tensor that requires a gradient first")
        if dl_device not in (None, self.__dlpack_device__()) or stream is not None:
            raise BufferError(f"__dlpack__: values are on the CPU, not on {dl_device}, {stream}")
        is_old = max_version is None or max_version[0] < 1
        if is_old and copy is False:
            raise BufferError(
                "__dlpack__: values are read-only, of which versions before 1.0 must have a copy"
            )
        if self.dtype == bfloat16:
            return self._dlpack(is_old or bool(copy)).__dlpack__(max_version=max_version)
        array = self.numpy()
        return (array.copy() if is_old or copy else array).__dlpack__(max_version=max_version)

    def __dlpack_device__(self: Tensor) -> tuple[int, int]:
        return (1, 0)


def _in_place(name: str) -> Callable[[Tensor, Any], Tensor]:
    """`x += y` and its like: x stands for x + y, of its own dtype and shape, for all that hold it."""
    operator = getattr(Tensor, f"__{name}__")

    def update(self: Tensor, other: Any) -> Tensor:
        value = operator(self, other)
        if value is NotImplemented:
            return value
        if category_of(value.dtype) > category_of(self.dtype):
            raise _core.DTypeError(
                f"i{name}: the result is {value.dtype.name}, which {self.dtype.name} cannot hold"
            )
        _rebind(self, value, f"i{name}")
        return self

    update.__name__ = f"__i{name}__"
    return update


for _name, _value in vars(_TensorMethods).items():
    if _name not in ("__module__", "__doc__", "__dict__", "__weakref__"):
        setattr(Tensor, _name, _value)
for _name in (
    "add", "sub", "mul", "truediv", "pow", "floordiv", "mod", "matmul", "and", "or", "xor",
    "lshift", "rshift",
):  # fmt: skip
    setattr(Tensor, f"__i{_name}__", _in_place(_name))
