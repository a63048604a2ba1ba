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

    def row(b: Lowering, *args: Any, **kwargs: Any) -> Node:
        given = [_argument(b, rule, kind, a) for kind, a in zip(kinds, args)]
        return method(b.g, *given, **kwargs)

    return row


def _argument(b: Lowering, rule: str, kind: str, value: Any) -> Any:
    return b.node(value, b.dtype) if kind == "tensor" and rule in ("Real", "Arithmetic") else value


def derived(name: str, numbers: int) -> Callable[..., Any]:
    """A row (gradient, operand, numbers..) for the gradient of an operator; it may get more arguments
    than the operator's numbers.
    """
    method = getattr(Graph, name)

    def row(b: Lowering, grad: Node, x: Node, *args: Any, **kwargs: Any) -> Node:
        x, grad = b.node(x, b.dtype), b.node(grad, b.dtype)
        result = method(b.g, x, *args[:numbers], **kwargs)
        return b.g.gradients([result], [grad], [x])[0]

    return row


def _takes_the_operand(backward: Any) -> bool:
    names = [argument.name for argument in backward._schema.arguments]
    return names[:2] == ["grad_output", "self"]


#: Overload packets of these rows, by name.
PACKETS: set[str] = set()


def _enter_all() -> None:
    for name, rule, parameters, overloads in _operators():
        enter = move if rule == "Move" else lower
        for overload in overloads.split():
            enter(overload)(_row(name, rule, [kind for _, kind in parameters]))
            packet = overload.split(".")[1]
            PACKETS.add(packet)
            backward = f"aten.{packet}_backward.default"
            found = find_overload(backward)
            if found is not None and _takes_the_operand(found):
                lower(backward)(derived(name, len(parameters) - 1))
                PACKETS.add(f"{packet}_backward")


_enter_all()
lower("aten.log_sigmoid_backward.default")(derived("logsigmoid", 0))
