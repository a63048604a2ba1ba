"""Bessel functions: rational functions and Chebyshev series after the Cephes library, in float64."""

from __future__ import annotations

import math

from . import special_tables as tables
from .special import equals, polynomial, special

NOT_A_NUMBER, INFINITY = math.nan, math.inf


def _chebyshev(b, x, coefficients):
    """Clenshaw's sum of a Chebyshev series, highest term first."""
    before = last = b.full_like(x, 0)
    value = b.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        before, last = last, value
        value = x * last - before + c
    return (value - before) * 0.5


def _quotient(b, x, top, bottom):
    return polynomial(b, x, top) / polynomial(b, x, bottom)


# Of the first kind, modified


def _scaled_i(b, size, near, far):
    """exp(-x) I(x) for x >= 0; for the first order near zero without a factor of x."""
    small = _chebyshev(b, size * 0.5 - 2.0, near)
    large = _chebyshev(b, 32.0 / size - 2.0, far) / b.g.sqrt(size)
    return small, large


@special("special_i0e")
def i0e(b, x):
    size = b.g.abs(x)
    small, large = _scaled_i(b, size, tables.BESSEL_I0_A, tables.BESSEL_I0_B)
    return b.where(size <= 8, small, large)


@special("i0", "special_modified_bessel_i0")
def i0(b, x):
    return b.g.exp(b.g.abs(x)) * i0e(b, x)


@special("special_i1e")
def i1e(b, x):
    size = b.g.abs(x)
    small, large = _scaled_i(b, size, tables.BESSEL_I1_A, tables.BESSEL_I1_B)
    value = b.where(size <= 8, small * size, large)
    return b.where(x < 0, -value, value)


@special("special_i1", "special_modified_bessel_i1")
def i1(b, x):
    return b.g.exp(b.g.abs(x)) * i1e(b, x)


# Of the second kind, modified


def _k(b, x, near, far, scaled):
    """`near` is K(x) for x <= 2, `far` K(x) exp(x) beyond; poles and the left half are added."""
    value = b.where(x <= 2, near * b.g.exp(x), far)
    if not scaled:
        value = b.where(x <= 2, near, b.g.exp(-x) * far)
    return b.where(equals(b, x, 0), INFINITY, b.where(x < 0, NOT_A_NUMBER, value))


def _k0(b, x, scaled):
    near = _chebyshev(b, x * x - 2.0, tables.BESSEL_K0_A) - b.g.log(x * 0.5) * i0(b, x)
    far = _chebyshev(b, 8.0 / x - 2.0, tables.BESSEL_K0_B) / b.g.sqrt(x)
    return _k(b, x, near, far, scaled)


def _k1(b, x, scaled):
    near = b.g.log(x * 0.5) * i1(b, x) + _chebyshev(b, x * x - 2.0, tables.BESSEL_K1_A) / x
    far = _chebyshev(b, 8.0 / x - 2.0, tables.BESSEL_K1_B) / b.g.sqrt(x)
    return _k(b, x, near, far, scaled)


for _name, _function in (("k0", _k0), ("k1", _k1)):
    special(f"special_modified_bessel_{_name}")(lambda b, x, f=_function: f(b, x, False))
    special(f"special_scaled_modified_bessel_{_name}")(lambda b, x, f=_function: f(b, x, True))


# Of both kinds, for x > 5: amplitude and phase


def _waves(b, x, order):
    square = 25.0 / (x * x)
    t = {k: getattr(tables, f"BESSEL_J{order}_{k}") for k in ("PP", "PQ", "QP", "QQ")}
    p = _quotient(b, square, t["PP"], t["PQ"])
    q = 5.0 / x * _quotient(b, square, t["QP"], t["QQ"])
    phase = x - (0.25 + 0.5 * order) * math.pi
    return p, q, phase, math.sqrt(2 / math.pi) / b.g.sqrt(x)


def _far_first(b, x, order):
    p, q, phase, scale = _waves(b, x, order)
    return (p * b.g.cos(phase) - q * b.g.sin(phase)) * scale


def _far_second(b, x, order):
    p, q, phase, scale = _waves(b, x, order)
    return (p * b.g.sin(phase) + q * b.g.cos(phase)) * scale


@special("special_bessel_j0")
def j0(b, x):
    x = b.g.abs(x)
    square = x * x
    near = _quotient(b, square, tables.BESSEL_J0_RP, tables.BESSEL_J0_RQ)
    near = (square - 5.78318596294678452118) * (square - 30.4712623436620863991) * near
    near = b.where(x < 0.00001, 1.0 - square / 4.0, near)
    return b.where(x <= 5, near, _far_first(b, x, 0))


@special("special_bessel_j1")
def j1(b, x):
    size = b.g.abs(x)
    square = size * size
    near = _quotient(b, square, tables.BESSEL_J1_RP, tables.BESSEL_J1_RQ) * size
    near = near * (square - 14.6819706421238932572) * (square - 49.2184563216946036703)
    value = b.where(size <= 5, near, _far_first(b, size, 1))
    return b.where(x < 0, -value, value)


def _second(b, x, near, order):
    value = b.where(x <= 5, near, _far_second(b, x, order))
    return b.where(equals(b, x, 0), -INFINITY, b.where(x < 0, NOT_A_NUMBER, value))


@special("special_bessel_y0")
def y0(b, x):
    near = _quotient(b, x * x, tables.BESSEL_Y0_YP, tables.BESSEL_Y0_YQ)
    return _second(b, x, near + (2 / math.pi) * b.g.log(x) * j0(b, x), 0)


@special("special_bessel_y1")
def y1(b, x):
    near = x * _quotient(b, x * x, tables.BESSEL_Y1_YP, tables.BESSEL_Y1_YQ)
    rest = j1(b, x) * b.g.log(x) - b.g.reciprocal(x)
    return _second(b, x, near + (2 / math.pi) * rest, 1)


@special("special_spherical_bessel_j0")
def spherical_j0(b, x):
    square = x * x
    series = [(-1) ** k / math.factorial(2 * k + 1) for k in range(6, -1, -1)]
    value = b.where(b.g.abs(x) < 0.5, polynomial(b, square, series), b.g.sin(x) / x)
    return b.where(equals(b, b.g.abs(x), INFINITY), 0, value)
