"""Rarer elementwise operators, and products of several tensors."""

from __future__ import annotations

import math

import torch

from .matmul import check_product
from .table import is_float, lower


@lower("aten.signbit.default")
def signbit(b, x):
    if is_float(x.dtype):
        b.unsupported("signbit of floats: the sign of a NaN")
    return b.g.signbit(x)


@lower("aten.addmv.default")
def addmv(b, x, matrix, vector, *, beta=1, alpha=1):
    check_product(b, x)
    product = b.g.sum(matrix * b.along(vector, 1, 2), [1], False) if matrix.numel else None
    product = b.g.full(b.shape, b.dtype, 0) if product is None else product * alpha
    return product if beta == 0 else b.expand(x, b.shape) * beta + product


@lower("aten.addbmm.default")
def addbmm(b, x, y, z, *, beta=1, alpha=1):
    check_product(b, x)
    product = b.g.sum(b.g.bmm(y, z), [0], False) * alpha
    return product if beta == 0 else b.expand(x, b.shape) * beta + product


@lower("aten._trilinear.default")
def trilinear(b, x, y, z, expand1, expand2, expand3, sumdim, unroll_dim=1):
    for expand, which in ((expand1, 0), (expand2, 1), (expand3, 2)):
        for dim in sorted(expand):
            value = (x, y, z)[which]
            value = b.g.unsqueeze(value, dim)
            x, y, z = (value if i == which else v for i, v in enumerate((x, y, z)))
    # Two products, each summed as soon as it can be: so PyTorch does it, and so it is two contractions.
    pair = b.reduce("sum", x * y, sorted(set(sumdim) & set(expand3)), keepdim=True)
    total = b.reduce("sum", pair * z, sorted(set(sumdim) - set(expand3)), keepdim=True)
    kept = [n for i, n in enumerate(total.shape) if i not in sumdim]
    return b.g.reshape(total, kept)


def _power_of_two(b, exponent):
    """2 ** n in float64 for whole numbers -1022 to 1023, exactly: a product of powers by its digits."""
    size, value = b.g.abs(exponent), None
    for digit in range(10):
        half = b.g.floor(size / 2.0)
        factor = b.where(size - half * 2.0 > 0, 2.0**2**digit, b.full_like(size, 1))
        value = factor if value is None else value * factor
        size = half
    return b.where(exponent < 0, b.g.reciprocal(value), value)


def _frexp(b, x):
    """Fractions in [0.5, 1) and exponents of finite float64 numbers."""
    tiny = b.g.abs(x) < 2.0**-1000
    scaled = b.where(tiny, x * 2.0**64, x)
    size = b.where(b.g.eq(scaled, b.full_like(x, 0)), 1, b.g.abs(scaled))
    exponent = b.g.floor(b.g.log2(size)) + 1.0
    for _ in range(2):  # where the logarithm was rounded over a power of two
        half = _power_of_two(b, exponent - 1.0)
        exponent = b.where(
            size < half, exponent - 1.0, b.where(size / 2.0 >= half, exponent + 1.0, exponent)
        )
    fraction = scaled / _power_of_two(b, exponent - 1.0) / 2.0
    return fraction, b.where(tiny, exponent - 64.0, exponent)


@lower("aten.frexp.Tensor")
def frexp(b, x):
    wide = b.node(x, b.core_float64)
    special = b.g.not_(b.g.abs(wide) < math.inf) | b.g.eq(wide, b.full_like(wide, 0))
    fraction, exponent = _frexp(b, b.where(special, 1, wide))
    exponent = b.g.cast(b.where(special, 0, exponent), b.core_int32)
    return b.where(special, x, b.node(fraction, x.dtype)), exponent


#: Bits of a fraction, and the exponent `frexp` gives the smallest normal number.
FORMATS = {
    torch.float64: (53, -1021),
    torch.float32: (24, -125),
    torch.bfloat16: (8, -125),
    torch.float16: (11, -13),
}


@lower("aten.nextafter.default")
def nextafter(b, x, y):
    bits, lowest = FORMATS[b.result.dtype]
    largest = torch.finfo(b.result.dtype).max
    x, y = (b.expand(b.node(v, b.core_float64), b.shape) for v in (x, y))
    finite = b.g.abs(x) < math.inf
    zero = b.g.eq(x, b.full_like(x, 0))
    fraction, exponent = _frexp(b, b.where(finite & b.g.not_(zero), x, 1))
    exponent = b.where(zero, lowest, exponent)
    grows = b.g.eq(b.g.cast(x < y, b.core_int32), b.g.cast(x > 0, b.core_int32)) | zero
    at_end = b.g.eq(b.g.abs(fraction), b.full_like(x, 0.5)) & b.g.not_(grows) & (exponent > lowest)
    place = b.at_least(exponent, lowest) - b.where(at_end, float(bits + 1), b.full_like(x, bits))
    half = b.g.floor(place / 2.0)
    step = _power_of_two(b, half) * _power_of_two(b, place - half)
    value = x + b.where(x < y, step, -step)
    value = b.where(finite, value, b.g.sign(x) * largest)
    value = b.where(b.g.eq(x, y), y, value)
    unordered = b.g.ne(x, x) | b.g.ne(y, y)
    return b.node(b.where(unordered, math.nan, value), b.dtype)
