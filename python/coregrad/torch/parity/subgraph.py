"""Parts of ATen graphs, run three ways: compiled, eager, and eager in float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import GraphModule, Interpreter
from torch.fx import Node as FxNode
from torch.utils import _pytree as pytree

from ..backend import compile_fx_graph
from ..options import Options
from .judge import Measure, Slack, measure


class Recorder(Interpreter):
    """Runs a graph and keeps each node's value; writes to inputs are left out."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        if target is torch.ops.aten.copy_.default:
            return args[1]
        return super().call_function(target, args, kwargs)

    def values(self, args: Sequence[Any]) -> dict[FxNode, Any]:
        """Every node's value."""
        with torch.no_grad():
            self.run(*args)
        return self.env


def twin(value: Any) -> Any:
    """A tensor with the same strides over a copy of its storage; anything else as it is."""
    if not isinstance(value, torch.Tensor):
        return value
    with torch.no_grad():
        storage = value.untyped_storage().clone()
        copy = torch.empty(0, dtype=value.dtype)
        return copy.set_(storage, value.storage_offset(), value.size(), value.stride())


def widened(value: Any) -> Any:
    """Floats as float64; so are the dtypes that a graph's calls name."""
    if isinstance(value, torch.Tensor):
        return value.detach().double() if value.is_floating_point() else twin(value)
    return torch.float64 if value in (torch.float32, torch.float16, torch.bfloat16) else value


class _Wide(Interpreter):
    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        args, kwargs = pytree.tree_map(
            lambda v: v if isinstance(v, torch.Tensor) else widened(v), (args, kwargs)
        )
        return super().call_function(target, args, kwargs)


def exact_results(module: GraphModule, inputs: Sequence[Any]) -> list[Any] | None:
    """The graph's outputs in float64, if PyTorch runs it so."""
    try:
        with torch.no_grad():
            return list(_Wide(module).run(*[widened(v) for v in inputs]))
    except Exception:
        return None


def judge(module: GraphModule, inputs: Sequence[Any], slack: Slack | None = None) -> list[Measure]:
    """Compiles a graph and judges each of its outputs; an exception of ours is a wrong result."""
    with torch.no_grad():
        eager = list(Interpreter(module).run(*[twin(v) for v in inputs]))
    exact = exact_results(module, inputs) or [None] * len(eager)
    try:
        run = compile_fx_graph(module, Options.make(None), "parity")
        with torch.no_grad():
            got = run([twin(v) for v in inputs])
    except Exception as error:
        return [Measure(f"{type(error).__name__}: {error}")] * len(eager)
    return [
        measure(g, e, x, _own_slack(e, slack)) if e is not None else Measure()
        for g, e, x in zip(got, eager, exact)
    ]


def _own_slack(value: Any, slack: Slack | None) -> Slack | None:
    """A given slack is for the model's dtype, not for float64 values in its graph."""
    is_wide = isinstance(value, torch.Tensor) and value.dtype == torch.float64
    return None if is_wide else slack
