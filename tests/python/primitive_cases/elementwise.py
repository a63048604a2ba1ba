"""Unary and binary operations, comparisons, select and cast."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from .common import (
    ALL,
    COLUMNS,
    DTYPES,
    INTEGERS,
    MIXED,
    NAMES,
    NUMBERS,
    PAIRS,
    Case,
    method,
    sample,
    special_pairs,
    specials,
    with_layouts,
)

LARGE = (300, 1001)


@dataclass
class Unary:
    eager: Callable
    low: float = -3.0
    high: float = 3.0
    dtypes: tuple = NUMBERS
    promotes: bool = True  # gives float32 for integers
    moves: bool = False


def log1pexp(x):
    """PyTorch's softplus is linear beyond a threshold, or overflows."""
    x = x if x.is_floating_point() else x.float()
    return 0.0 - torch.nn.functional.logsigmoid(-x)


UNARY = {
    "neg": Unary(torch.neg, promotes=False, moves=True),
    "abs": Unary(torch.abs, promotes=False, moves=True),
    "sign": Unary(torch.sign, dtypes=ALL, promotes=False, moves=True),
    "exp": Unary(torch.exp, -20, 20, ALL),
    "exp2": Unary(torch.exp2, -20, 20, ALL),
    "expm1": Unary(torch.expm1, -5, 5, ALL),
    "log": Unary(torch.log, 0.01, 50, ALL),
    "log2": Unary(torch.log2, 0.01, 50, ALL),
    "log10": Unary(torch.log10, 0.01, 50, ALL),
    "log1p": Unary(torch.log1p, -0.9, 5, ALL),
    "sqrt": Unary(torch.sqrt, 0.01, 50, ALL),
    "rsqrt": Unary(torch.rsqrt, 0.01, 50, ALL),
    "reciprocal": Unary(torch.reciprocal, 0.1, 20, ALL),
    "sin": Unary(torch.sin, -20, 20, ALL),
    "cos": Unary(torch.cos, -20, 20, ALL),
    "tan": Unary(torch.tan, -1.4, 1.4, ALL),
    "asin": Unary(torch.asin, -0.95, 0.95, ALL),
    "acos": Unary(torch.acos, -0.95, 0.95, ALL),
    "atan": Unary(torch.atan, -20, 20, ALL),
    "sinh": Unary(torch.sinh, -5, 5, ALL),
    "cosh": Unary(torch.cosh, -5, 5, ALL),
    "tanh": Unary(torch.tanh, -3, 3, ALL),
    "sigmoid": Unary(torch.sigmoid, -20, 20, ALL),
    "log1pexp": Unary(log1pexp, -20, 20, ALL),
    "erf": Unary(torch.erf, -3, 3, ALL),
    "floor": Unary(torch.floor, promotes=False, moves=True),
    "ceil": Unary(torch.ceil, promotes=False, moves=True),
    "round": Unary(torch.round, promotes=False, moves=True),
    "trunc": Unary(torch.trunc, promotes=False, moves=True),
    "not": Unary(torch.bitwise_not, dtypes=(*INTEGERS, torch.bool), promotes=False),
    "detach": Unary(torch.Tensor.detach, dtypes=ALL, promotes=False, moves=True),
}


def unary_cases(op):
    row = UNARY[op]
    labelled = itertools.chain(
        with_layouts(row.dtypes, row.low, row.high),
        ((f"{NAMES[t]} specials", specials(t)) for t in row.dtypes),
        # For several threads, and more than the nearest cache.
        ((f"{NAMES[t]} large", sample(LARGE, t, row.low, row.high)) for t in row.dtypes[:1]),
    )
    for label, x in labelled:
        yield Case(
            label,
            [x],
            lambda g, x: method(g, op)(x),
            row.eager,
            moves=row.moves,
            promotes=row.promotes,
        )
    for dtype in row.dtypes:
        for value in specials(dtype):
            yield Case(
                f"{NAMES[dtype]} literal {value}",
                [value],
                lambda g, x, t=dtype, v=value: method(g, op)(g.literal(DTYPES[t], v.item())),
                row.eager,
                moves=row.moves,
                promotes=row.promotes,
                differentiable=False,  # of a literal
            )


def integer_quotient(a, b, result):
    """`result` of the operands made harmless, with the rules of ops.def for x / 0 and x / -1."""
    a, b = torch.broadcast_tensors(a, b)
    plain = result(a, b.masked_fill((b == 0) | (b == -1), 1))
    minus_one = result(a.neg(), torch.ones_like(b))
    return plain.masked_fill(b == 0, 0).where(b != -1, minus_one)


def divide(a, b):
    """PyTorch refuses to divide an integer by zero."""
    t = torch.result_type(a, b)
    if t.is_floating_point:
        return a / b
    return integer_quotient(
        a.to(t), b.to(t), lambda a, b: torch.div(a, b, rounding_mode="trunc").to(t)
    )


def remainder(a, b):
    t = torch.result_type(a, b)
    if t.is_floating_point:
        return torch.fmod(a, b)
    return integer_quotient(a.to(t), b.to(t), torch.fmod)


def exact_remainder(a, b):
    """PyTorch's own takes a denormal divisor for zero; C's fmod is exact."""
    t = torch.result_type(a, b)
    if not t.is_floating_point:
        return remainder(a, b)
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.asarray(np.fmod(a.to(t).numpy(), b.to(t).numpy())))


def atan2_slopes(seed, y, x):
    """PyTorch's are 0 where the squares vanish or overflow; here they are in a wider format."""
    seed, y, x = (t.numpy().astype(np.longdouble) for t in (seed, y, x))
    with np.errstate(all="ignore"):
        norm = x * x + y * y
        slopes = [np.where(norm == 0, 0, seed * side / norm) for side in (x, -y)]
        return [torch.from_numpy(slope.astype(np.float64)) for slope in slopes]


def subtract(a, b):
    """PyTorch refuses bool, even where it is promoted."""
    t = torch.result_type(a, b)
    return a.to(t) - b.to(t)


@dataclass
class Binary:
    eager: Callable
    dtypes: tuple = NUMBERS
    low: float = -3.0
    high: float = 3.0
    moves: bool = False
    values: Callable | None = None
    slopes: Callable | None = None  # for the special values
    mixed: bool = True


BITS = (*INTEGERS, torch.bool)
BINARY = {
    "add": Binary(torch.add, ALL),
    "sub": Binary(subtract),
    "mul": Binary(torch.mul, ALL),
    "div": Binary(divide, NUMBERS),
    "rem": Binary(remainder, NUMBERS, -30, 30, values=exact_remainder),
    "pow": Binary(torch.pow, NUMBERS, 0.1, 6),
    "max": Binary(torch.maximum, ALL, moves=True),
    "min": Binary(torch.minimum, ALL, moves=True),
    "atan2": Binary(torch.atan2, ALL, slopes=atan2_slopes),
    "and": Binary(torch.bitwise_and, BITS, mixed=False),
    "or": Binary(torch.bitwise_or, BITS, mixed=False),
    "xor": Binary(torch.bitwise_xor, BITS, mixed=False),
    "shl": Binary(torch.bitwise_left_shift, INTEGERS, -70, 70, mixed=False),
    "shr": Binary(torch.bitwise_right_shift, INTEGERS, -70, 70, mixed=False),
    "eq": Binary(torch.eq, ALL, -2, 2),
    "ne": Binary(torch.ne, ALL, -2, 2),
    "lt": Binary(torch.lt, ALL, -2, 2),
    "le": Binary(torch.le, ALL, -2, 2),
}


def operand_pairs(row):
    for dtype, (name, (left, right)) in itertools.product(row.dtypes, PAIRS.items()):

        def make(shape, t=dtype):
            return sample(shape, t, row.low, row.high)

        yield f"{NAMES[dtype]} {name}", left(make), right(make)
    for dtype in row.dtypes[:1]:
        a, b = (sample(shape, dtype, row.low, row.high) for shape in (LARGE, LARGE[::-1]))
        yield f"{NAMES[dtype]} large", a, b.t()
    for dtype in row.dtypes:
        yield f"{NAMES[dtype]} specials", *special_pairs(dtype)
    for (a, b), name in itertools.product(MIXED if row.mixed else (), ("row", "zero_d_right")):
        left, right = PAIRS[name]
        yield (
            f"{NAMES[a]} with {NAMES[b]} {name}",
            left(lambda shape, t=a: sample(shape, t, row.low, row.high)),
            right(lambda shape, t=b: sample(shape, t, max(row.low, 1), row.high)),
        )


def binary_cases(op):
    row = BINARY[op]
    for label, a, b in operand_pairs(row):
        yield Case(
            label,
            [a, b],
            lambda g, a, b: method(g, op)(a, b),
            row.eager,
            moves=row.moves,
            promotes=True,
            signs=not row.moves,  # which of two zeros is the greater is left open
            broadcasts=a.shape != b.shape,
            values=row.values,
            slopes=row.slopes if "specials" in label else None,
        )
    for dtype in row.dtypes:
        if dtype.is_floating_point or op != "atan2":  # its literals would be rounded first
            yield from known_operand_cases(op, row, dtype)


def known_values(dtype):
    """Literals for which construction has rules of its own, and extremes."""
    if dtype == torch.bool:
        return [False, True]
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        return [0, 1, -1, 2, 3, -2, limits.bits - 1, limits.bits, limits.min, limits.max]
    limits = torch.finfo(dtype)
    denormal = limits.smallest_normal * limits.eps
    values = [0.0, 1.0, 2.0, 0.5, 3.0, 0.1, 1.5, float("inf"), denormal, limits.max]
    return [*values, *(-v for v in values), float("nan")]


def rsqrt_slopes(seed, x):
    """PyTorch computes pow(x, -0.5) as rsqrt, NaN at -inf, but its gradient by pow: 0 there."""
    x = x.double().requires_grad_()
    return torch.autograd.grad(torch.rsqrt(x), x, seed.double())


def power_slopes(exponent):
    """PyTorch's overflow on the way: 2 * x for the greatest x, whatever the incoming gradient is."""

    def slopes(seed, x):
        seed, x = (t.numpy().astype(np.longdouble) for t in (seed, x))
        with np.errstate(all="ignore"):
            return [torch.from_numpy((seed * exponent * x ** (exponent - 1)).astype(np.float64))]

    return slopes


def known_operand_cases(op, row, dtype):
    """The special values with a literal on either side, and with themselves: what simplifies."""
    x = specials(dtype)
    name = NAMES[dtype]
    yield Case(
        f"{name} itself",
        [x],
        lambda g, x: method(g, op)(x, x),
        lambda x: row.eager(x, x),
        moves=row.moves,
        # The others' two gradients cancel, or are one where the greater of x and x is x.
        differentiable=op in ("add", "sub", "mul"),
    )
    for value, is_right in itertools.product(known_values(dtype), (False, True)):

        def place(x, c, is_right=is_right):
            return (x, c) if is_right else (c, x)

        def like(x, value=value):
            return torch.tensor(value, dtype=x.dtype)

        def build(g, x, place=place, value=value):
            return method(g, op)(*place(x, g.literal(DTYPES[dtype], value)))

        # PyTorch has rules for exponents that are numbers, not tensors.
        is_number = op == "pow" and is_right and dtype.is_floating_point

        def eager(x, place=place, value=value, like=like, is_number=is_number):
            return row.eager(*place(x, value if is_number else like(x)))

        def values(x, place=place, like=like):
            return row.values(*place(x, like(x)))

        def side_slopes(seed, x, place=place, like=like, is_right=is_right):
            return [row.slopes(seed, *place(x, like(x)))[0 if is_right else 1]]

        slopes = side_slopes if row.slopes else None
        if is_number and value in (2, 3, -2):
            slopes = power_slopes(value)
        elif is_number and value == -0.5:
            slopes = rsqrt_slopes

        yield Case(
            f"{name} {value} on the {'right' if is_right else 'left'}",
            [x],
            build,
            eager,
            moves=row.moves,
            signs=not row.moves,
            # The greater of x and -inf is x, whose gradient is not shared with -inf.
            differentiable=not (row.moves and value in (float("inf"), -float("inf"))),
            values=values if row.values else None,
            slopes=slopes,
        )


def select_cases(_):
    for dtype, (name, (left, right)) in itertools.product(ALL, PAIRS.items()):
        a, b = (side(lambda shape, t=dtype: sample(shape, t)) for side in (left, right))
        for shape in {torch.broadcast_shapes(a.shape, b.shape), ()}:
            condition = sample(shape, torch.bool)
            yield Case(
                f"{NAMES[dtype]} {name} condition {tuple(shape)}",
                [condition, a, b],
                lambda g, c, a, b: g.select(c, a, b),
                torch.where,
                moves=True,
                broadcasts=True,
            )
    for dtype in ALL:
        a, b = special_pairs(dtype)
        condition = sample(a.shape, torch.bool)
        yield Case(
            f"{NAMES[dtype]} specials",
            [condition, a, b],
            lambda g, c, a, b: g.select(c, a, b),
            torch.where,
            moves=True,
        )
    for a, b in MIXED:
        yield Case(
            f"{NAMES[a]} with {NAMES[b]}",
            [sample((COLUMNS,), torch.bool), sample((COLUMNS,), a), sample((), b, 1)],
            lambda g, c, a, b: g.select(c, a, b),
            torch.where,
            moves=True,
            broadcasts=True,
        )


def saturating_cast(x, dtype):
    """PyTorch leaves the conversion of what does not fit undefined; the primitive saturates."""
    if not x.is_floating_point() or dtype not in INTEGERS:
        return x.to(dtype)
    limits = torch.iinfo(dtype)
    top = 2.0 ** (limits.bits - 1)
    inside = x.double().where((x.double() >= -top) & (x.double() < top), 0.0).to(dtype)
    return inside.masked_fill(x >= top, limits.max).masked_fill(x <= -top, limits.min)


def cast_cases(_):
    for dtype in ALL:
        labelled = [*with_layouts(ALL), *((f"{NAMES[t]} specials", specials(t)) for t in ALL)]
        for label, x in labelled:
            yield Case(
                f"{label} to {NAMES[dtype]}",
                [x],
                lambda g, x, t=dtype: g.cast(x, DTYPES[t]),
                lambda x, t=dtype: saturating_cast(x, t),
                moves=True,
                exact_gradient=True,
            )


ELEMENTWISE = {
    **dict.fromkeys(UNARY, unary_cases),
    **dict.fromkeys(BINARY, binary_cases),
    "select": select_cases,
    "cast": cast_cases,
}
