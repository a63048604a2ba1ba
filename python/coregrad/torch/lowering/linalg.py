"""Dense linear algebra: what PyTorch's overloads give beside the operators' results. Nodes that two
operators share, as the elimination behind a solution and its factors, are one.
"""

from __future__ import annotations

from .table import lower


def _require_pivots(b, pivot):
    if not pivot:
        b.unsupported("LU without pivots")


@lower("aten.linalg_lu_factor_ex.default")
def lu_factor(b, a, *, pivot=True, check_errors=False):
    _require_pivots(b, pivot)
    return b.g.lu_factor_ex(a)


@lower("aten.linalg_lu.default")
def linalg_lu(b, a, *, pivot=True):
    _require_pivots(b, pivot)
    return b.g.lu(a)


@lower("aten.linalg_inv_ex.default")
def inverse(b, a, *, check_errors=False):
    return b.g.inv(a), b.g.lu_factor_ex(a)[2]


@lower("aten._linalg_solve_ex.default")
def solve(b, a, y, *, left=True, check_errors=False):
    return b.g.solve(a, y, left), *b.g.lu_factor_ex(a)


def _as_saved(b, a):
    """What PyTorch eliminates: the transpose where the matrix lies row by row."""
    return b.g.transpose(a, -2, -1) if b.traced_args[0].is_contiguous() else a


@lower("aten._linalg_det.default")
def det(b, a):
    a = _as_saved(b, a)
    return b.g.det(a), *b.g.lu_factor(a)


@lower("aten._linalg_slogdet.default")
def slogdet(b, a):
    a = _as_saved(b, a)
    return *b.g.slogdet(a), *b.g.lu_factor(a)


@lower("aten.triangular_solve.default")
def triangular_solve(b, y, a, upper=True, transpose=False, unitriangular=False):
    turned = b.g.transpose(a, -2, -1) if transpose else a
    x = b.g.solve_triangular(turned, y, upper != transpose, unitriangular=unitriangular)
    return x, b.expand(a, b.result[1].shape)


@lower("aten.linalg_cholesky_ex.default")
def cholesky_ex(b, a, *, upper=False, check_errors=False):
    return b.g.cholesky_ex(b.g.detach(a), upper)


@lower("aten.cholesky.default")
def cholesky(b, a, upper=False):
    factor, info = b.g.cholesky_ex(b.g.detach(a), upper)
    if not a.numel:
        return factor
    # PyTorch's error: here a bad index.
    ones = b.g.full([1, 1, 1], b.core_int64, 0)
    failed = b.g.reshape(b.g.cast(b.g.ne(info, b.full_like(info, 0)), b.core_int64), [-1, 1, 1])
    checked = b.g.cast(b.g.gather(b.expand(ones, [failed.shape[0], 1, 1]), 1, failed), a.dtype)
    return factor + b.g.reshape(checked, [*info.shape, 1, 1])
