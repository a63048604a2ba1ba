"""Operators that run in PyTorch, as steps inside a plan.

A program's memory has dense tensors of the dtypes that programs know. Any other tensor is *held*: it
stays as PyTorch made it, in a place of the call's frame, which begins with the call's arguments and the
graph's constants. Only steps that run in PyTorch read what is held; they wait for the step that made it
by reading that step's token, a value of the program that says nothing.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .._core import DType, Graph, Node, SymInt
from .lowering import Complex, interleaved
from .metadata import TO_CORE, contiguous_strides, is_writable, part_dtype
from .sized_float import SizedFloat

Frame = list[Any]
#: Of operands, results and sizes.
StepFunction = Callable[[list[torch.Tensor], list[torch.Tensor | None], list[int]], None]

#: What a step's result has as memory: dtype and shape.
Memory = tuple[DType, list[Any]]
TOKEN: Memory = (DType.int32, [1])


class _Calls(threading.local):
    """Plans call PyTorch from the thread that called them."""

    def __init__(self) -> None:
        self.frame: Frame = []  #: of the innermost call


_calls = _Calls()


def call_with_frame(function: Callable[..., Any], args: Sequence[Any], frame: Frame) -> Any:
    """Calls a plan whose steps find what is held in `frame`."""
    outer, _calls.frame = _calls.frame, frame
    try:
        return function(*args)
    finally:
        _calls.frame = outer


@dataclasses.dataclass(frozen=True)
class Held:
    """A value of the traced graph that is no node of ours."""

    place: int
    traced: torch.Tensor
    token: Node | None = None  #: of the step that makes it; None: the call brings it
    has_traced_shape: bool = True


@dataclasses.dataclass(frozen=True)
class Size:
    """Stands for a size that a call of the plan brings."""

    number: int

    def read(self, sizes: Sequence[int]) -> int:
        return sizes[self.number]


@dataclasses.dataclass(frozen=True)
class Operand:
    """Stands for a tensor of the program's memory among an operator's arguments."""

    number: int
    dtype: torch.dtype  #: which the operator is to see
    strides: tuple[int | Size, ...] | None  #: those it was traced with; None: row-major

    def read(self, operands: Sequence[torch.Tensor], sizes: Sequence[int]) -> torch.Tensor:
        x = operands[self.number]
        if self.dtype.is_complex:
            x = torch.view_as_complex(x)
        elif x.dtype != self.dtype:
            x = x.to(self.dtype)
        if self.strides is None:
            return x
        return with_strides(x, [s.read(sizes) if isinstance(s, Size) else s for s in self.strides])


@dataclasses.dataclass(frozen=True)
class Place:
    """Stands for a held tensor among an operator's arguments, or for where a result is held."""

    number: int


class Template:
    """An operator's arguments, with stand-ins for tensors that a call of the plan brings."""

    def __init__(self, graph: Graph, args: Any, traced: Any) -> None:
        """`traced` has the traced values of `args`, which may be nested."""
        self._graph = graph
        self.nodes: list[Node] = []  #: what the step reads: its operands, then tokens
        self.sizes: list[SymInt] = []  #: what it is told
        tokens: list[Node] = []
        values, self.spec = pytree.tree_flatten(args)
        self.leaves = [
            self._stand_in(value, like, tokens)
            for value, like in zip(values, pytree.tree_leaves(traced), strict=True)
        ]
        self.nodes += tokens

    def _stand_in(self, value: Any, traced: Any, tokens: list[Node]) -> Any:
        if isinstance(value, Held):
            if value.token is not None:
                tokens.append(value.token)
            return Place(value.place)
        if isinstance(value, Complex):
            value = interleaved(self._graph, value)
        if isinstance(value, SymInt):
            return self._size(value)
        if isinstance(value, SizedFloat):
            return float(value)  # a guard: the step is for this number
        if not isinstance(value, Node):
            return value
        self.nodes.append(value)
        strides = _other_strides(traced)
        if strides is not None:
            strides = tuple([self._size(s) if isinstance(s, SymInt) else s for s in strides])
        return Operand(len(self.nodes) - 1, traced.dtype, strides)

    def _size(self, size: SymInt) -> Size:
        self.sizes.append(size)
        return Size(len(self.sizes) - 1)

    def fill(self, operands: Sequence[torch.Tensor], frame: Frame, sizes: Sequence[int]) -> Any:
        """The arguments of one call."""
        values = []
        for leaf in self.leaves:
            if isinstance(leaf, Operand):
                leaf = leaf.read(operands, sizes)
            elif isinstance(leaf, Size):
                leaf = leaf.read(sizes)
            elif isinstance(leaf, Place):
                leaf = frame[leaf.number]
            values.append(leaf)
        return pytree.tree_unflatten(values, self.spec)


def _other_strides(traced: torch.Tensor) -> tuple[Any, ...] | None:
    """A traced tensor's strides, None where row-major memory does."""
    shape, stride = tuple(traced.shape), tuple(traced.stride())
    if 0 in shape or stride == contiguous_strides(shape):
        return None
    once = [n for n, s in zip(shape, stride) if s != 0]
    return stride if is_writable(once, [s for s in stride if s != 0]) else None


def with_strides(tensor: torch.Tensor, strides: Sequence[int]) -> torch.Tensor:
    """A copy with other strides; what a stride of 0 repeats is written once."""
    copy = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
    once = tuple(slice(0, 1) if s == 0 else slice(None) for s in strides)
    copy[once].copy_(tensor[once])
    return copy


def is_memory(value: torch.Tensor) -> bool:
    """Whether a traced tensor is one that programs have memory for, as it is."""
    return is_dense(value) and value.dtype in TO_CORE


def is_dense(value: torch.Tensor) -> bool:
    """Whether a traced tensor has strides and lies in the CPU's memory."""
    return value.layout == torch.strided and value.device.type == "cpu"


def can_be_loaded(held: Held) -> bool:
    """Whether a program can read a copy of it: as pairs where it is complex."""
    x = held.traced
    return (
        held.has_traced_shape
        and x.layout == torch.strided
        and x.device.type == "cpu"
        and part_dtype(x.dtype) in TO_CORE
    )


def loaded(held: torch.Tensor) -> torch.Tensor:
    """What a program reads for a held tensor, in any layout."""
    return torch.view_as_real(held.resolve_conj()) if held.is_complex() else held


def itself(value: torch.Tensor) -> torch.Tensor:
    """The operator of steps that only hold a value."""
    return value


def make_call(
    operator: Callable[..., Any], template: Template, places: Sequence[Place | None], copies: bool
) -> StepFunction:
    """A function for a plan step: calls the operator below autograd and fills the results' memory, or
    for those with a place the frame. A last result may be the step's token.

    Operands get the strides they were traced with: what linalg.det saves depends on them. With
    `copies` they are copied first: a sparse tensor may keep them.
    """

    def call(
        operands: list[torch.Tensor], results: list[torch.Tensor | None], sizes: list[int]
    ) -> None:
        frame = _calls.frame
        # The graph has autocast's casts already.
        with torch._C._AutoDispatchBelowAutograd(), torch.no_grad(), torch._C._DisableAutocast():
            if copies:
                operands = [x.clone() for x in operands]
            args, kwargs = template.fill(operands, frame, sizes)
            got = operator(*args, **kwargs)
            got = got if isinstance(got, (tuple, list)) else (got,)
            tensors = [t for t in got if isinstance(t, torch.Tensor)]
            memory = iter(results)
            for place, tensor in zip(places, tensors, strict=True):
                if place is not None:
                    frame[place.number] = tensor if copies else _outliving(tensor, operands)
                elif (result := next(memory)) is not None:  # somebody reads it
                    result.copy_(tensor)
            for token in memory:
                if token is not None:
                    token.zero_()

    return call


def _outliving(tensor: torch.Tensor, operands: Sequence[torch.Tensor]) -> torch.Tensor:
    """The tensor, or a copy if it is a view of the program's memory, which is used again."""
    if tensor.layout != torch.strided:
        return tensor
    storage = tensor.untyped_storage()._cdata
    if all(storage != x.untyped_storage()._cdata for x in operands):
        return tensor
    return tensor.clone()
