"""`torch.compile(backend="coregrad")`: the entry point and the compilers AOTAutograd calls."""

from __future__ import annotations

import itertools
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule

from .. import _core
from . import decompositions
from .aliasing import (
    guard_sharing,
    guard_views,
    separate_elements_of_outputs,
    viewed_and_written,
    written_inputs,
)
from .call_path import (
    Capture,
    LazyBackward,
    call_directly,
    inference_call,
    leave_out_profiler_marks,
    refusal,
    training_call,
)
from .dynamic import Programs, SizedGraph, Sizes
from .importer import Importer, has_symbols
from .input_layouts import Layouts, layouts_of, symbolic_layouts
from .metadata import CompilerFaultWarning, GraphRejected
from .options import Options
from .program import CompiledGraph, CompiledTemplate
from .recurrence import replace_calls
from .reporting import CallPath, GraphReport, reports
from .retrace import identify_sizes
from .sections import Plan, SectionedGraph
from .spelling import spell_out, tells_size
from .threads import parallel_loop
from .value_checks import keep_checks

_core.attach_exchange_api(torch.Tensor.__dlpack_c_exchange_api__)
_core.attach_host_threads(parallel_loop())

log = logging.getLogger(__name__)
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
        self.capture = Capture()
        self.call_path = CallPath()

    def compile_inference(self, module: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        return self._compile_forward("inference", module)

    def compile_forward(self, module: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        return self._compile_forward("forward", module)

    def compile_backward(self, module: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        backward = LazyBackward(lambda: self._compile("backward", module))
        self.capture.take_backward(module, backward)
        # Dynamo may look at the frames around a backward (compiled autograd does), but not at ours.
        return torch._dynamo.disable(backward)

    def _compile_forward(self, kind: str, module: GraphModule) -> Callable[..., Any]:
        compiled = self._compile(kind, module)
        self.capture.take_forward(kind, module, compiled)
        return compiled

    def _compile(self, kind: str, module: GraphModule) -> Callable[..., Any]:
        name = f"graph {self.number} {kind}"
        layouts = self.layouts if kind != "inference" else Layouts()
        return compile_fx_graph(module, self.options, name, layouts, self.call_path)

    def aot_arguments(self) -> dict[str, Any]:
        """What AOTAutograd is to be called with: compilers, decompositions, partition."""
        from functorch.compile import min_cut_rematerialization_partition

        return {
            "fw_compiler": self.compile_forward,
            "bw_compiler": self.compile_backward,
            "inference_compiler": self.compile_inference,
            "partition_fn": min_cut_rematerialization_partition,
            "decompositions": decompositions.table(),
            "keep_inference_input_mutations": True,
        }


def compile_fx_graph(
    module: GraphModule,
    options: Options,
    name: str,
    layouts: Layouts | None = None,
    call_path: CallPath | None = None,
) -> Callable[[list[Any]], Any]:
    """A graph of ATen operators with traced values as a boxed callable."""
    call_path = call_path if call_path is not None else CallPath()
    identify_sizes(module)
    spell_out(module)
    if any(map(tells_size, module.graph.nodes)):
        return _compile_sections(module, options, name, layouts, call_path)
    return _compile_without_cuts(module, options, name, layouts, call_path)


def _compile_without_cuts(
    module: GraphModule,
    options: Options,
    name: str,
    layouts: Layouts | None,
    call_path: CallPath,
) -> Callable[[list[Any]], Any]:
    """A graph whose sizes are those of its inputs."""
    if not has_symbols(module):
        report = GraphReport(name, call_path=call_path)
        return _compile_concrete(module, options, report, None, layouts)
    try:
        sizes = Sizes(module)
    except GraphRejected as reason:
        return _refuse(module, options, GraphReport(name, call_path=call_path), reason)
    if sizes.are_fixed:
        report = GraphReport(name, call_path=call_path)
        return _compile_concrete(module, options, report, sizes.traced(()), layouts)

    def compile_template(
        values: Sequence[int], args: list[Any], is_near: bool
    ) -> CompiledTemplate | None:
        if is_near and not sizes.are_within_bounds(values):
            return None
        env, symbols = sizes.symbols(values if is_near else None)
        report = GraphReport(f"{name}, any {', '.join(map(str, symbols))}", call_path=call_path)
        try:
            traced, numbers = sizes.traced(symbols), sizes.traced(values)
            chosen = symbolic_layouts(module, args, traced, numbers)
            compiled = Importer(module, options, report, traced, chosen, env).run()
        except Exception:
            log.debug("no template for %s", name, exc_info=True)
            return None
        _publish(report, options)
        return compiled

    def compile_for(values: Sequence[int], args: list[Any]) -> Callable[[list[Any]], Any]:
        report = GraphReport(f"{name}, {sizes.text(values)}", call_path=call_path)
        traced = sizes.traced(values)
        return _compile_concrete(module, options, report, traced, layouts_of(module, args, traced))

    if options.executor == "interpreter" or options.specialize == "always":
        return SizedGraph(Programs(sizes, lambda *_: None, compile_for))
    return SizedGraph(Programs(sizes, compile_template, compile_for))


def _compile_sections(
    module: GraphModule,
    options: Options,
    name: str,
    layouts: Layouts | None,
    call_path: CallPath,
) -> Callable[[list[Any]], Any]:
    """A graph in which sizes depend on data."""
    report = GraphReport(f"{name}, whole", call_path=call_path)
    shared = layouts if layouts is not None else Layouts()

    def compile_section(part: GraphModule, number: int) -> Callable[[list[Any]], Any]:
        section = f"{name}, section {number}"
        return _compile_without_cuts(part, options, section, shared, call_path)

    def compile_graph() -> SectionedGraph:
        plan = Plan(module)
        for node in plan.tellers:
            report.add_fallback(str(node.target), "sizes or numbers depend on its result")
        if options.fallback == "error":
            raise GraphRejected(f"{plan.tellers[0].target} runs in PyTorch")
        return SectionedGraph(plan, compile_section)

    return _compiled_or_refused(compile_graph, module, options, report)


def _refuse(
    module: GraphModule, options: Options, report: GraphReport, reason: GraphRejected
) -> Callable[[list[Any]], Any]:
    """The graph as PyTorch runs it, unless the user wants an error."""
    report.rejected = str(reason)
    _publish(report, options)
    if options.fallback == "error":
        message = f"coregrad: {report.name} cannot be compiled: {reason}"
        raise _core.UnsupportedError(message) from None
    return _eager(module)


def _publish(report: GraphReport, options: Options) -> None:
    reports.add(report)
    if options.report:
        print(report.to_text())


def _compile_concrete(
    module: GraphModule,
    options: Options,
    report: GraphReport,
    values: Any,
    layouts: Layouts | None,
) -> Callable[[list[Any]], Any]:
    return _compiled_or_refused(
        lambda: Importer(module, options, report, values, layouts).run(), module, options, report
    )


def _compiled_or_refused(
    compile_graph: Callable[[], Callable[[list[Any]], Any]],
    module: GraphModule,
    options: Options,
    report: GraphReport,
) -> Callable[[list[Any]], Any]:
    try:
        compiled = compile_graph()
    except GraphRejected as reason:
        return _refuse(module, options, report, reason)
    except Exception as error:
        if options.fallback == "error":
            _publish(report, options)
            raise
        warnings.warn(
            f"coregrad: {report.name} runs in PyTorch because of a mistake of CoreGrad's, which its "
            f"developers would like to hear of: {type(error).__name__}: {error}",
            CompilerFaultWarning,
            stacklevel=2,
        )
        return _refuse(module, options, report, GraphRejected(f"internal error: {error}"))
    _publish(report, options)
    return compiled


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
    leave_out_profiler_marks()
    replace_calls(module)
    keep_checks(module)
    separate_elements_of_outputs(module)
    compiler = GraphCompiler(Options.make(options))
    # AOTAutograd's way of saying that the backward graph is to be handed over now.
    with torch._functorch.config.patch(force_non_lazy_backward_lowering=True):
        wrapped = aot_module_simplified(module, example_inputs, **compiler.aot_arguments())
    capture = compiler.capture
    compiler.call_path.wrappers = refusal(capture, example_inputs)
    if compiler.call_path.wrappers is not None:
        call = torch._dynamo.disable(wrapped)
    elif capture.kind == "inference":
        call = inference_call(capture)
        if isinstance(capture.forward, CompiledGraph) and not capture.forward.enters_python:
            call_directly(call)
    else:
        call = training_call(capture)
    is_one_to_one = capture.num_inputs == len(example_inputs)
    written = written_inputs(capture.metadata, example_inputs, is_one_to_one)
    viewed = viewed_and_written(capture.metadata, example_inputs, written)
    call = guard_views(call, module, viewed)
    return guard_sharing(call, module, example_inputs, written)


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
    with torch.no_grad():
        return pytree.tree_unflatten(list(run(list(flat_inputs))), spec)
