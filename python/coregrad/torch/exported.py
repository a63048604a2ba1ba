"""Programs of `torch.export` as callables, without Dynamo: for inference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from . import decompositions
from .backend import compile_fx_graph
from .options import Options
from .recurrence import REPLACEMENTS

MUTATIONS = (
    OutputKind.BUFFER_MUTATION,
    OutputKind.PARAMETER_MUTATION,
    OutputKind.USER_INPUT_MUTATION,
)
GRADIENTS = (
    "coregrad: compile_exported is for inference, and input {} requires a gradient: call it under "
    'torch.no_grad(), or train with torch.compile(program.module(), backend="coregrad")'
)


def compile_exported(
    exported_program: torch.export.ExportedProgram,
    *,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """A function with the signature of the module that was exported; it runs on CoreGrad.

    It reads the program's parameters and buffers where they are, and updates buffers and inputs that
    the module updates. Results carry no gradient: an input that asks for one is a RuntimeError, an
    input that breaks the program's constraints what `torch.export` makes of it.

    >>> program = torch.export.export(torch.nn.Linear(4, 3), (torch.randn(2, 4),))
    >>> coregrad.torch.compile_exported(program)(torch.randn(2, 4)).shape
    torch.Size([2, 3])
    """
    if not isinstance(exported_program, torch.export.ExportedProgram):
        raise TypeError(
            "coregrad: compile_exported takes a torch.export.ExportedProgram, got "
            f"{type(exported_program).__name__}"
        )
    chosen = Options.make(options)
    program = exported_program.run_decompositions(_decompositions())
    module = program.graph_module
    for spec in program.graph_signature.input_specs:
        if spec.kind in (InputKind.CUSTOM_OBJ, InputKind.TOKEN):
            raise ValueError(f"coregrad: the exported program takes a {spec.kind.name.lower()}")
    outputs = _write_in_place(module, program)
    run = compile_fx_graph(module, chosen, "exported program")

    def call(*args: Any, **kwargs: Any) -> Any:
        inputs = program._graph_module_flat_inputs(args, kwargs)
        if torch.is_grad_enabled():
            for number, x in enumerate(pytree.tree_leaves((args, kwargs))):
                if isinstance(x, torch.Tensor) and x.requires_grad:
                    raise RuntimeError(GRADIENTS.format(number))
        with torch.no_grad():
            results = run(list(inputs))
        return pytree.tree_unflatten(
            [value if is_fixed else results[value] for is_fixed, value in outputs],
            program.call_spec.out_spec,
        )

    return call


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """The backend's, and everything that PyTorch takes apart before autograd."""
    from torch._decomp import _core_aten_decompositions_post_autograd

    late = _core_aten_decompositions_post_autograd()
    everything = torch.export.default_decompositions().materialize()
    table = {op: rule for op, rule in everything.items() if op not in late}
    table.update(decompositions.table())
    table.update(
        {op: rule for op, rule in REPLACEMENTS.items() if isinstance(op, torch._ops.OpOverload)}
    )
    return table


def _write_in_place(
    module: GraphModule, program: torch.export.ExportedProgram
) -> list[tuple[bool, Any]]:
    """Turns results that stand for new values of inputs into writes; says for each result of the user
    that it is fixed, or where it is among the graph's.
    """
    graph = module.graph
    placeholders = {node.name: node for node in graph.find_nodes(op="placeholder")}
    by_target = {
        spec.target: placeholders[spec.arg.name]
        for spec in program.graph_signature.input_specs
        if spec.target is not None
    }
    (output,) = graph.find_nodes(op="output")
    kept, outputs = [], []
    for value, spec in zip(output.args[0], program.graph_signature.output_specs, strict=True):
        if spec.kind in MUTATIONS:
            is_input = spec.kind == OutputKind.USER_INPUT_MUTATION
            target = placeholders[spec.target] if is_input else by_target[spec.target]
            with graph.inserting_before(output):
                write = graph.call_function(torch.ops.aten.copy_.default, (target, value))
            write.meta["val"] = target.meta["val"]
        elif isinstance(value, torch.fx.Node):
            outputs.append((False, len(kept)))
            kept.append(value)
        else:
            outputs.append((True, value))
    output.args = (tuple(kept),)
    module.recompile()
    return outputs
