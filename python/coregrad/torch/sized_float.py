"""Floats that are computed from sizes: 2 / (n - 1) in the gradient of a variance."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from .._core import DType, Graph, Node, SymInt


class SizedFloat:
    """An expression of sizes, which becomes a node. As a Python float it is a number, with a guard for
    the sizes that give it.
    """

    def __init__(self, function: Callable[..., Any] | None, *parts: Any) -> None:
        """Of floats and expressions; without a function of one size."""
        self._function = function
        self._parts = parts

    @staticmethod
    def of(value: Any) -> Any:
        """A size as a float; another number as it is."""
        return SizedFloat(None, value) if isinstance(value, SymInt) else value

    def _value(self, of_size: Callable[[SymInt], Any]) -> Any:
        if self._function is None:
            return of_size(self._parts[0])
        parts = (p._value(of_size) if isinstance(p, SizedFloat) else p for p in self._parts)
        return self._function(*parts)

    def node(self, graph: Graph) -> Node:
        """In float64."""
        return self._value(lambda size: graph.literal(DType.float64, size))

    @property
    def hint(self) -> float:
        return self._value(lambda size: float(size.hint))

    def __float__(self) -> float:
        return self._value(float)

    def __add__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.add, self, SizedFloat.of(other))

    def __radd__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.add, SizedFloat.of(other), self)

    def __sub__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.sub, self, SizedFloat.of(other))

    def __rsub__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.sub, SizedFloat.of(other), self)

    def __mul__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.mul, self, SizedFloat.of(other))

    def __rmul__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.mul, SizedFloat.of(other), self)

    def __truediv__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.truediv, self, SizedFloat.of(other))

    def __rtruediv__(self, other: Any) -> SizedFloat:
        return SizedFloat(operator.truediv, SizedFloat.of(other), self)

    def __neg__(self) -> SizedFloat:
        return SizedFloat(operator.neg, self)

    # All else is of the number.

    def __pow__(self, other: Any) -> float:
        return float(self) ** float(other)

    def __rpow__(self, other: Any) -> float:
        return float(other) ** float(self)

    def __bool__(self) -> bool:
        return bool(float(self))

    def __trunc__(self) -> int:
        return int(float(self))

    def __round__(self, digits: int | None = None) -> Any:
        return round(float(self), digits)

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other)

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other)

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other)

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other)

    def __eq__(self, other: object) -> bool:
        return float(self) == other

    __hash__ = None  # type: ignore[assignment]
