"""What PyTorch's guards say about divisors of sizes: a view with -1, a window partition, a chunk.

A symbol that is k times something is written as that: the reshapes that need it are proven then.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import sympy
from torch.utils._sympy.functions import FloorDiv, Mod

#: Larger divisors are not looked for among what a remainder could be.
MAX_DIVISOR = 64


def divisors(shape_env: Any, symbols: Sequence[sympy.Symbol]) -> dict[sympy.Symbol, int]:
    """For symbols that calls bring multiples of a number for: that number. Symbols are positive."""
    found: dict[sympy.Symbol, int] = {}
    facts = {e.args for e in shape_env.divisible if isinstance(e, Mod) and _divides(*e.args)}
    for guard in shape_env.guards:
        facts |= _implied(shape_env.replace(guard.expr))
    for symbol, k in facts:
        if symbol in symbols and symbol.is_positive:
            found[symbol] = math.lcm(found.get(symbol, 1), int(k))
    return found


@functools.lru_cache(1000)
def _implied(guard: sympy.Basic) -> frozenset[tuple[sympy.Symbol, int]]:
    """Symbols and divisors of them where the guard holds."""
    return frozenset(_found(guard))


def _found(guard: sympy.Basic) -> Iterator[tuple[sympy.Symbol, int]]:
    if isinstance(guard, sympy.Or):
        yield from frozenset.intersection(*map(_implied, guard.args))
    if not isinstance(guard, sympy.Eq):
        return
    left, right = guard.args
    if isinstance(left, sympy.Symbol) and right.is_Integer:
        yield from ((left, k) for k in range(2, MAX_DIVISOR + 1) if right % k == 0)
    if isinstance(left, Mod) and right == 0 and _divides(*left.args):
        yield left.args[0], int(left.args[1])
    for exact, rounded in ((left, right), (right, left)):
        yield from _all_exact(exact, rounded)
    if len(guard.free_symbols) == 1:
        yield from _without_rest(left - right)


def _divides(dividend: sympy.Basic, divisor: sympy.Basic) -> bool:
    """Whether a symbol is divided by a number."""
    return isinstance(dividend, sympy.Symbol) and divisor.is_Integer and divisor > 1


def _all_exact(exact: sympy.Basic, rounded: sympy.Basic) -> Iterator[tuple[sympy.Symbol, int]]:
    """The quotients in a product of positive values that is what it is without rounding."""
    parts = [d for d in rounded.atoms(FloorDiv) if _divides(*d.args)]
    factors = sympy.Mul.make_args(rounded)
    if not parts or not all(f.is_Integer or f.is_Symbol or f in parts for f in factors):
        return
    if sympy.expand(rounded.xreplace({d: d.args[0] / d.args[1] for d in parts}) - exact) == 0:
        yield from ((d.args[0], int(d.args[1])) for d in parts)


def _without_rest(difference: sympy.Basic) -> Iterator[tuple[sympy.Symbol, int]]:
    """A sum of multiples of s, of a number and of quotients (s + n) // k that is 0 only where k divides
    s: with any other rest s = k t + r it is a number, whatever t is, and not 0.
    """
    (symbol,) = difference.free_symbols
    quotients = difference.atoms(FloorDiv)
    if not quotients:
        return
    divisor = next(iter(quotients)).args[1]
    offsets = {q: q.args[0] - symbol for q in quotients}
    if not (divisor.is_Integer and 1 < divisor <= MAX_DIVISOR):
        return
    if not all(q.args[1] == divisor and offsets[q].is_Integer for q in quotients):
        return
    terms = difference.as_coefficients_dict()
    if not terms.keys() <= {symbol, sympy.S.One, *quotients}:
        return
    slope = divisor * terms[symbol] + sum(terms[q] for q in quotients)

    def value(rest: int) -> sympy.Basic:
        rounded = sum(terms[q] * ((offsets[q] + rest) // divisor) for q in quotients)
        return terms[symbol] * rest + terms[sympy.S.One] + rounded

    if slope == 0 and all(value(r) != 0 for r in range(1, divisor)):
        yield symbol, int(divisor)
