"""Special functions: gamma and its relatives, error functions, inverse hyperbolic functions.

All are computed in float64 and rounded once. Shifts and series are those of PyTorch's own kernels where
the kernels are less exact than float64, so that float64 results agree.
"""

from __future__ import annotations

import math

from ..._core import Node
from .special_tables import NDTRI_P0, NDTRI_P1, NDTRI_P2, NDTRI_Q0, NDTRI_Q1, NDTRI_Q2
from .table import lower

LOG_2 = math.log(2)
LARGE = 1e8  #: where x * x + 1 is x * x in float64


def special(*names):
    """Registers a function of float64 nodes; operands take the result's dtype first."""

    def register(function):
        def row(b, *args):
            args = [b.rounded(a, t) for a, t in zip(args, b.traced_args)]
            args = [b.node(b.node(a, b.dtype), b.core_float64) for a in args]
            return b.node(function(b, *args), b.dtype)

        lower(*(f"aten.{name}" if "." in name else f"aten.{name}.default" for name in names))(row)
        return function

    return register


def polynomial(b, x, coefficients):
    """Horner's rule, highest power first."""
    total = b.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        total = total * x + c
    return total


def equals(b, x, value):
    return b.g.eq(x, b.full_like(x, value))


# Error functions


ERFC_MIDDLE = (
    (
        2.46196981473530512524e-10,
        0.564189564831068821977,
        7.46321056442269912687,
        48.6371970985681366614,
        196.520832956077098242,
        526.445194995477358631,
        934.528527171957607540,
        1027.55188689515710272,
        557.535335369399327526,
    ),
    (
        1.0,
        13.2281951154744992508,
        86.7072140885989742329,
        354.937778887819891062,
        975.708501743205489753,
        1823.90916687909736289,
        2246.33760818710981792,
        1656.66309194161350182,
        557.535340817727675546,
    ),
)
ERFC_TAIL = (
    (
        0.564189583547755073984,
        1.27536670759978104416,
        5.01905042251180477414,
        6.16021097993053585195,
        7.40974269950448939160,
        2.97886665372100240670,
    ),
    (
        1.0,
        2.26052863220117276590,
        9.39603524938001434673,
        12.0489539808096656605,
        17.0814450747565897222,
        9.60896809063285878198,
        3.36907645100081516050,
    ),
)


def _scaled_tail(b, size):
    """exp(x * x) * erfc(x) for x >= 1."""
    middle = b.at_most(b.at_least(size, 1), 8)
    # Powers of 1 / x do not overflow.
    inverse = b.g.reciprocal(b.at_least(size, 8))
    near, far = ERFC_MIDDLE, ERFC_TAIL
    top = polynomial(b, inverse, far[0][::-1]) * inverse
    tail = top / polynomial(b, inverse, far[1][::-1])
    value = polynomial(b, middle, near[0]) / polynomial(b, middle, near[1])
    return b.where(size < 8, value, tail)


@special("erfc", "special_erfc")
def erfc(b, x):
    size = b.g.abs(x)
    tail = b.g.exp(-(size * size)) * _scaled_tail(b, size)
    tail = b.where(x < 0, 2.0 - tail, tail)
    return b.where(size >= 1, tail, 1.0 - b.g.erf(x))


@special("special_erfcx")
def erfcx(b, x):
    size = b.g.abs(x)
    growth = b.g.exp(x * x)
    tail = _scaled_tail(b, size)
    return b.where(size < 1, growth * (1.0 - b.g.erf(x)), b.where(x < 0, growth * 2.0 - tail, tail))


@special("special_log_ndtr")
def log_ndtr(b, x):
    t = x * math.sqrt(0.5)
    tail = b.g.log(erfcx(b, b.at_least(-t, 0)) / 2.0) - t * t
    return b.where(x < -1, tail, b.g.log1p(erfc(b, t) * -0.5))


@special("erfinv")
def erfinv(b, y):
    size = b.g.abs(y)
    z = y * y
    centre = y * polynomial(b, z, (-0.140543331, 0.914624893, -1.645349621, 0.886226899))
    centre = centre / polynomial(b, z, (0.012229801, -0.329097515, 1.442710462, -2.118377725, 1.0))
    root = b.g.sqrt(-b.g.log((1.0 - size) / 2.0))
    edge = polynomial(b, root, (1.641345311, 3.429567803, -1.624906493, -1.970840454))
    edge = b.g.sign(y) * edge / polynomial(b, root, (1.637067800, 3.543889200, 1.0))
    x = b.where(size <= 0.7, centre, edge)
    for _ in range(2):  # Newton's steps
        x = x - (b.g.erf(x) - y) / (b.g.exp(-(x * x)) * (2 / math.sqrt(math.pi)))
    return b.where(equals(b, size, 1), y * math.inf, b.where(size > 1, math.nan, x))


@special("special_ndtri")
def ndtri(b, y):
    """The inverse of the normal distribution, after Cephes."""
    upper = y > 1.0 - math.exp(-2)
    p = b.where(upper, 1.0 - y, y)
    centred = p - 0.5
    square = centred * centred
    ratio = polynomial(b, square, NDTRI_P0) / polynomial(b, square, NDTRI_Q0)
    centre = (centred + centred * (square * ratio)) * math.sqrt(2 * math.pi)
    root = b.g.sqrt(b.g.log(p) * -2.0)
    inverse = b.g.reciprocal(root)
    near = polynomial(b, inverse, NDTRI_P1) / polynomial(b, inverse, NDTRI_Q1)
    far = polynomial(b, inverse, NDTRI_P2) / polynomial(b, inverse, NDTRI_Q2)
    tail = root - b.g.log(root) / root - inverse * b.where(root < 8, near, far)
    value = b.where(p > math.exp(-2), centre, b.where(upper, tail, -tail))
    value = b.where(equals(b, y, 0), -math.inf, b.where(equals(b, y, 1), math.inf, value))
    return b.where((y < 0) | (y > 1), math.nan, value)


# Gamma and polygamma


def _shifted(b, x, limit, step):
    """X raised by ones to at least `limit` (x > 0), and `step` folded over the values on the way."""
    folded = None
    for _ in range(limit):
        below = x < limit
        folded = step(folded, below, x)
        x = b.where(below, x + 1.0, x)
    return x, folded


def _positive_lgamma(b, x):
    def multiply(product, below, value):
        factor = b.where(below, value, 1)
        return factor if product is None else product * factor

    shifted, product = _shifted(b, x, 10, multiply)
    inverse = b.g.reciprocal(shifted)
    series = polynomial(
        b,
        inverse * inverse,
        (-691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12),
    )
    log = b.g.log(shifted)
    stirling = shifted * (log - 1.0) - log * 0.5 + 0.5 * math.log(2 * math.pi) + series * inverse
    stirling = stirling - b.g.log(product)
    return b.where(equals(b, x, math.inf), math.inf, stirling)


@special("lgamma")
def lgamma(b, x):
    reflected = x < 0
    value = _positive_lgamma(b, b.where(reflected, 1.0 - x, x))
    sine = b.g.abs(b.g.sin((x - b.g.round(x)) * math.pi))
    mirrored = math.log(math.pi) - b.g.log(sine) - value
    mirrored = b.where(b.g.eq(x, b.g.floor(x)), math.inf, mirrored)  # poles, also -inf
    return b.where(reflected, mirrored, value)


DIGAMMA = (1 / 12, -2.10927960927960927961e-2, 1 / 132, -1 / 240, 1 / 252, -1 / 120, 1 / 12)


@special("digamma")
def digamma(b, x):
    reflected = x < 0

    def subtract(total, below, value):
        term = b.where(below, b.g.reciprocal(value), 0)
        return -term if total is None else total - term

    shifted, total = _shifted(b, b.where(reflected, 1.0 - x, x), 10, subtract)
    inverse = b.g.reciprocal(shifted)
    square = inverse * inverse
    value = total + b.g.log(shifted) - inverse * 0.5 - square * polynomial(b, square, DIGAMMA)
    value = value - b.where(reflected, math.pi / b.g.tan((x - b.g.trunc(x)) * math.pi), 0)
    value = b.where(reflected & b.g.eq(x, b.g.trunc(x)), math.nan, value)
    return b.where(equals(b, x, 0), -b.g.reciprocal(x), value)


def _trigamma(b, x):
    """With the six shifts and four terms of PyTorch's kernel, whose error this is too."""
    low = x < 0.5
    sine = b.g.sin(x * math.pi)
    total = b.where(low, -(math.pi * math.pi) / (sine * sine), 0)
    x = b.where(low, 1.0 - x, x)
    for _ in range(6):
        total = total + b.g.reciprocal(x * x)
        x = x + 1.0
    inverse = b.g.reciprocal(x * x)
    series = 1 / 6 - inverse * (1 / 30 - inverse * (1 / 42))
    total = total + (1.0 + 0.5 / x + inverse * series) / x
    return b.where(low, -total, total)


BERNOULLI = (
    12.0,
    -720.0,
    30240.0,
    -1209600.0,
    47900160.0,
    -1.8924375803183791606e9,
    7.47242496e10,
    -2.950130727918164224e12,
    1.1646782814350067249e14,
    -4.5979787224074726105e15,
    1.8152105401943546773e17,
    -7.1661652561756670113e18,
)


def _zeta(b, s, q):
    """Hurwitz's zeta function of a number or node s > 1 and q > 0, by Euler and Maclaurin's formula."""
    exponent = -s if isinstance(s, Node) else b.full_like(q, -s)
    total = term = b.g.pow(q, exponent)
    for _ in range(9):
        q = q + 1.0
        term = b.g.pow(q, exponent)
        total = total + term
    done, early = term < total * 2**-53, total  # before large factors meet tiny powers
    total = total + term * q / (s - 1.0) - term * 0.5
    factor = 1.0
    for k, divisor in enumerate(BERNOULLI):
        factor = factor * (s + 2.0 * k)
        term = term / q
        total = total + term * (factor / divisor)
        factor = factor * (s + (2.0 * k + 1.0))
        term = term / q
    return b.where(done, early, total)


@special("special_zeta", "special_zeta.other_scalar", "special_zeta.self_scalar")
def zeta(b, s, q):
    s, q = b.expand(s, b.shape), b.expand(q, b.shape)
    # Left of zero: the sum over all integers from the fraction, on both sides of it.
    negative = q < 0
    right = _zeta(b, s, b.where(negative, 1.0 - q, q))
    fraction = q - b.g.floor(q)
    rest = _zeta(b, s, 1.0 - fraction) - right
    odd = b.g.ne(b.g.rem(s, b.full_like(s, 2)), b.full_like(s, 0))
    left = _zeta(b, s, fraction) + b.where(odd, -rest, rest)
    value = b.where(negative, left, right)
    value = b.where(negative & b.g.ne(s, b.g.floor(s)), math.nan, value)
    value = b.where((q <= 0) & b.g.eq(q, b.g.floor(q)), math.inf, value)
    return b.where(s < 1, math.nan, b.where(equals(b, s, 1), math.inf, value))


def _polygamma(b, n, x):
    s = n + 1
    scale = (1.0 if n % 2 else -1.0) * math.factorial(n)
    # Left of zero: the sum over all integers, less what is not part of it.
    fraction = x - b.g.floor(x)
    negative = x < 0
    positive = _zeta(b, s, b.where(negative, 1.0 - x, x))
    rest = _zeta(b, s, 1.0 - fraction) - positive
    left = _zeta(b, s, fraction) + (rest if s % 2 == 0 else -rest)
    value = b.where(negative, left, positive)
    pole = (x <= 0) & b.g.eq(x, b.g.floor(x))
    return b.where(pole, math.inf, value) * scale


@lower("aten.polygamma.default")
def polygamma(b, n, x):
    x = b.node(b.node(x, b.dtype), b.core_float64)
    if n == 0:
        value = digamma(b, x)
    elif n == 1:
        value = _trigamma(b, x)
    elif n <= 20:
        value = _polygamma(b, n, x)
    else:
        b.unsupported("polygamma of a high order")
    return b.node(value, b.dtype)


# Inverse hyperbolic functions


@special("asinh")
def asinh(b, x):
    size = b.g.abs(x)
    small = b.at_most(size, LARGE)
    value = b.g.log1p(small + small * small / (1.0 + b.g.sqrt(small * small + 1.0)))
    value = b.where(size > LARGE, b.g.log(size) + LOG_2, value)
    return b.where(x < 0, -value, value)


@special("acosh")
def acosh(b, x):
    t = b.at_most(x, LARGE) - 1.0
    value = b.g.log1p(t + b.g.sqrt(t * 2.0 + t * t))
    return b.where(x > LARGE, b.g.log(x) + LOG_2, b.where(x < 1, math.nan, value))


@special("atanh")
def atanh(b, x):
    size = b.g.abs(x)
    value = b.g.log1p(size * 2.0 / (1.0 - size)) * 0.5
    return b.where(x < 0, -value, value)
