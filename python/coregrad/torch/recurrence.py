"""Recurrent layers as one operator over all time steps.

PyTorch takes `torch.lstm` and its relatives apart into some twenty operators a time step before a
backend sees them, and tracing those costs seconds. Here the part of a layer that must go step by step
becomes one operator, `coregrad::recurrence`, with a gradient `coregrad::recurrence_backward`; what
does not (the products with the input, the gradients of the weights) stays ordinary operators over the
whole sequence.

The formulas stand in `src/ops/recurrent.cpp`, which says what the operands are. Where PyTorch itself
runs one of the two operators, as in a graph that was not compiled, it is a program of that one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch._C import DispatchKey
from torch.fx import GraphModule

from . import compat

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}


# The operators

_library = torch.library.Library("coregrad", "DEF")
_library.define(
    "recurrence(str kind, Tensor gates, Tensor h0, Tensor? c0, Tensor w_hh, Tensor? b_hh, Tensor? w_hr, "
    "bool reverse) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_library.define(
    "recurrence_backward(str kind, Tensor? grad_out, Tensor? grad_h, Tensor? grad_c, Tensor out, "
    "Tensor cells, Tensor saved, Tensor h0, Tensor? c0, Tensor w_hh, Tensor? w_hr, bool reverse) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)


class _Like(NamedTuple):
    """What a program depends on of a tensor."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype


@functools.lru_cache(maxsize=64)
def _program(name: str, *described: Any) -> Callable[[list[Any]], Any]:
    """One call as a compiled graph of its tensors."""
    from .backend import compile_fx_graph
    from .options import Options
    from .parts import graph_of_call

    args = [
        torch.empty_strided(a.shape, a.stride, dtype=a.dtype) if isinstance(a, _Like) else a
        for a in described
    ]
    module, _ = graph_of_call(getattr(torch.ops.coregrad, name).default, args, {})
    return compile_fx_graph(module, Options(fallback="error"), name)


def _run(name: str, *args: Any) -> tuple[torch.Tensor, ...]:
    tensors = [a for a in args if isinstance(a, torch.Tensor)]
    described = [
        _Like(tuple(a.shape), a.stride(), a.dtype) if isinstance(a, torch.Tensor) else a
        for a in args
    ]
    results = _program(name, *described)(tensors)
    # They share no memory with each other or with an operand, as an operator promises.
    return tuple(r.clone(memory_format=torch.contiguous_format) for r in results)


def _shape_forward(kind, gates, h0, c0, w_hh, b_hh, w_hr, reverse):
    steps, batch, width = gates.shape
    hidden, is_lstm = width // GATES[kind], kind == "lstm"
    return (
        gates.new_empty(steps, batch, h0.shape[1]),
        gates.new_empty(batch, h0.shape[1]),
        gates.new_empty((batch, hidden) if is_lstm else (0,)),
        gates.new_empty((steps, batch, hidden) if is_lstm else (0,)),
        gates.new_empty((0,) if kind in ("tanh", "relu") else (steps, batch, 4 * hidden)),
    )


def _shape_backward(kind, grad_out, grad_h, grad_c, out, cells, saved, h0, c0, w_hh, w_hr, reverse):
    steps, batch, width = out.shape
    d_gates = (steps, batch, w_hh.shape[0])
    return (
        out.new_empty(d_gates),
        out.new_empty(d_gates if kind == "gru" else (0,)),
        out.new_empty((0,) if w_hr is None else (steps, batch, width)),
        out.new_empty(batch, width),
        out.new_empty((batch, cells.shape[2]) if kind == "lstm" else (0,)),
    )


for _name in ("recurrence", "recurrence_backward"):
    _library.impl(_name, functools.partial(_run, _name), "CPU")
torch.library.register_fake("coregrad::recurrence", _shape_forward, lib=_library)
torch.library.register_fake("coregrad::recurrence_backward", _shape_backward, lib=_library)


class _Recurrence(torch.autograd.Function):
    """Connects the two operators; the weights' gradients are products over the whole sequence."""

    @staticmethod
    def forward(ctx: Any, kind, reverse, gates, h0, c0, w_hh, b_hh, w_hr) -> Any:
        ctx.kind, ctx.reverse, ctx.has_bias = kind, reverse, b_hh is not None
        ctx.set_materialize_grads(False)
        out, h, c, cells, saved = torch.ops.coregrad.recurrence(
            kind, gates, h0, c0, w_hh, b_hh, w_hr, reverse
        )
        ctx.save_for_backward(out, cells, saved, h0, c0, w_hh, w_hr)
        ctx.mark_non_differentiable(cells, saved)
        return out, h, c, cells, saved

    @staticmethod
    def backward(ctx: Any, grad_out, grad_h, grad_c, _cells, _saved) -> Any:
        out, cells, saved, h0, c0, w_hh, w_hr = ctx.saved_tensors
        is_lstm = ctx.kind == "lstm"
        d_gates, d_hidden, d_outs, dh, dc = torch.ops.coregrad.recurrence_backward(
            ctx.kind,
            grad_out,
            grad_h,
            grad_c if is_lstm else None,
            out,
            cells,
            saved,
            h0,
            c0,
            w_hh,
            w_hr,
            ctx.reverse,
        )
        into_hidden = (d_hidden if ctx.kind == "gru" else d_gates).flatten(0, 1)
        first = h0.unsqueeze(0)
        before = torch.cat([out[1:], first] if ctx.reverse else [first, out[:-1]])
        d_w_hh = into_hidden.t() @ before.flatten(0, 1)
        d_b_hh = into_hidden.sum(0) if ctx.has_bias else None
        d_w_hr = None
        if w_hr is not None:
            o = saved[..., 3 * cells.shape[2] :]
            d_w_hr = d_outs.flatten(0, 1).t() @ (o * torch.tanh(cells)).flatten(0, 1)
        return None, None, d_gates, dh, dc if is_lstm else None, d_w_hh, d_b_hh, d_w_hr


# Whole calls


def _layer(kind, x, h0, c0, params, has_biases, reverse) -> tuple[Any, ...]:
    w_ih, w_hh = params[:2]
    b_ih, b_hh = params[2:4] if has_biases else (None, None)
    has_projection = len(params) == (5 if has_biases else 3)
    w_hr = params[-1] if has_projection else None
    if has_biases and kind != "gru":  # elsewhere the hidden state's bias is added apart
        b_ih, b_hh = b_ih + b_hh, None
    gates = F.linear(x, w_ih, b_ih)
    return _Recurrence.apply(kind, reverse, gates, h0, c0, w_hh, b_hh, w_hr)[:3]


def _network(
    kind, x, h0, c0, params, has_biases, num_layers, dropout, train, bidirectional, batch_first
) -> tuple[Any, ...]:
    x = x.transpose(0, 1) if batch_first else x
    if x.shape[0] == 0:
        raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
    directions = 2 if bidirectional else 1
    per_layer = len(params) // (num_layers * directions)
    last_h, last_c = [], []
    for layer in range(num_layers):
        outs = []
        for direction in range(directions):
            k = layer * directions + direction
            own = params[k * per_layer : (k + 1) * per_layer]
            c = c0[k] if c0 is not None else None
            out, h, c = _layer(kind, x, h0[k], c, own, has_biases, direction == 1)
            outs.append(out)
            last_h.append(h)
            last_c.append(c)
        x = torch.cat(outs, -1) if bidirectional else outs[0]
        if train and layer + 1 < num_layers and dropout:
            x = F.dropout(x, dropout, training=True)
    x = x.transpose(0, 1) if batch_first else x
    last = (torch.stack(last_h),) if c0 is None else (torch.stack(last_h), torch.stack(last_c))
    return (x, *last)


def _as_autocast_has_it(tensor: torch.Tensor) -> torch.Tensor:
    """Autocast makes operands of torch.lstm, rnn_tanh and rnn_relu narrow, those of torch.gru not."""
    if not torch.is_autocast_enabled("cpu") or tensor.dtype == torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype("cpu"))


def _replacement(kind: str, original: Callable[..., Any]) -> Callable[..., tuple[Any, ...]]:
    """Our own layers in place of a function of PyTorch's, which is left what has several dtypes."""

    def call(x, hx, params, *rest):
        tensors = [x, *(hx if kind == "lstm" else [hx]), *params]
        if kind != "gru":
            tensors = list(map(_as_autocast_has_it, tensors))
        # Of torch.gru autocast makes the products alone narrow.
        is_mixed = kind == "gru" and _as_autocast_has_it(x).dtype != x.dtype
        dtype = tensors[0].dtype
        if is_mixed or not dtype.is_floating_point or any(t.dtype != dtype for t in tensors):
            return original(x, hx, params, *rest)
        x, h, *others = tensors
        c, params = (others[0], others[1:]) if kind == "lstm" else (None, others)
        return _network(kind, x, h, c, params, *rest)

    return call


FUNCTIONS = {"lstm": "lstm", "gru": "gru", "tanh": "rnn_tanh", "relu": "rnn_relu"}
REPLACEMENTS: dict[Any, Callable[..., tuple[Any, ...]]] = {
    original: _replacement(kind, original)
    for kind, name in FUNCTIONS.items()
    for original in (getattr(torch, name), getattr(torch.ops.aten, name).input)
}


def replace_calls(module: GraphModule) -> None:
    """Puts our own layers in place of PyTorch's in a graph that Dynamo or torch.export captured."""
    changed = False
    for node in module.graph.nodes:
        function = REPLACEMENTS.get(node.target) if node.op == "call_function" else None
        # A packed sequence has its batch sizes as second argument.
        if function is None or node.kwargs or not isinstance(node.args[3], bool):
            continue
        node.target = function
        changed = True
    if changed:
        module.recompile()


def _is_ours(compiler: Any, backend: Callable[..., Any]) -> bool:
    """Whether a Dynamo compiler is `backend`, under whatever PyTorch wrapped it in."""
    for _ in range(16):
        if compiler is backend or compiler is None:
            break
        compiler = getattr(compiler, "compiler_fn", None) or getattr(compiler, "__wrapped__", None)
    return compiler is backend


def let_dynamo_trace_any_length(backend: Callable[..., Any]) -> None:
    """PyTorch traces most of its recurrent functions step by step, for one length of a sequence. While
    compiling for `backend` they are traced as ours, which have results for any length.
    """
    for kind, name in FUNCTIONS.items():
        overload = getattr(torch.ops.aten, name).input
        for key in (DispatchKey.CompositeImplicitAutograd, DispatchKey.Autograd):
            original = overload.py_kernels.get(key)
            if original is not None:
                overload.py_kernels[key] = _kernel(kind, original, backend)
        overload._dispatch_cache.clear()


def _kernel(kind: str, original: Callable[..., Any], backend: Callable[..., Any]) -> Any:
    ours = _replacement(kind, original)

    def call(*args: Any, **kwargs: Any) -> Any:
        is_ours = not kwargs and _is_ours(compat.compiler_of_traced_frame(), backend)
        return (ours if is_ours else original)(*args, **kwargs)

    return call


def let_dynamo_trace_recurrent_modules(backend: Callable[..., Any]) -> None:
    """Dynamo breaks the graph at nn.LSTM, nn.GRU and nn.RNN unless `allow_rnn` is set, for all backends.
    Sets it where one of them is met while compiling for `backend`, and nowhere else.
    """
    from torch._dynamo import config
    from torch._dynamo.variables.builder import VariableBuilder

    original = VariableBuilder.wrap_module

    def wrap_module(self: Any, value: torch.nn.Module) -> Any:
        if isinstance(value, torch.nn.RNNBase) and _is_ours(self.tx.output.compiler_fn, backend):
            with config.patch(allow_rnn=True):
                return original(self, value)
        return original(self, value)

    VariableBuilder.wrap_module = wrap_module  # type: ignore[method-assign]
