"""Rows that CoreGrad's own operators give: their table names the ATen overloads that they are. Where
PyTorch has a backward overload that takes the operand, it is the gradient of the forward.

The operators' parameters have the overload's order; operands are cast as PyTorch promotes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..._core import Graph, Node, _operators  # type: ignore[attr-defined]
from .table import Lowering, find_overload, lower, move


def _row(name: str, rule: str, kinds: Sequence[str]) -> Callable[..., Any]:
    method = getattr(Graph, name)

    computes = rule in ("Real", "Arithmetic")

    def row(b: Lowering, *args: Any, **kwargs: Any) -> Node:
        kwargs.pop("dtype", None)  # the result's, which operands are cast to
        given = _arguments(b, kinds, args, computes)
        result = method(b.g, *given, **kwargs)
        return result if rule == "Move" else b.node(result, b.dtype)

    return row


#: ATen's numbers for what a loss gives.
REDUCTIONS = ("none", "mean", "sum")


def _arguments(b: Lowering, kinds: Sequence[str], args: Sequence[Any], computes: bool) -> list[Any]:
    given = []
    for kind, a in zip(kinds, args):
        if kind == "Tensor" and computes:
            given.append(b.node(a, b.dtype))
        elif kind == "Loss":
            given.append(REDUCTIONS[a])
        elif kind != "MaybeDType":
            given.append(a)
    return given


def derived(name: str, kinds: Sequence[str]) -> Callable[..., Any]:
    """A row (gradient, operands and numbers..) for the gradient of an operator with respect to its
    first operand; it may get more arguments than the operator.
    """
    method = getattr(Graph, name)

    def row(b: Lowering, grad: Node, *args: Any, **kwargs: Any) -> Node:
        given = _arguments(b, kinds, args, computes=True)
        result = method(b.g, *given, **kwargs)
        grad = b.expand(b.node(grad, b.dtype), result.shape)
        return b.g.gradients([result], [grad], [given[0]])[0]

    return row


def _takes_the_operand(backward: Any) -> bool:
    names = [argument.name for argument in backward._schema.arguments]
    return names[:2] == ["grad_output", "self"]


#: Overload packets of these rows, by name.
PACKETS: set[str] = set()


def _enter_all() -> None:
    for name, rule, parameters, overloads in _operators():
        enter = move if rule == "Move" else lower
        kinds = [kind for _, kind in parameters]
        for overload in overloads.split():
            enter(overload)(_row(name, rule, kinds))
            packet = overload.split(".")[1]
            PACKETS.add(packet)
            backward = f"aten.{packet}_backward.default"
            found = find_overload(backward)
            if found is not None and _takes_the_operand(found):
                lower(backward)(derived(name, kinds))
                PACKETS.add(f"{packet}_backward")


_enter_all()
lower("aten.log_sigmoid_backward.default")(derived("logsigmoid", ["Tensor"]))
