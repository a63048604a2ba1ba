"""Inputs that share memory, where one of them is written to.

What a write does to the others was settled when the graph was traced. PyTorch 2.13 has no guard on
where two views of one storage lie in it, so a call may bring inputs that overlap otherwise: such a call
runs the graph that Dynamo captured, in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from .importer import storage_key

Sharing = tuple[tuple[int, int, Any], ...]


def sharing(args: Sequence[Any], written: Sequence[int]) -> Sharing:
    """For each written input and each other one in its storage: how far apart they start."""
    found: list[tuple[int, int, Any]] = []
    for i in written:
        x = args[i]
        key, start = storage_key(x), x.storage_offset()
        found += [
            (i, j, y.storage_offset() - start)
            for j, y in enumerate(args)
            if j != i
            and isinstance(y, torch.Tensor)
            and y.layout == torch.strided
            and storage_key(y) == key
        ]
    return tuple(found)


def written_inputs(metadata: Any, example_inputs: Sequence[Any], is_one_to_one: bool) -> list[int]:
    """The user's tensors among the inputs that the graph may write to; parameters and buffers lie
    where the module has them.
    """
    if metadata is None or not any(i.mutates_data for i in metadata.input_info):
        return []
    tensors = [
        i
        for i, x in enumerate(example_inputs)
        if isinstance(x, torch.Tensor) and x.layout == torch.strided
    ]
    if not is_one_to_one:  # AOTAutograd merged inputs: its numbers are others
        return tensors
    static = set(metadata.static_input_indices)
    return [i for i in tensors if metadata.input_info[i].mutates_data and i not in static]


def guard_sharing(
    call: Callable[..., Any],
    module: GraphModule,
    example_inputs: Sequence[Any],
    written: Sequence[int],
) -> Callable[..., Any]:
    """`call` for inputs that share memory as the traced ones do, else the graph in PyTorch."""
    if not written or len(example_inputs) < 2:
        return call
    traced = sharing(example_inputs, written)
    if not all(isinstance(distance, int) for _, _, distance in traced):
        return call  # symbolic: AOTAutograd has guards of its own
    in_pytorch = torch._dynamo.disable(module)

    @torch._dynamo.disable
    def guarded(*args: Any) -> Any:
        return call(*args) if sharing(args, written) == traced else in_pytorch(*args)

    return guarded
