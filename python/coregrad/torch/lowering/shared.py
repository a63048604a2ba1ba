"""Rows that CoreGrad's own operators give: their table names the ATen overloads that they are. Where
PyTorch has a backward overload that takes the operand, it is the gradient of the forward.

The operators' parameters have the overload's order; operands are cast as PyTorch promotes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..._core import Node, _operators  # type: ignore[attr-defined]
from ..metadata import TO_CORE
from .table import Lowering, find_overload, lower, move, result_type

#: ATen's numbers for what a loss gives.
REDUCTIONS = ("none", "mean", "sum")

Parameters = Sequence[tuple[str, str]]  #: name and kind


def _operand(b: Lowering, rule: str, value: Any, traced: Any) -> Any:
    """A tensor or a number in the dtype that PyTorch's kernel sees."""
    if value is None:
        return None
    if rule == "AsIs":  # what is compared is rounded to what both promote to
        narrow = TO_CORE.get(result_type(*b.traced_args[:2]))
        value = value if narrow is None else b.node(value, narrow)
        return b.node(value, b.common_dtype())
    return b.node(b.rounded(value, traced) if rule in ("Real", "Arithmetic") else value, b.dtype)


def _argument(b: Lowering, rule: str, kind: str, value: Any, traced: Any = None) -> Any:
    if kind in ("Operand", "MaybeOperand"):
        return _operand(b, rule, value, traced)
    if kind == "Tensor" and rule not in ("AsIs", "Move"):
        return b.node(value, b.dtype)
    if kind == "Tensors":
        return [b.node(part, b.dtype) for part in value]
    return REDUCTIONS[value] if kind == "Loss" else value


def _call(
    b: Lowering, name: str, rule: str, parameters: Parameters, args: Sequence[Any], kwargs: Any
) -> Any:
    """What the operator gives."""
    traced = [*b.traced_args, *[None] * len(parameters)]
    kinds = dict(parameters)
    given = [
        _argument(b, rule, kind, a, t)
        for (_, kind), a, t in zip(parameters, args, traced)
        if kind != "MaybeDType"  # the result's, which operands are cast to
    ]
    named = {
        key: _argument(b, rule, kinds.get(key, ""), a)
        for key, a in kwargs.items()
        if key != "dtype"
    }
    return getattr(b.g, name)(*given, **named)


def _row(name: str, rule: str, parameters: Parameters) -> Callable[..., Any]:
    def row(b: Lowering, *args: Any, **kwargs: Any) -> Any:
        result = _call(b, name, rule, parameters, args, kwargs)
        if isinstance(result, Node):
            return result if rule == "Move" else b.node(result, b.dtype)
        return tuple(result)

    return row


def derived(name: str, parameters: Parameters) -> Callable[..., Any]:
    """A row (gradient, operands and numbers..) for the gradient of an operator with respect to its
    first operand; it may get more arguments than the operator.
    """

    def row(b: Lowering, grad: Node, *args: Any, **kwargs: Any) -> Node:
        def function(x: Node) -> Node:
            return _call(b, name, "Opmath", parameters, [x, *args[1:]], kwargs)

        return b.gradient(function, b.node(args[0], b.dtype), grad)

    return row


#: Gradients that have more digits as one quotient than as their formula's parts, which cancel.
BY_HAND = {"aten.binary_cross_entropy_backward.default"}


def _takes_the_operand(backward: Any) -> bool:
    names = [argument.name for argument in backward._schema.arguments]
    return names[:2] == ["grad_output", "self"]


#: Overload packets of these rows, by name.
PACKETS: set[str] = set()


def _enter_all() -> None:
    for name, rule, parameters, overloads in _operators():
        enter = move if rule == "Move" else lower
        for overload in overloads.split():
            enter(overload)(_row(name, rule, parameters))
            packet = overload.split(".")[1]
            PACKETS.add(packet)
            backward = f"aten.{packet}_backward.default"
            found = find_overload(backward)
            if found is not None and backward not in BY_HAND and _takes_the_operand(found):
                lower(backward)(derived(name, parameters))
                PACKETS.add(f"{packet}_backward")


_enter_all()
lower("aten.log_sigmoid_backward.default")(derived("logsigmoid", [("input", "Tensor")]))
