"""Chebyshev's polynomials of degrees known at run time, in closed form; others of a given degree.

With x = cos(t): T_n = cos(n t), U_n = sin((n + 1) t) / sin(t), V_n = cos((n + 1/2) t) / cos(t / 2),
W_n = sin((n + 1/2) t) / sin(t / 2). Beyond 1 the same with hyperbolic functions, and below 0
T_n(-x) = (-1)^n T_n(x), U_n likewise, V_n(-x) = (-1)^n W_n(x).
"""

from __future__ import annotations

import math

import torch

from .special import acosh, equals
from .table import lower

HIGHEST_DEGREE = 64  #: of a recurrence that is unrolled


def _ratio(b, kind, x, n):
    """The polynomial at x > 0, x != 1, from an angle or its hyperbolic like."""

    def of(angle, sine, cosine):
        if kind == "t":
            return cosine(n * angle)
        if kind == "u":
            return sine((n + 1.0) * angle) / sine(angle)
        function = cosine if kind == "v" else sine
        return function((n + 0.5) * angle) / function(angle * 0.5)

    inside = b.g.acos(b.at_most(x, 1))
    outside = acosh(b, b.at_least(x, 1))
    return b.where(x < 1, of(inside, b.g.sin, b.g.cos), of(outside, b.g.sinh, b.g.cosh))


def _chebyshev(b, kind, x, n):
    """Float64 nodes of one shape; n is an integer."""
    size = b.g.abs(x)
    negative = x < 0
    at_one = {"t": n * 0.0 + 1.0, "u": n + 1.0, "v": n * 0.0 + 1.0, "w": n * 2.0 + 1.0}
    value = b.where(equals(b, size, 1), at_one[kind], _ratio(b, kind, size, n))
    if kind in "vw":
        other = "w" if kind == "v" else "v"
        mirrored = b.where(equals(b, size, 1), at_one[other], _ratio(b, other, size, n))
        value = b.where(negative, mirrored, value)
    odd = b.g.ne(b.g.rem(n, b.full_like(n, 2)), b.full_like(n, 0))
    value = b.where(negative & odd, -value, value)
    first = {"t": x, "u": x * 2.0, "v": x * 2.0 - 1.0, "w": x * 2.0 + 1.0}[kind]
    value = b.where(equals(b, n, 1), first, value)
    return b.where(equals(b, n, 0), 1, b.where(n < 0, 0, value))


def _operands(b, x, n):
    """Both as float64 of the result's shape, after the result's dtype; the degree cut to an integer."""
    x, n = (b.node(b.node(v, b.dtype), b.core_float64) for v in (x, n))
    # The degree of NaN is the least integer there is, in PyTorch.
    n = b.where(b.g.eq(n, n), b.g.trunc(n), -1)
    return b.expand(x, b.shape), b.expand(n, b.shape)


def _row(kind, shifted):
    def row(b, x, n):
        x, n = _operands(b, x, n)
        return b.node(_chebyshev(b, kind, x * 2.0 - 1.0 if shifted else x, n), b.dtype)

    return row


for _kind in "tuvw":
    for _prefix in ("", "shifted_"):
        _name = f"aten.special_{_prefix}chebyshev_polynomial_{_kind}"
        lower(f"{_name}.default", f"{_name}.n_scalar", f"{_name}.x_scalar")(
            _row(_kind, bool(_prefix))
        )

#: First polynomial, and p_k from p_{k-1}, p_{k-2}.
RECURRENCES = {
    "hermite_polynomial_h": (
        lambda x: x * 2.0,
        lambda x, k, p, q: x * 2.0 * p - q * (2.0 * (k - 1)),
    ),
    "hermite_polynomial_he": (lambda x: x, lambda x, k, p, q: x * p - q * float(k - 1)),
    "laguerre_polynomial_l": (
        lambda x: 1.0 - x,
        lambda x, k, p, q: (((2 * k - 1) - x) * p - q * float(k - 1)) / float(k),
    ),
    "legendre_polynomial_p": (
        lambda x: x,
        lambda x, k, p, q: (x * float(2 * k - 1) * p - q * float(k - 1)) / float(k),
    ),
}


def _unrolled(first, step):
    def row(b, x, n):
        n = int(n)
        if n > HIGHEST_DEGREE:
            b.unsupported("a polynomial of a high degree")
        x = b.expand(b.node(b.node(x, b.dtype), b.core_float64), b.shape)
        before, value = b.full_like(x, 0), b.full_like(x, 0 if n < 0 else 1)
        for k in range(1, n + 1):
            before, value = value, first(x) if k == 1 else step(x, k, value, before)
        return b.node(value, b.dtype)

    return row


for _name, (_first, _step) in RECURRENCES.items():
    lower(f"aten.special_{_name}.n_scalar")(_unrolled(_first, _step))

#: The degree up to which PyTorch computes Hermite's polynomials, by the result's precision; NaN above.
HERMITE_LIMITS = {torch.float32: 128, torch.float64: 512}


def _hermite(first, step):
    """Of degrees known at run time: the recurrence up to the limit, from which each takes its own."""

    def row(b, x, n):
        limit = HERMITE_LIMITS.get(b.result.dtype)
        if limit is None or limit > 128:
            b.unsupported("Hermite's polynomials of degrees known at run time, in this precision")
        x, n = _operands(b, x, n)
        before, current = b.full_like(x, 1), first(x)
        value = b.where(n <= 0, b.where(n < 0, 0, before), current)
        for k in range(2, limit + 1):
            before, current = current, step(x, k, current, before)
            value = b.where(n >= k, current, value)
        return b.node(b.where(n > limit, math.nan, value), b.dtype)

    return row


for _name in ("hermite_polynomial_h", "hermite_polynomial_he"):
    _name, _row_of = f"aten.special_{_name}", _hermite(*RECURRENCES[_name])
    lower(f"{_name}.default", f"{_name}.x_scalar")(_row_of)
