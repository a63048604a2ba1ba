"""Trees of tensors: lists, tuples, dicts and dataclasses, nested, with anything else at the leaves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ._core import Tensor

# What stands for a tensor in a tree's structure.
TENSOR = object()


def flatten(tree: Any, tensors: list[Tensor]) -> Any:
    """Append the tensors of a tree and give its structure, with TENSOR in place of each.

    The structure is hashable where its other leaves are.
    """
    if isinstance(tree, Tensor):
        tensors.append(tree)
        return TENSOR
    if isinstance(tree, dict):
        return (type(tree), tuple(tree), tuple(flatten(v, tensors) for v in tree.values()))
    if isinstance(tree, (list, tuple)):
        return (type(tree), None, tuple(flatten(v, tensors) for v in tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        names = tuple(f.name for f in dataclasses.fields(tree))
        return (type(tree), names, tuple(flatten(getattr(tree, n), tensors) for n in names))
    return Leaf(tree)


class Leaf:
    """Something in a tree that is no tensor; equal to what has the same type and value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Leaf) or type(self.value) is not type(other.value):
            return False
        return self.value is other.value or bool(self.value == other.value)

    def __hash__(self) -> int:
        return hash((type(self.value), self.value))


def unflatten(structure: Any, next_tensor: Callable[[], Tensor]) -> Any:
    """Make the tree again, with the tensors that `next_tensor` gives one after the other."""
    if structure is TENSOR:
        return next_tensor()
    if isinstance(structure, Leaf):
        return structure.value
    kind, names, children = structure
    values = [unflatten(child, next_tensor) for child in children]
    if names is None:
        return kind(*values) if hasattr(kind, "_fields") else kind(values)
    if issubclass(kind, dict):
        return dict(zip(names, values, strict=True))
    return kind(**dict(zip(names, values, strict=True)))
