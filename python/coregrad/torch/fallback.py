"""Operators that run in PyTorch, as steps inside a plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .._core import Node


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


def make_call(
    operator: Any, template: Any
) -> Callable[[list[torch.Tensor], list[torch.Tensor | None]], None]:
    """A function for a plan step: calls the operator below autograd and fills the results' memory."""
    leaves, spec = pytree.tree_flatten(template, is_leaf=lambda v: isinstance(v, Operand))

    def call(operands: list[torch.Tensor], results: list[torch.Tensor | None]) -> None:
        values = [operands[v.number] if isinstance(v, Operand) else v for v in leaves]
        args, kwargs = pytree.tree_unflatten(values, spec)
        with torch._C._AutoDispatchBelowAutograd(), torch.no_grad():
            got = operator(*args, **kwargs)
            got = got if isinstance(got, (tuple, list)) else (got,)
            tensors = [t for t in got if isinstance(t, torch.Tensor)]
            for result, tensor in zip(results, tensors, strict=True):
                if result is not None:  # somebody reads it
                    result.copy_(tensor)

    return call
