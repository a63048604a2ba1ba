"""THE table from ATen overloads to builder calls, and the context a row's function gets.

A row is a function `f(b, *args, **kwargs)` with the operator's own arguments, where tensors have become
`Node`s and symbolic sizes ints. It returns a node, or a tuple of nodes (None for a result nobody may
use). The importer checks shapes and dtypes of what comes back, so a row that meets a combination it
does not know calls `b.unsupported(reason)` and the operator runs in PyTorch.

float16, bfloat16 and the integers other than int32 and int64 are invisible to rows that `lower`
registers: their operands come as what they are computed in (float32, int32, for uint32 int64), and what
they return is rounded, or wrapped, once where PyTorch's result is one of them. Rows that `move`
registers meet them as they are.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from ..._core import DType, Graph, Node, SymInt, sym_max
from ..metadata import COMPUTED, TO_CORE, part_dtype
from ..sized_float import SizedFloat

Row = Callable[..., Any]
ROWS: dict[Any, Row] = {}


def register(rows: dict[Any, Row], *names: str) -> Callable[[Row], Row]:
    """Enters a function into a table for overloads named as in `aten.add.Tensor`; unknown ones are
    skipped, so that one table serves several versions of PyTorch.
    """

    def enter(function: Row) -> Row:
        for name in names:
            overload = find_overload(name)
            if overload is not None:
                rows[overload] = function
        return function

    return enter


def move(*names: str) -> Callable[[Row], Row]:
    """Registers a function that takes every dtype as it is."""
    return register(ROWS, *names)


def lower(*names: str) -> Callable[[Row], Row]:
    """The same for a function that computes: in what is computed with."""

    def enter(function: Row) -> Row:
        move(*names)(_computing(function))
        return function

    return enter


def _computing(function: Row) -> Row:
    @functools.wraps(function)
    def row(b: Lowering, *args: Any, **kwargs: Any) -> Any:
        b.widens = True
        try:
            args = tuple(_widened(b, a) for a in args)
            kwargs = {name: _widened(b, a) for name, a in kwargs.items()}
            result = function(b, *args, **kwargs)
        finally:
            b.widens = False
        return _rounded(b, result, b.result)

    return row


def _widened(b: Lowering, value: Any) -> Any:
    if isinstance(value, Node):
        return b.node(value, COMPUTED.get(value.dtype, value.dtype))
    return type(value)(_widened(b, v) for v in value) if type(value) in (list, tuple) else value


def _rounded(b: Lowering, result: Any, traced: Any) -> Any:
    if isinstance(result, (tuple, list)):
        if not isinstance(traced, (tuple, list)) or len(result) != len(traced):
            return result  # the importer refuses it
        return tuple(_rounded(b, r, t) for r, t in zip(result, traced))
    if not isinstance(result, Node) or not isinstance(traced, torch.Tensor):
        return result
    dtype = TO_CORE.get(traced.dtype)
    return b.node(result, dtype) if dtype in COMPUTED else result


def is_float(dtype: DType) -> bool:
    """Whether a row computes with floats: narrow ones are float32 by then."""
    return dtype in (DType.float32, DType.float64)


def at_least_one(n: Any) -> Any:
    """A number of elements as a divisor."""
    return max(n, 1) if isinstance(n, int) else sym_max(n, 1)


def result_type(a: Any, b: Any) -> torch.dtype:
    """PyTorch's of tensors and numbers; any number stands for one that sizes decide."""
    stand_ins = {SymInt: 1, SizedFloat: 1.0}
    return torch.result_type(*(stand_ins.get(type(x), x) for x in (a, b)))


def each(values: Sequence[int], rank: int) -> list[int]:
    """A number for each spatial dimension, of which PyTorch may give one for all."""
    return list(values) * rank if len(values) == 1 else list(values)


def find_overload(name: str) -> Any | None:
    """The overload with a dotted name, or None in a PyTorch that does not have it."""
    namespace, packet, overload = name.split(".")
    try:
        return getattr(getattr(getattr(torch.ops, namespace), packet), overload)
    except AttributeError:
        return None


class Unsupported(Exception):
    """Raised by a row for a combination it has no lowering for."""


class Lowering:
    """What a row works with: the graph, what the current operator must give, small conveniences."""

    core_bool, core_int32, core_int64, core_float32, core_float64 = (
        DType.bool,
        DType.int32,
        DType.int64,
        DType.float32,
        DType.float64,
    )

    def __init__(
        self, graph: Graph, seed: Callable[[], Node], check: Callable[[Node, str], None]
    ) -> None:
        """`check` makes calls raise a RuntimeError where a node of truth values has a true one."""
        self.g = graph
        self.check = check
        self._seed = seed
        self._streams = 0
        self.result: Any = None  #: traced value(s) of the current operator
        self.traced_args: Sequence[Any] = ()  #: traced values of its positional arguments
        self.widens = False  #: the current row meets what is computed with, not what is stored

    def unsupported(self, reason: str) -> None:
        raise Unsupported(reason)

    # Dtypes and constants

    @property
    def dtype(self) -> DType:
        """Element type of the (first) result."""
        first = self.result[0] if isinstance(self.result, (tuple, list)) else self.result
        return self.core_dtype(first.dtype)

    @property
    def shape(self) -> list[int]:
        """Shape of the (first) result."""
        first = self.result[0] if isinstance(self.result, (tuple, list)) else self.result
        return list(first.shape)

    def core_dtype(self, dtype: torch.dtype) -> DType:
        """Ours; of a complex one that of its parts."""
        dtype = part_dtype(dtype)
        if dtype not in TO_CORE:
            raise Unsupported(f"dtype {dtype}")
        core = TO_CORE[dtype]
        return COMPUTED.get(core, core) if self.widens else core

    def node(self, value: Node | float | bool, dtype: DType) -> Node:
        """A node cast to `dtype`, or a number as a literal of it."""
        if isinstance(value, Node):
            return value if value.dtype == dtype else self.g.cast(value, dtype)
        if isinstance(value, complex):
            raise Unsupported("complex numbers")
        if isinstance(value, SizedFloat):
            return self.g.cast(value.node(self.g), dtype)
        return self.g.literal(dtype, value)

    def rounded(self, value: Node | float, traced: Any) -> Node | float:
        """An operand as PyTorch's kernels of narrow floats and small integers see it: rounded to the
        result's dtype before anything is computed, where it is a number or a scalar of a wider dtype.
        Its mul, div and products with three operands do not round.
        """
        stored = self.result.dtype
        core = TO_CORE.get(stored)
        if core not in COMPUTED or getattr(traced, "dtype", None) == stored:
            return value
        if not isinstance(value, Node):
            wide = torch.float64 if stored.is_floating_point else None
            if isinstance(value, (SymInt, SizedFloat)):
                return self.node(self.node(value, core), COMPUTED[core])
            return torch.tensor(value, dtype=wide).to(stored).item()
        value = self.node(value, core)
        return self.node(value, COMPUTED[core]) if self.widens else value

    def full_like(self, x: Node, value: float) -> Node:
        return self.g.full(list(x.shape), x.dtype, value)

    def common_dtype(self, *args: int) -> DType:
        """PyTorch's result type of the first arguments of the current operator."""
        a, b = self.traced_args[args[0] if args else 0], self.traced_args[args[1] if args else 1]
        return self.core_dtype(result_type(a, b))

    # Dimensions

    def dim(self, dim: int, x: Node) -> int:
        """A dimension counted from the front; 0 for a scalar."""
        return dim % x.ndim if x.ndim else 0

    def dims(self, dims: int | Iterable[int] | None, x: Node) -> list[int]:
        """Dimensions to reduce, counted from the front; none means all."""
        if dims is None:
            return list(range(x.ndim))
        if isinstance(dims, int):
            dims = [dims]
        found = sorted({self.dim(d, x) for d in dims}) if x.ndim else []
        return found or list(range(x.ndim))

    def reduce(self, name: str, x: Node, dims: Sequence[int], keepdim: bool = False) -> Node:
        """A reduction over dimensions; a scalar, or no dimension, is its own reduction."""
        return getattr(self.g, name)(x, list(dims), keepdim) if dims else x

    def expand(self, x: Node, shape: Sequence[int]) -> Node:
        shape = list(shape)
        return x if list(x.shape) == shape else self.g.broadcast_to(x, shape)

    def along(self, x: Node, dim: int, ndim: int) -> Node:
        """A vector as dimension `dim` of a value with `ndim` dimensions."""
        shape = [1] * ndim
        shape[dim] = x.shape[0]
        return self.g.reshape(x, shape)

    # Gradients

    def gradient(self, function: Callable[[Node], Node], x: Node, grad: Node) -> Node:
        """Of function(x) with respect to x. Construction looks through nodes (a reshape of a reshape is
        one of what lies below), so the function gets one that it cannot look through.
        """
        variable = self.g.detach(x)
        result = function(variable)
        grad = self.expand(self.node(grad, result.dtype), result.shape)
        return self.g.gradients([result], [grad], [variable])[0]

    def gradient_of_linear(
        self, function: Callable[[Node], Node], shape: Sequence[int], grad: Node
    ) -> Node:
        """The same for an operand of which only the shape is known, which the gradient of a linear
        function does not read. `grad` must have elements.
        """
        first = self.g.narrow(self.g.reshape(grad, [-1]), 0, 0, 1)
        return self.gradient(function, self.expand(first, shape), grad)

    # Choice and limits

    def where(self, condition: Node, a: Node | float, b: Node | float) -> Node:
        """Elementwise choice; numbers take the other value's dtype, operands broadcast."""
        if not isinstance(a, Node):
            a = self.g.literal(b.dtype, a)
        if not isinstance(b, Node):
            b = self.g.literal(a.dtype, b)
        return self.g.select(condition, a, b)

    def at_least(self, x: Node, limit: float) -> Node:
        return self.g.max(x, self.g.literal(x.dtype, limit))

    def at_most(self, x: Node, limit: float) -> Node:
        return self.g.min(x, self.g.literal(x.dtype, limit))

    # Random numbers

    def draw(self, streams: int = 1) -> tuple[Node, int]:
        """What fresh random numbers are made of: a seed, which PyTorch's default generator decides at
        each call, and the first of as many streams.
        """
        stream, self._streams = self._streams, self._streams + streams
        return self._seed(), stream
