"""Parts of ATen graphs as graphs of their own."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule
from torch.fx import Node as FxNode
from torch.utils import _pytree as pytree


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
