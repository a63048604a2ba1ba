"""Matrix products as contractions."""

from __future__ import annotations

import torch

from .table import lower


def label(number):
    """The dimension map of a plain label."""
    return (number, -1, 1, 0, 0, 1)


def check_product(b, *others):
    """What PyTorch's kernels check and the traced shapes do not tell: operands of one dtype, and an
    operand that can be broadcast even where it counts nothing.
    """
    operands = [t for t in b.traced_args if isinstance(t, torch.Tensor)]
    if any(t.dtype != operands[0].dtype for t in operands):
        b.unsupported("operands of different dtypes")
    for x in others:
        if not can_broadcast(x.shape, b.shape):
            b.unsupported("an operand that cannot be broadcast")


def can_broadcast(shape, other):
    """Whether a value of one shape expands to another."""
    return len(shape) <= len(other) and all(
        n in (1, m) for n, m in zip(reversed(shape), reversed(other))
    )


def _accumulate(b, x, product, beta, alpha):
    product = product if alpha == 1 else product * alpha
    if beta == 0:
        return product
    return (x if beta == 1 else x * beta) + product


@lower("aten.mm.default")
def mm(b, x, y):
    check_product(b)
    return b.g.matmul(x, y)


@lower("aten.bmm.default")
def bmm(b, x, y):
    check_product(b)
    return b.g.bmm(x, y)


@lower("aten.addmm.default")
def addmm(b, x, y, z, *, beta=1, alpha=1):
    check_product(b, x)
    return _accumulate(b, x, b.g.matmul(y, z), beta, alpha)


@lower("aten.baddbmm.default")
def baddbmm(b, x, y, z, *, beta=1, alpha=1):
    check_product(b, x)
    return _accumulate(b, x, b.g.bmm(y, z), beta, alpha)


@lower("aten.mv.default", "aten.dot.default")
def mv(b, x, y):
    check_product(b)
    return b.g.matmul(x, y)


EXACT_TERMS = 1024  #: products of two int8 numbers whose sum float32 holds exactly, in any order


@lower("aten._int_mm.default")
def int_mm(b, x, y):
    """[m, k] @ [k, n] of int8 numbers, summed in int32."""
    k = x.shape[1]
    total = None
    x, y = b.node(x, b.core_float32), b.node(y, b.core_float32)
    for first in range(0, k, EXACT_TERMS):
        last = min(first + EXACT_TERMS, k)
        part = b.g.matmul(b.g.narrow(x, 1, first, last), b.g.narrow(y, 0, first, last))
        part = b.node(part, b.core_int32)
        total = part if total is None else total + part
    return b.g.full(b.shape, b.core_int32, 0) if total is None else total
