"""Rarer elementwise operators, and products of several tensors."""

from __future__ import annotations

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
