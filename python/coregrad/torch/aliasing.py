"""Memory that is shared: by inputs, where one of them is written to, by such an input and views of it
that are returned, and by elements of an output.

What a write to an input does to the others was settled when the graph was traced. PyTorch 2.13 has no
guard on where two views of one storage lie in it, so a call may bring inputs that overlap otherwise:
such a call runs the graph that Dynamo captured, in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._functorch._aot_autograd.schemas import OutputType
from torch._prims_common import is_non_overlapping_and_dense_or_false
from torch.fx import GraphModule

from .metadata import is_writable, storage_key

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


def viewed_and_written(
    metadata: Any, example_inputs: Sequence[Any], written: Sequence[int]
) -> list[int]:
    """The written inputs of symbolic sizes of which the graph returns views."""
    if not any(
        isinstance(n, torch.SymInt)
        for x in example_inputs
        for n in (x.shape if isinstance(x, torch.Tensor) else [x])
    ):
        return []
    bases = {o.base_idx for o in metadata.output_info if o.output_type == OutputType.alias_of_input}
    return [i for i in written if i in bases]


def guard_views(
    call: Callable[..., Any], module: GraphModule, viewed: Sequence[int]
) -> Callable[..., Any]:
    """`call` where inputs lie as the traced graph's new values of them do: dense, from their storage's
    start on. With symbolic sizes AOTAutograd (2.13) makes views of an overwritten input with the strides
    and the offset that its new value had before it was copied there; else the graph in PyTorch.
    """
    if not viewed:
        return call
    in_pytorch = torch._dynamo.disable(module)

    def is_dense(x: torch.Tensor) -> bool:
        return x.storage_offset() == 0 and is_non_overlapping_and_dense_or_false(x)

    @torch._dynamo.disable
    def guarded(*args: Any) -> Any:
        return (call if all(is_dense(args[i]) for i in viewed) else in_pytorch)(*args)

    return guarded


def _hint(value: Any) -> int:
    return int(value if isinstance(value, int) else value.node.hint or 0)


def elements_overlap(x: torch.Tensor) -> bool:
    """Whether several elements may share memory, other than along expanded dimensions."""
    apart = [(_hint(n), _hint(step)) for n, step in zip(x.shape, x.stride()) if _hint(step)]
    return not is_writable([n for n, _ in apart], [step for _, step in apart])


def separate_elements_of_outputs(module: GraphModule) -> None:
    """Outputs such as `(2 * x).unfold(0, 3, 1)` become tensors whose elements lie apart.

    AOTAutograd copies a gradient into memory laid out like the output, which mixes up the gradients of
    elements that share memory. Views of inputs, and several views of one tensor, are made outside of
    the graph, and need none of this.
    """
    (output,) = module.graph.find_nodes(op="output")
    values = {n: n.meta.get("example_value") for n in output.all_input_nodes}
    tensors = {n: v for n, v in values.items() if isinstance(v, torch.Tensor)}
    bases = [v._base if v._is_view() else v for v in tensors.values()]
    inputs = [n.meta.get("example_value") for n in module.graph.find_nodes(op="placeholder")]
    changed = False
    for node, value in tensors.items():
        base = value._base
        if base is None or not value.requires_grad or value.layout != torch.strided:
            continue
        is_shared = sum(b is base for b in bases) > 1 or any(base is x for x in inputs)
        if is_shared or not elements_overlap(value):
            continue
        with module.graph.inserting_after(node):
            apart = module.graph.call_function(
                torch.clone, (node,), {"memory_format": torch.contiguous_format}
            )
        output.replace_input_with(node, apart)
        changed = True
    if changed:
        module.recompile()
