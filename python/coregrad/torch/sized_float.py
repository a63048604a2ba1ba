"""Floats that are computed from sizes: 2 / (n - 1) in the gradient of a variance."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from .._core import DType, Graph, Node, SymInt

#: Parts of a sum whose multiples, by a size, are exact in float64.
FEW_BITS = 1 << 20


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

    def _exact(self) -> tuple[SymInt, int] | None:
        """Dividend and divisor, where float64 rounds nothing: 1.5 * n is 3 * n over 2."""
        if self._function is None:
            return self._parts[0], 1
        if self._function is operator.neg:
            exact = self._parts[0]._exact()
            return exact and (-exact[0], exact[1])
        a, b = map(_fraction_of, self._parts)
        if a is None or b is None:
            return None
        if self._function is operator.truediv:
            divisor = b[0]
            if isinstance(divisor, SymInt) or divisor <= 0 or divisor & (divisor - 1):
                return None
            a, b = a, (b[1], divisor)
        (x, n), (y, m) = a, b
        if n * m > FEW_BITS:
            return None
        if self._function in (operator.add, operator.sub):
            return self._function(x * m, y * n), n * m
        if isinstance(x, SymInt) and isinstance(y, SymInt):
            return None
        return x * y, n * m

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

    def __floor__(self) -> Any:
        exact = self._exact()
        return math.floor(float(self)) if exact is None else exact[0] // exact[1]

    def __ceil__(self) -> Any:
        exact = self._exact()
        return math.ceil(float(self)) if exact is None else -(-exact[0] // exact[1])

    def __trunc__(self) -> Any:
        exact = self._exact()
        if exact is None:
            return math.trunc(float(self))
        dividend, divisor = exact
        return dividend // divisor if dividend >= 0 else -(-dividend // divisor)

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


def _fraction_of(value: Any) -> tuple[Any, int] | None:
    """Dividend and divisor of a part, if they have few bits."""
    if isinstance(value, SizedFloat):
        return value._exact()
    fraction = Fraction(value) if math.isfinite(value) else None
    if fraction is None or max(abs(fraction.numerator), fraction.denominator) > FEW_BITS:
        return None
    return fraction.numerator, fraction.denominator
