"""What symbols are taken for where a template is compiled."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import sympy
from torch.utils._sympy.solve import try_solve

#: Sizes that no program has as constants, of which a product of many does not overflow.
HINTS = (263, 269, 271, 277, 67, 71, 73, 79, 31, 37, 41, 43, 47, 53, 59, 61)
#: Orders of hints that are tried.
MAX_ORDERS = 120


def choose(
    symbols: Sequence[sympy.Symbol],
    facts: Sequence[sympy.Basic],
    equations: Sequence[sympy.Eq],
    examples: Mapping[sympy.Symbol, int],
) -> list[int]:
    """Hints for which what is known about symbols holds, if there are such, so that decisions fall as
    they do in every call.

    Symbols that `equations`, which hold in every call, allow few values have those of the call that was
    traced: an image before a linear layer of so many features.
    """
    hints = dict(zip(symbols, _hints(symbols, facts), strict=True))
    for equation in equations:
        if equation.subs(hints) == sympy.false:
            hints |= {s: examples[s] for s in equation.free_symbols if s in examples}
    return [hints[s] for s in symbols]


def _hints(symbols: Sequence[sympy.Symbol], facts: Sequence[sympy.Basic]) -> list[int]:
    default = [HINTS[i % len(HINTS)] for i in range(len(symbols))]
    for order in itertools.islice(itertools.permutations(default), MAX_ORDERS):
        hints = dict(zip(symbols, order, strict=True))
        for fact in facts:
            if isinstance(fact, sympy.Eq) and fact.subs(hints) == sympy.false:
                _make_equal(hints, fact)
        if all(fact.subs(hints) == sympy.true for fact in facts):
            return [hints[s] for s in symbols]
    return default


def _make_equal(hints: dict[sympy.Symbol, int], fact: sympy.Eq) -> None:
    """Gives one of the symbols in an equation the value that follows from the others."""
    for symbol in sorted(fact.free_symbols & hints.keys(), key=str):
        solution = try_solve(fact, symbol)
        value = (
            solution[1].subs({s: n for s, n in hints.items() if s != symbol}) if solution else None
        )
        if value is not None and value.is_Integer and value > 1:
            hints[symbol] = int(value)
            return
