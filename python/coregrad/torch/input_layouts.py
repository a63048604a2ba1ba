"""The strides that inputs of graphs have: what a forward gave them, or what a call brings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from .metadata import contiguous_strides
from .program import same_strides


@dataclasses.dataclass
class Layouts:
    """Strides that a forward program gave its outputs, by the name of the FX node: the backward
    graph's placeholders have the same names.
    """

    by_name: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


def layouts_of(module: GraphModule, args: Sequence[Any], traced: Mapping[FxNode, Any]) -> Layouts:
    """The strides that a call's arguments have, of those that have the traced shapes."""
    placeholders = module.graph.find_nodes(op="placeholder")
    return Layouts(
        {
            node.name: tuple(value.stride())
            for node, value in zip(placeholders, args, strict=True)
            if isinstance(value, torch.Tensor) and value.shape == traced[node].shape
        }
    )


def symbolic_layouts(
    module: GraphModule,
    args: Sequence[Any],
    traced: Mapping[FxNode, Any],
    numbers: Mapping[FxNode, Any],
) -> Layouts:
    """As expressions: the traced strides, or row-major ones where a call's argument has those instead.
    `numbers` are the traced values for the call's sizes.
    """
    placeholders = module.graph.find_nodes(op="placeholder")
    layouts = Layouts()
    for node, value in zip(placeholders, args, strict=True):
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
            continue
        if value.shape != numbers[node].shape:
            continue
        strides = tuple(traced[node].stride())
        if not same_strides(value, tuple(numbers[node].stride())) and value.is_contiguous():
            strides = contiguous_strides(tuple(traced[node].shape))
        layouts.by_name[node.name] = strides
    return layouts
