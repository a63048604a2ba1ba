"""Recurrent layers as one operator over all time steps.

PyTorch takes `torch.lstm` and its relatives apart into some twenty operators a time step before a
backend sees them, and tracing those costs seconds. Here the part of a layer that must go step by step
becomes one operator, `coregrad::recurrence`, with a gradient `coregrad::recurrence_backward`; what
does not (the products with the input, the gradients of the weights) stays ordinary operators over the
whole sequence.

The formulas are written once, over a `Math` that computes on tensors (what runs when a graph runs in
PyTorch) or records nodes (the lowering, `lowering/recurrent.py`). Shapes: T steps, batch B, H hidden, P
projected (P = H without projection), n gates; `gates` is [T, B, n*H], `out` [T, B, P].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch.fx import GraphModule

GATES = {"lstm": 4, "gru": 3, "tanh": 1, "relu": 1}


class Math(Protocol):
    """What the formulas need; values support + - *."""

    def sigmoid(self, x: Any) -> Any: ...
    def tanh(self, x: Any) -> Any: ...
    def relu(self, x: Any) -> Any: ...
    def where_positive(self, condition: Any, x: Any) -> Any: ...  #: x where condition > 0, else 0
    def linear(self, x: Any, weight: Any) -> Any: ...  #: x @ weight.T
    def mm(self, x: Any, weight: Any) -> Any: ...
    def step(self, x: Any, t: int) -> Any: ...  #: x[t]
    def chunk(self, x: Any, n: int) -> Sequence[Any]: ...  #: equal parts of the last dimension
    def cat(self, parts: Sequence[Any]) -> Any: ...  #: along the last dimension
    def stack(self, steps: Sequence[Any]) -> Any: ...  #: along a new first dimension
    def zeros(self, *shape: int) -> Any: ...


def _order(steps: int, reverse: bool) -> range:
    return range(steps - 1, -1, -1) if reverse else range(steps)


def forward(
    m: Math, kind: str, gates: Any, h: Any, c: Any, w_hh: Any, b_hh: Any, w_hr: Any, reverse: bool
) -> tuple[Any, ...]:
    """(out, last h, last c, all c, what the gradient reads)."""
    steps = gates.shape[0]
    out, cells, saved = [None] * steps, [None] * steps, [None] * steps
    for t in _order(steps, reverse):
        x, y = m.step(gates, t), m.linear(h, w_hh)
        if b_hh is not None:
            y = y + b_hh
        if kind == "lstm":
            i, f, g, o = m.chunk(x + y, 4)
            i, f, g, o = m.sigmoid(i), m.sigmoid(f), m.tanh(g), m.sigmoid(o)
            c = f * c + i * g
            h = o * m.tanh(c)
            if w_hr is not None:
                h = m.linear(h, w_hr)
            cells[t], saved[t] = c, m.cat([i, f, g, o])
        elif kind == "gru":
            (xr, xz, xn), (hr, hz, hn) = m.chunk(x, 3), m.chunk(y, 3)
            r, z = m.sigmoid(xr + hr), m.sigmoid(xz + hz)
            n = m.tanh(xn + r * hn)
            h = (h - n) * z + n
            saved[t] = m.cat([r, z, n, hn])
        else:
            h = m.tanh(x + y) if kind == "tanh" else m.relu(x + y)
        out[t] = h
    nothing = m.zeros(0)
    is_lstm, is_simple = kind == "lstm", kind in ("tanh", "relu")
    return (
        m.stack(out),
        h,
        c if is_lstm else nothing,
        m.stack(cells) if is_lstm else nothing,
        nothing if is_simple else m.stack(saved),
    )


def backward(
    m: Math,
    kind: str,
    grad_out: Any,
    grad_h: Any,
    grad_c: Any,
    out: Any,
    cells: Any,
    saved: Any,
    h0: Any,
    c0: Any,
    w_hh: Any,
    w_hr: Any,
    reverse: bool,
) -> tuple[Any, ...]:
    """Gradients of the gates as the input and as the hidden state enter them (the latter where they
    differ), of each step's output (where a projection follows), of h0 and of c0.
    """
    steps = out.shape[0]
    order = _order(steps, reverse)
    d_gates, d_hidden, d_outs = [None] * steps, [None] * steps, [None] * steps
    dh, dc = grad_h, grad_c
    for place in range(steps - 1, -1, -1):
        t = order[place]
        if grad_out is not None:
            dh = m.step(grad_out, t) if dh is None else m.step(grad_out, t) + dh
        if dh is None:
            dh = m.zeros(*h0.shape)
        if kind == "lstm":
            c_before = m.step(cells, order[place - 1]) if place else c0
            i, f, g, o = m.chunk(m.step(saved, t), 4)
            d_outs[t] = dh
            if w_hr is not None:
                dh = m.mm(dh, w_hr)
            tanh_c = m.tanh(m.step(cells, t))
            through = dh * o * (1 - tanh_c * tanh_c)
            dc = through if dc is None else dc + through
            d_gates[t] = m.cat(
                [
                    dc * g * i * (1 - i),
                    dc * c_before * f * (1 - f),
                    dc * i * (1 - g * g),
                    dh * tanh_c * o * (1 - o),
                ]
            )
            dc = dc * f
            dh = m.mm(d_gates[t], w_hh)
        elif kind == "gru":
            h_before = m.step(out, order[place - 1]) if place else h0
            r, z, n, hn = m.chunk(m.step(saved, t), 4)
            dn = dh * (1 - z) * (1 - n * n)
            dz = dh * (h_before - n) * z * (1 - z)
            dr = dn * hn * r * (1 - r)
            d_gates[t] = m.cat([dr, dz, dn])
            d_hidden[t] = m.cat([dr, dz, dn * r])
            dh = dh * z + m.mm(d_hidden[t], w_hh)
        else:
            h = m.step(out, t)
            d_gates[t] = dh * (1 - h * h) if kind == "tanh" else m.where_positive(h, dh)
            dh = m.mm(d_gates[t], w_hh)
    nothing = m.zeros(0)
    return (
        m.stack(d_gates),
        m.stack(d_hidden) if kind == "gru" else nothing,
        m.stack(d_outs) if w_hr is not None else nothing,
        dh,
        dc if kind == "lstm" else nothing,
    )


class _TensorMath:
    """The formulas on tensors."""

    sigmoid, tanh, relu = map(staticmethod, (torch.sigmoid, torch.tanh, torch.relu))
    linear, mm, stack = map(staticmethod, (F.linear, torch.mm, torch.stack))

    def __init__(self, like: torch.Tensor) -> None:
        self._like = like

    def where_positive(self, condition: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.where(condition > 0, x, 0)

    def step(self, x: torch.Tensor, t: int) -> torch.Tensor:
        return x[t]

    def chunk(self, x: torch.Tensor, n: int) -> Sequence[torch.Tensor]:
        return x.chunk(n, -1)

    def cat(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(parts), -1)

    def zeros(self, *shape: int) -> torch.Tensor:
        return self._like.new_zeros(shape)


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


def _apart(values: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Results that share no memory with each other or with an operand, as an operator promises."""
    return tuple(v.clone(memory_format=torch.contiguous_format) for v in values)


def _run_forward(kind: str, gates: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, ...]:
    return _apart(forward(_TensorMath(gates), kind, gates, *rest))


def _run_backward(kind: str, *args: Any) -> tuple[torch.Tensor, ...]:
    return _apart(backward(_TensorMath(args[3]), kind, *args))


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


_library.impl("recurrence", _run_forward, "CPU")
_library.impl("recurrence_backward", _run_backward, "CPU")
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


def _unrolled(kind, reverse, gates, h0, c0, w_hh, b_hh, w_hr) -> tuple[Any, ...]:
    """The same as ordinary operators: for mixed dtypes."""
    return forward(_TensorMath(gates), kind, gates, h0, c0, w_hh, b_hh, w_hr, reverse)


def _layer(kind, x, h0, c0, params, has_biases, reverse) -> tuple[Any, ...]:
    w_ih, w_hh = params[:2]
    b_ih, b_hh = params[2:4] if has_biases else (None, None)
    has_projection = len(params) == (5 if has_biases else 3)
    w_hr = params[-1] if has_projection else None
    if has_biases and kind != "gru":  # elsewhere the hidden state's bias is added apart
        b_ih, b_hh = b_ih + b_hh, None
    gates = F.linear(x, w_ih, b_ih)
    is_native = gates.dtype.is_floating_point and gates.dtype == h0.dtype
    run = _Recurrence.apply if is_native else _unrolled
    return run(kind, reverse, gates, h0, c0, w_hh, b_hh, w_hr)[:3]


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


def _lstm(x, hx, params, *rest) -> tuple[Any, ...]:
    x, h, c = map(_as_autocast_has_it, (x, hx[0], hx[1]))
    return _network("lstm", x, h, c, [_as_autocast_has_it(p) for p in params], *rest)


def _simple(kind: str) -> Callable[..., tuple[Any, ...]]:
    def call(x, hx, params, *rest):
        x, h = map(_as_autocast_has_it, (x, hx))
        return _network(kind, x, h, None, [_as_autocast_has_it(p) for p in params], *rest)

    return call


def _gru(x, hx, *rest) -> tuple[Any, ...]:
    return _network("gru", x, hx, None, *rest)


_tanh, _relu = _simple("tanh"), _simple("relu")
REPLACEMENTS: dict[Any, Callable[..., tuple[Any, ...]]] = {
    torch.lstm: _lstm,
    torch.gru: _gru,
    torch.rnn_tanh: _tanh,
    torch.rnn_relu: _relu,
    torch.ops.aten.lstm.input: _lstm,
    torch.ops.aten.gru.input: _gru,
    torch.ops.aten.rnn_tanh.input: _tanh,
    torch.ops.aten.rnn_relu.input: _relu,
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
