"""What Dynamo's bytecode calls: our own callable where AOTAutograd's wrappers would have nothing to do.

AOTAutograd traces, partitions and describes every graph. Its wrappers then regenerate aliases, copy
mutated inputs back, unwrap subclasses and so on, at each call. `refusal` says why a graph needs them;
`inference_call` and `training_call` are what runs when it does not.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd.function import _SingleLevelFunction
from torch.fx import GraphModule

from . import compat
from .program import Boxed, CompiledGraph, FromFrame, View, entry_of

FUNCTORCH_FORWARD = (
    "coregrad: a compiled function that takes gradients was called inside a functorch transform (vmap, "
    "grad, jvp, ...), which is not supported: put the transform inside torch.compile"
)
FUNCTORCH_BACKWARD = (
    "coregrad: a compiled backward was called inside a functorch transform or with is_grads_batched, "
    "which is not supported: put the transform inside torch.compile, or do not compile this function"
)
DOUBLE_BACKWARD = (
    "coregrad: double backward through a compiled function is not supported: the gradient that "
    "create_graph=True gave cannot be differentiated again. Compile a function that computes the "
    "gradient itself, or do not compile this one"
)
DETERMINISM = (
    "coregrad: this backward was compiled while torch.use_deterministic_algorithms was off, and it "
    "is on now"
)


class _Frame(threading.local):
    """What this thread does once the frame that Dynamo compiles on it is done."""

    def __init__(self) -> None:
        self.marks_left_out = False
        self.direct: list[tuple[dict[str, Any], Callable[..., Any]]] = []  # scope, entry


_frame = _Frame()


def _when_frame_is_done() -> None:
    from torch._dynamo.callback import callback_handler

    if _finish_frame not in callback_handler.end_callbacks:  # torch._dynamo.reset drops it
        callback_handler.register_end_callback(_finish_frame)


def _finish_frame(_: Any) -> None:
    if _frame.marks_left_out:
        torch._dynamo.config.record_runtime_overhead = True
        _frame.marks_left_out = False
    while _frame.direct:
        scope, entry = _frame.direct.pop()
        for name, value in list(scope.items()):
            if name.startswith("__compiled_fn") and compat.without_disable(value) is entry:
                scope[name] = entry


def leave_out_profiler_marks() -> None:
    """Compiles the frame at hand without marks for profilers around the reading of its inputs.

    They are a third of what a small call costs. Dynamo reads its configuration after the backend has
    returned, so it is put back when the compilation ends.
    """
    from torch._dynamo import config
    from torch._guards import CompileContext

    if CompileContext.current_compile_id() is None or torch.autograd.profiler._is_profiler_enabled:
        return
    # Marks that are out already may be those of a compilation that never ended.
    if config.record_runtime_overhead or _frame.marks_left_out:
        _when_frame_is_done()
        _frame.marks_left_out = True
        config.record_runtime_overhead = False


def call_directly(entry: Callable[..., Any]) -> None:
    """Lets the bytecode of the frame at hand call `entry` itself.

    Dynamo wraps what a backend returns into a Python function that turns it off during the call: 1 to
    3 microseconds. A built-in function that enters no Python code has no frame that Dynamo could see.
    """
    scope = compat.globals_of_traced_frame()
    if scope is not None:
        _when_frame_is_done()
        _frame.direct.append((scope, entry))


class LazyBackward:
    """The backward graph, compiled when it is first called: some forwards never see a backward."""

    def __init__(self, compile_graph: Callable[[], Callable[..., Any]]) -> None:
        self._boxed_call = True  # on the instance: wrappers copy its attributes
        self._compile: Callable[[], Callable[..., Any]] | None = compile_graph
        self._boxed: Callable[[list[Any]], Any] | None = None
        self._lock = threading.Lock()
        #: Takes the graph's inputs one by one; replaced by the compiled graph's own entry.
        self.run: Callable[..., Sequence[Any]] = self._first_run

    def boxed(self) -> Callable[[list[Any]], Any]:
        """The compiled graph in AOTAutograd's convention."""
        with self._lock:
            if self._boxed is None:
                assert self._compile is not None
                self._boxed = self._compile()
                self._compile = None
        return self._boxed

    def __call__(self, args: list[Any]) -> Any:
        return (self._boxed or self.boxed())(args)

    def _first_run(self, *args: Any) -> Sequence[Any]:
        compiled = self.boxed()
        self.run = entry_of(compiled)
        return self.run(*args)


@dataclasses.dataclass
class Capture:
    """What AOTAutograd gave the compilers of one Dynamo graph."""

    kind: str = ""  #: "inference" or "forward"
    metadata: Any = None  #: AOTAutograd's ViewAndMutationMeta
    num_inputs: int = 0  #: of the graph that was compiled
    num_results: int = 0
    forward: Any = None  #: what the compiler returned
    backward: LazyBackward | None = None
    num_backward_inputs: int = 0
    has_gradient: tuple[bool, ...] = ()  #: for each input
    backward_writes: bool = False

    def take_forward(self, kind: str, module: GraphModule, compiled: Any) -> None:
        context = torch._guards.TracingContext.try_get()
        self.kind, self.forward = kind, compiled
        self.metadata = context.fw_metadata if context is not None else None
        self.num_inputs = len(module.graph.find_nodes(op="placeholder"))
        self.num_results = len(_results(module))

    def take_backward(self, module: GraphModule, backward: LazyBackward) -> None:
        self.backward = backward
        self.num_backward_inputs = len(module.graph.find_nodes(op="placeholder"))
        self.has_gradient = tuple(result is not None for result in _results(module))
        self.backward_writes = any(
            isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable
            for node in module.graph.nodes
        )


def _results(module: GraphModule) -> Sequence[Any]:
    return module.graph.find_nodes(op="output")[0].args[0]


def refusal(capture: Capture, example_inputs: Sequence[Any]) -> str | None:
    """Why the graph needs AOTAutograd's wrappers; None if our own callable does."""
    from torch._functorch._aot_autograd.schemas import PlainTensorMeta

    meta = capture.metadata
    if meta is None:
        return "it was not compiled under Dynamo"
    if unknown := compat.unknown_fields(meta):
        return f"this version of PyTorch has metadata that is new to us ({', '.join(unknown)})"
    if not isinstance(capture.forward, Boxed):
        return "the graph runs in PyTorch"
    if capture.num_inputs != len(example_inputs):
        return "inputs were merged, split or added"
    numbers = (int, torch.SymInt) if capture.forward.takes_numbers else ()
    if not all(isinstance(x, (torch.Tensor, *numbers)) for x in example_inputs):
        return "an input is not a tensor"
    if meta.num_mutated_inp_runtime_indices:
        return "an input is mutated outside of the graph"
    if any(
        i.mutates_metadata or i.mutates_storage_metadata or compat.replaces_data(i)
        for i in meta.input_info
    ):
        return "an input's metadata is mutated"
    for info in meta.output_info:
        if info.output_type.name not in ("non_alias", "unsafe_view_alias"):
            return f"an output is an alias ({info.output_type.name})"
    plain = (*meta.subclass_inp_meta, *meta.subclass_fw_graph_out_meta, *meta.subclass_tangent_meta)
    if not all(isinstance(m, PlainTensorMeta) for m in plain):
        return "a tensor is of a subclass"
    if meta.num_intermediate_bases or meta.tokens or meta.num_backward_tokens:
        return "there are intermediate bases or effect tokens"
    if meta.num_graphsafe_rng_states or meta.is_rng_op_functionalized:
        return "random states are inputs"
    if meta.grad_enabled_mutation is not None:
        return "the graph switches gradients on or off"
    if compat.has_asynchronous_inputs(meta):
        return "an input is asynchronous"
    if meta.dynamic_outputs and compat.mark_dynamic_dims is None:
        return "an output has symbolic sizes"
    return _training_refusal(capture) if capture.kind == "forward" else None


def _training_refusal(capture: Capture) -> str | None:
    from torch._dynamo import compiled_autograd
    from torch._functorch._aot_autograd.utils import (
        saved_tensors_hooks_are_inlineable,
        top_saved_tensors_hooks,
    )

    meta = capture.metadata
    num_saved = capture.num_results - meta.num_outputs
    num_tangents = len(_differentiable(meta))
    if capture.backward is None:
        return "there is no backward graph"
    if not torch.is_grad_enabled():
        return "gradients are switched on inside the graph only"
    if torch._dynamo.config.compiled_autograd or compiled_autograd.compiled_autograd_enabled:
        return "compiled autograd is on"
    if saved_tensors_hooks_are_inlineable(top_saved_tensors_hooks()):
        return "hooks on saved tensors were traced"
    if meta.num_opaque_objects_saved_for_bw:
        return "objects are saved for the backward"
    if meta.num_tensors_saved_with_no_vc_check:
        return "tensors are saved without a version check"
    if capture.backward_writes:
        return "the backward mutates its inputs"
    if capture.num_backward_inputs != num_saved + num_tangents:
        return "the backward takes more than saved tensors and gradients"
    if len(capture.has_gradient) != capture.num_inputs:
        return "the backward gives another number of gradients"
    return None


def _differentiable(meta: Any) -> tuple[int, ...]:
    """The outputs whose gradients the backward graph takes."""
    return tuple(
        i
        for i, info in enumerate(meta.output_info)
        if info.requires_grad_for_backward and issubclass(info.raw_type, torch.Tensor)
    )


def inference_call(capture: Capture) -> Callable[..., Sequence[Any]]:
    """A built-in function where it can be: arguments to pointers, run, a tuple of results."""
    return _marking_dynamic_dims(_own_entry(capture), capture.metadata)


def _own_entry(capture: Capture) -> Callable[..., Sequence[Any]]:
    written = capture.metadata.mutated_graph_handled_indices_seen_by_autograd
    return capture.forward.owning_entry(written)


def _marking_dynamic_dims(
    call: Callable[..., Sequence[Any]], meta: Any
) -> Callable[..., Sequence[Any]]:
    """`call`, which tells Dynamo of the symbolic sizes of outputs, for functions that get them next."""
    dims = tuple((i, o.dynamic_dims) for i, o in enumerate(meta.output_info) if o.dynamic_dims)
    if not dims:
        return call
    mark = compat.mark_dynamic_dims

    def marking(*args: Any) -> Sequence[Any]:
        outputs = call(*args)
        for i, which in dims:
            mark(outputs[i], which)
        return outputs

    return marking


class _FirstOrderOnly(torch.autograd.Function):
    """Connects the gradients of a backward under create_graph=True; refuses to differentiate them."""

    @staticmethod
    def forward(ctx: Any, run: Callable[..., Any], _anchor: torch.Tensor, *args: Any) -> Any:
        return tuple(run(*args))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(DOUBLE_BACKWARD)


def _not_made_by_program(graph: Any) -> frozenset[int] | None:
    """The outputs that are views or were held; None where only the programs of a call tell."""
    if not isinstance(graph, CompiledGraph):
        return None
    return frozenset(i for i, o in enumerate(graph.outputs) if isinstance(o, (View, FromFrame)))


def _without_gradient(capture: Capture) -> tuple[int, ...]:
    """The inputs that others made and whose gradient is always None."""
    return tuple(
        i
        for i, info in enumerate(capture.metadata.input_info)
        if info.requires_grad and not info.is_leaf and not capture.has_gradient[i]
    )


def training_call(capture: Capture) -> Callable[..., Sequence[Any]]:
    """The two programs as one node of PyTorch's graph."""
    meta, lazy = capture.metadata, capture.backward
    assert lazy is not None
    run = _own_entry(capture)
    num_outputs, num_sizes = meta.num_outputs, meta.num_symints_saved_for_bw
    constants = tuple(i for i, info in enumerate(meta.output_info) if not info.requires_grad)
    differentiable = _differentiable(meta)
    takes_all = differentiable == tuple(range(num_outputs))
    graph = capture.forward
    not_made = _not_made_by_program(graph)
    must_stay_nondeterministic = meta.deterministic is False
    in_functorch = torch._C._functorch.peek_interpreter_stack
    is_grad_enabled = torch.is_grad_enabled
    are_deterministic = torch._C._get_deterministic_algorithms

    class CompiledGraphFunction(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *args: Any) -> tuple[Any, ...]:
            if in_functorch() is not None:
                raise RuntimeError(FUNCTORCH_FORWARD)
            values = run(*args)
            # A view that was made in here could not be written to.
            if not_made or (not_made is None and graph.gives_views):
                values = tuple(
                    v.detach()
                    if isinstance(v, torch.Tensor) and (not_made is None or i in not_made)
                    else v
                    for i, v in enumerate(values)
                )
            end = len(values) - num_sizes
            ctx.sizes = values[end:]
            ctx.save_for_backward(*values[num_outputs:end])
            outputs = values[:num_outputs]
            if constants:
                ctx.mark_non_differentiable(
                    *[outputs[i] for i in constants if isinstance(outputs[i], torch.Tensor)]
                )
            return outputs

        # Also for the frames of operators that run in PyTorch: `backward()` may be called while
        # Dynamo looks at every frame.
        @staticmethod
        @torch._dynamo.disable
        def backward(ctx: Any, *gradients: Any) -> Sequence[Any]:
            if in_functorch() is not None:
                raise RuntimeError(FUNCTORCH_BACKWARD)
            if must_stay_nondeterministic and are_deterministic():
                raise RuntimeError(DETERMINISM)
            if not takes_all:
                gradients = tuple([gradients[i] for i in differentiable])
            if is_grad_enabled():
                anchor = torch.empty(0, requires_grad=True)
                return _FirstOrderOnly.apply(
                    lazy.run, anchor, *ctx.sizes, *ctx.saved_tensors, *gradients
                )
            return lazy.run(*ctx.sizes, *ctx.saved_tensors, *gradients)

    # Past the Python half of Function.apply: forward() has its check for functorch.
    apply = super(_SingleLevelFunction, CompiledGraphFunction).apply
    unused = _without_gradient(capture)

    def call(*args: Any) -> Sequence[Any]:
        if unused:  # autograd must not go on to what made an input whose gradient is always None
            args = tuple(a.detach() if i in unused else a for i, a in enumerate(args))
        try:
            return apply(*args)
        except RuntimeError:
            # The other half: a wrapper that outlived its functorch transform has no memory to read.
            alive = unwrap_dead_wrappers(args)
            if all(a is b for a, b in zip(args, alive)):
                raise
            return apply(*alive)

    return _marking_dynamic_dims(call, meta)
