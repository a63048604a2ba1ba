"""Parts of ATen graphs, run three ways: compiled, eager, and eager in float64."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Interpreter
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


def cut(
    module: GraphModule, inner: set[FxNode], outputs: Sequence[FxNode], values: dict[FxNode, Any]
) -> tuple[GraphModule, list[Any]]:
    """The nodes of `inner` as a graph whose inputs are the other nodes they read, and the values of
    those. A node with several results stands for all of them among the outputs.
    """
    graph, mode = Graph(), FakeTensorMode(allow_non_fake_inputs=True)
    twin: dict[FxNode, FxNode] = {}
    inputs: list[Any] = []
    order = [n for n in module.graph.nodes if n in inner]
    for node in order:
        for operand in node.all_input_nodes:
            if operand not in inner and operand not in twin:
                value = values[operand]
                new = graph.placeholder(operand.name)
                is_tensor = isinstance(value, torch.Tensor)
                new.meta["val"] = mode.from_tensor(value.detach()) if is_tensor else value
                twin[operand] = new
                inputs.append(value)
    with mode, torch.no_grad():
        for node in order:
            new = twin[node] = graph.node_copy(node, twin.__getitem__)
            args, kwargs = torch.fx.node.map_arg((new.args, new.kwargs), lambda n: n.meta["val"])
            new.meta["val"] = node.target(*args, **kwargs)
    results: list[FxNode] = []
    for node in outputs:
        value = twin[node].meta["val"]
        if not isinstance(value, (tuple, list)):
            results.append(twin[node])
            continue
        for number, item in enumerate(value):
            if isinstance(item, torch.Tensor):
                get = graph.call_function(operator.getitem, (twin[node], number))
                get.meta["val"] = item
                results.append(get)
    graph.output(tuple(results))
    return GraphModule(module, graph), inputs


def graph_of_call(
    overload: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> tuple[GraphModule, list[Any]]:
    """A graph of one call whose results are its outputs, and the tensors that are its inputs."""
    leaves, spec = pytree.tree_flatten((tuple(args), kwargs))
    graph = Graph()
    values: dict[FxNode, Any] = {}
    nodes = []
    for leaf in leaves:
        if isinstance(leaf, torch.Tensor):
            node = graph.placeholder(f"x{len(values)}")
            values[node] = leaf
        nodes.append(node if isinstance(leaf, torch.Tensor) else leaf)
    node_args, node_kwargs = pytree.tree_unflatten(nodes, spec)
    call = graph.call_function(overload, tuple(node_args), node_kwargs)
    return cut(GraphModule(torch.nn.Module(), graph), {call}, [call], values)


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
