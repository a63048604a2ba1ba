"""Operators that run in PyTorch, as steps inside a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .._core import Node
from .metadata import contiguous_strides, is_writable


@dataclasses.dataclass(frozen=True)
class Operand:
    """Stands for the step's operand with this number."""

    number: int


def split_operands(args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Node], Any]:
    """The nodes among an operator's arguments, and a template with `Operand`s in their places."""
    nodes: list[Node] = []

    def visit(value: Any) -> Any:
        if not isinstance(value, Node):
            return value
        nodes.append(value)
        return Operand(len(nodes) - 1)

    template = pytree.tree_map(
        visit, (list(args), dict(kwargs)), is_leaf=lambda v: isinstance(v, Node)
    )
    return nodes, template


def operand_strides(traced: Any) -> list[tuple[int, ...] | None]:
    """For each tensor among an operator's traced arguments its strides, None where row-major."""
    strides: list[tuple[int, ...] | None] = []
    for value in pytree.tree_leaves(traced):
        if isinstance(value, torch.Tensor):
            shape, stride = tuple(value.shape), tuple(value.stride())
            is_plain = stride == contiguous_strides(shape) or 0 in shape
            repeated = [d for d in range(len(shape)) if stride[d] == 0]
            once = [n for d, n in enumerate(shape) if d not in repeated]
            steps = [s for s in stride if s != 0]
            strides.append(None if is_plain or not is_writable(once, steps) else stride)
    return strides


def _with_strides(tensor: torch.Tensor, strides: tuple[int, ...]) -> torch.Tensor:
    """A copy with other strides; what a stride of 0 repeats is written once."""
    copy = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype)
    once = tuple(slice(0, 1) if s == 0 else slice(None) for s in strides)
    copy[once].copy_(tensor[once])
    return copy


def make_call(
    operator: Any, template: Any, strides: Sequence[tuple[int, ...] | None]
) -> Callable[[list[torch.Tensor], list[torch.Tensor | None]], None]:
    """A function for a plan step: calls the operator below autograd and fills the results' memory.

    Operands get the strides they were traced with: what linalg.det saves depends on them.
    """
    leaves, spec = pytree.tree_flatten(template, is_leaf=lambda v: isinstance(v, Operand))

    def call(operands: list[torch.Tensor], results: list[torch.Tensor | None]) -> None:
        operands = [
            t if s is None else _with_strides(t, s) for t, s in zip(operands, strides, strict=True)
        ]
        values = [operands[v.number] if isinstance(v, Operand) else v for v in leaves]
        args, kwargs = pytree.tree_unflatten(values, spec)
        # The graph has autocast's casts already.
        with torch._C._AutoDispatchBelowAutograd(), torch.no_grad(), torch._C._DisableAutocast():
            got = operator(*args, **kwargs)
            got = got if isinstance(got, (tuple, list)) else (got,)
            tensors = [t for t in got if isinstance(t, torch.Tensor)]
            for result, tensor in zip(results, tensors, strict=True):
                if result is not None:  # somebody reads it
                    result.copy_(tensor)

    return call
