"""`torch.compile(backend="coregrad")`: the entry point and the compilers AOTAutograd calls."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from .. import _core
from . import decompositions
from .dynamic import PerShape, concrete_values
from .importer import Importer, Layouts, has_symbols
from .metadata import GraphRejected
from .options import Options
from .reporting import GraphReport, reports

_core.attach_exchange_api(torch.Tensor.__dlpack_c_exchange_api__)

_numbers = itertools.count()


def _eager(module: GraphModule) -> Callable[[list[Any]], Any]:
    """The graph as PyTorch runs it, in the boxed convention."""
    from torch._dynamo.backends.debugging import boxed_nop

    return boxed_nop(module, None)


class GraphCompiler:
    """The compilers of one Dynamo graph: they share the layouts that the forward gives its outputs."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.number = next(_numbers)
        self.layouts = Layouts()

    def compiler(self, kind: str) -> Callable[[GraphModule, Sequence[Any]], Callable[..., Any]]:
        """The compiler for "inference", "forward" or "backward" graphs."""

        def compile_graph(module: GraphModule, example_inputs: Sequence[Any]) -> Callable[..., Any]:
            name = f"graph {self.number} {kind}"
            layouts = self.layouts if kind != "inference" else Layouts()
            return compile_fx_graph(module, self.options, name, layouts)

        return compile_graph

    def aot_arguments(self) -> dict[str, Any]:
        """What AOTAutograd is to be called with: compilers, decompositions, partition."""
        from functorch.compile import min_cut_rematerialization_partition

        backward = self.compiler("backward")

        def compile_backward(graph: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
            # Neither the compiler nor what it made may be traced by Dynamo (compiled autograd would).
            return torch._dynamo.disable(torch._dynamo.disable(backward)(graph, inputs))

        return {
            "fw_compiler": self.compiler("forward"),
            "bw_compiler": compile_backward,
            "inference_compiler": self.compiler("inference"),
            "partition_fn": min_cut_rematerialization_partition,
            "decompositions": decompositions.table(),
            "keep_inference_input_mutations": True,
        }


def compile_fx_graph(
    module: GraphModule, options: Options, name: str, layouts: Layouts | None = None
) -> Callable[[list[Any]], Any]:
    """A graph of ATen operators with traced values as a boxed callable."""
    if has_symbols(module):

        def compile_for(args: list[Any]) -> Callable[[list[Any]], Any]:
            return _compile_concrete(module, options, name, concrete_values(module, args), None)

        return PerShape(compile_for)
    return _compile_concrete(module, options, name, None, layouts)


def _compile_concrete(
    module: GraphModule, options: Options, name: str, values: Any, layouts: Layouts | None
) -> Callable[[list[Any]], Any]:
    report = GraphReport(name)
    try:
        return Importer(module, options, report, values, layouts).run()
    except GraphRejected as reason:
        report.rejected = str(reason)
        if options.fallback == "error":
            raise _core.UnsupportedError(f"coregrad: {name} cannot be compiled: {reason}") from None
        return _eager(module)
    finally:
        reports.add(report)
        if options.report:
            print(report.to_text())


def backend(
    module: GraphModule,
    example_inputs: Sequence[Any],
    *,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Callable[..., Any]:
    """Compiles a graph that Dynamo captured; forward and backward run as CoreGrad programs."""
    from torch._functorch.aot_autograd import aot_module_simplified

    if any(isinstance(x, (list, tuple, dict)) for x in example_inputs):
        from torch._dynamo.backends.common import flatten_graph_inputs  # type: ignore[attr-defined]

        return flatten_graph_inputs(
            module, example_inputs, lambda m, e: backend(m, e, mode=mode, options=options)
        )
    compiler = GraphCompiler(Options.make(options))
    compiled = aot_module_simplified(module, example_inputs, **compiler.aot_arguments())
    return torch._dynamo.disable(compiled)


def reset() -> None:
    """Forgets all reports; `torch._dynamo.reset()` calls it."""
    reports.clear()


backend.reset = reset  # type: ignore[attr-defined]


def run_fx(module: GraphModule, *inputs: Any, options: Mapping[str, Any] | None = None) -> Any:
    """Runs an FX graph (of torch functions or ATen operators) on CoreGrad and returns its outputs.

    >>> gm = torch.fx.symbolic_trace(lambda x: torch.relu(x) + 1)
    >>> coregrad.torch.run_fx(gm, torch.ones(2))
    tensor([2., 2.])
    """
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.utils import _pytree as pytree

    with torch.no_grad():
        traced = make_fx(
            module,
            decomposition_table=decompositions.table(),
            tracing_mode="fake",
            _allow_non_fake_inputs=True,
        )(*inputs)
    outputs = next(n for n in traced.graph.nodes if n.op == "output")
    flat, spec = pytree.tree_flatten(outputs.args[0])
    outputs.args = (tuple(flat),)
    traced.recompile()
    flat_inputs = pytree.tree_leaves(inputs)
    run = compile_fx_graph(traced, Options.make(options), "run_fx")
    return pytree.tree_unflatten(list(run(list(flat_inputs))), spec)
