"""Operators whose results tell sizes or numbers of Python's, written with as few of them as can be."""

from __future__ import annotations

import torch
from torch.fx import Graph, GraphModule
from torch.fx import Node as FxNode

from .expressions import expression_of

aten = torch.ops.aten
#: Operators that make tensors of a number, and which argument it is.
VALUE_ARGUMENT = {aten.scalar_tensor.default: 0, aten.full.default: 1}


def tells_size(node: FxNode) -> bool:
    """Whether a size, or a number that Python has, is known only when this operator has run."""
    return node.op == "call_function" and bool(node.meta.get("unbacked_bindings"))


def spell_out(module: GraphModule) -> None:
    """Writes indexing by a mask as indexing by where the mask is true, and a number that becomes a
    tensor again as the tensor that it was taken from.
    """
    found = [n for n in module.graph.nodes if tells_size(n)]
    for node in found:
        _spell_out_mask(module.graph, node)
        _spell_out_number(module.graph, node)
    if found:
        module.recompile()


def _has_one_shape(x: FxNode, y: FxNode) -> bool:
    a, b = (tuple(map(expression_of, n.meta["val"].shape)) for n in (x, y))
    return a == b


def _spell_out_mask(graph: Graph, node: FxNode) -> None:
    if node.target is aten.masked_select.default and _has_one_shape(*node.args):
        node.target, node.args = aten.index.Tensor, (node.args[0], [node.args[1]])
    if node.target is not aten.index.Tensor:
        return
    x, indices = node.args
    given = [(d, index) for d, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        return
    place, mask = given[0]
    traced = mask.meta["val"]
    count, rank = node.meta["val"].shape[place], traced.ndim
    with graph.inserting_before(node), traced.fake_mode:
        found = graph.call_function(aten.nonzero.default, (mask,))
        found.meta["val"] = torch.empty_strided((count, rank), (1, count), dtype=torch.int64)
        found.meta["unbacked_bindings"] = node.meta.pop("unbacked_bindings")
        columns = []
        for dim in range(rank):
            column = graph.call_function(aten.select.int, (found, 1, dim))
            column.meta["val"] = aten.select.int(found.meta["val"], 1, dim)
            columns.append(column)
    node.args = (x, [*indices[:place], *columns, *indices[place + 1 :]])


def _spell_out_number(graph: Graph, node: FxNode) -> None:
    if node.target is not aten._local_scalar_dense.default:
        return
    for user in list(node.users):
        place = VALUE_ARGUMENT.get(user.target)
        if place is None or user.args[place] is not node:
            continue
        value = user.meta["val"]
        with graph.inserting_before(user), value.fake_mode:
            scalar = graph.call_function(aten.reshape.default, (node.args[0], []))
            scalar.meta["val"] = value.new_empty((), dtype=node.args[0].meta["val"].dtype)
            cast = graph.call_function(
                torch.ops.prims.convert_element_type.default, (scalar, value.dtype)
            )
            cast.meta["val"] = value.new_empty(())
            result = (
                graph.call_function(aten.expand.default, (cast, user.args[0]))
                if value.ndim
                else cast
            )
            if value.ndim:
                result.meta["val"] = cast.meta["val"].expand(value.shape)
                result = graph.call_function(aten.clone.default, (result,))
                result.meta["val"] = value
        user.replace_all_uses_with(result)
        graph.erase_node(user)
    if not node.users:
        graph.erase_node(node)
