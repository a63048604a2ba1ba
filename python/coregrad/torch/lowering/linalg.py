"""Dense linear algebra of small matrices, step by step with LAPACK's conventions.

Matrices stand in the last two dimensions. Each step of an elimination is a few elementwise nodes over
the whole batch. Pivots are numbers from 0 here, from 1 in results, as LAPACK has them.
"""

from __future__ import annotations

from .table import lower

LARGEST = 16  #: rows or columns of what is unrolled


def _require_small(b, *sizes):
    if max(sizes, default=0) > LARGEST:
        b.unsupported(f"matrices of more than {LARGEST} rows or columns")


def _T(b, x):
    return b.g.transpose(x, x.ndim - 2, x.ndim - 1)


def _block(b, x, rows, columns):
    """The half-open range of rows and of columns."""
    return b.g.narrow(b.g.narrow(x, x.ndim - 2, *rows), x.ndim - 1, *columns)


def _rows(b, x, start, stop):
    return b.g.narrow(x, x.ndim - 2, start, stop)


def _stack_rows(b, rows):
    return b.g.cat(rows, rows[0].ndim - 2) if len(rows) > 1 else rows[0]


def _stack_columns(b, columns):
    return b.g.cat(columns, columns[0].ndim - 1) if len(columns) > 1 else columns[0]


def _batch(b, *matrices):
    """All with the same leading dimensions."""
    shapes = [list(m.shape[:-2]) for m in matrices]
    rank = max(map(len, shapes))
    shapes = [[1] * (rank - len(s)) + s for s in shapes]
    common = [next((n for n in extents if n != 1), 1) for extents in zip(*shapes)]
    return [b.expand(m, [*common, *m.shape[-2:]]) for m in matrices]


def _identity(b, like, n):
    row, column = (b.along(b.g.iota(b.core_int64, n), i, 2) for i in range(2))
    return b.expand(b.g.cast(b.g.eq(row, column), like.dtype), [*like.shape[:-2], n, n])


def _zeros(b):
    """Results without elements, or of sums without terms."""
    if isinstance(b.result, (tuple, list)):
        return tuple(b.g.full(list(r.shape), b.core_dtype(r.dtype), 0) for r in b.result)
    return b.g.full(b.shape, b.dtype, 0)


def _row_numbers(b, x):
    return b.along(b.g.iota(b.core_int64, x.shape[-2]), 0, 2)


def _swapped(b, x, row, other):
    """X with a row and another one, a node [.., 1, 1], exchanged."""
    number = _row_numbers(b, x)
    is_other = b.expand(b.g.eq(number, other), x.shape)
    taken = b.g.sum(b.where(is_other, x, 0), [x.ndim - 2], True)
    given = _rows(b, x, row, row + 1)
    is_row = b.expand(b.g.eq(number, b.g.full([1, 1], b.core_int64, row)), x.shape)
    x = b.where(is_other, b.expand(given, x.shape), x)
    return b.where(is_row, b.expand(taken, x.shape), x)


def _first_failure(b, info, failed, step):
    """The number of the first step that failed, from 1; 0 for none."""
    number = b.g.cast(failed, b.core_int64) * (step + 1)
    return number if info is None else b.where(b.g.eq(info, b.full_like(info, 0)), number, info)


# LU with row exchanges


def _lu(b, a):
    """L and U in one matrix, pivots [.., k, 1], and the number of the first zero pivot."""
    rows, columns = a.shape[-2:]
    steps = min(rows, columns)
    done, pivots, info = [], [], None
    for j in range(steps):
        column = b.g.abs(_block(b, a, (j, rows), (j, j + 1)))
        pivot = b.g.argmax(column, a.ndim - 2, True) + j
        pivots.append(pivot)
        if j < rows - 1:
            a = _swapped(b, a, j, pivot)
        top = _block(b, a, (j, j + 1), (0, columns))
        done.append(top)
        head = _block(b, a, (j, j + 1), (j, j + 1))
        zero = b.g.eq(head, b.full_like(head, 0))
        info = _first_failure(b, info, zero, j)
        if j == rows - 1:
            break
        factor = _block(b, a, (0, rows), (j, j + 1)) / b.where(zero, 1, head)
        below = _row_numbers(b, a) > j
        column_number = b.along(b.g.iota(b.core_int64, columns), 1, 2)
        at = b.g.eq(column_number, b.full_like(column_number, j))
        changed = b.where(column_number > j, a - factor * top, b.where(at, factor, a))
        a = b.where(b.expand(below, a.shape), changed, a)
    if rows > steps:
        done.append(_rows(b, a, steps, rows))
    return _stack_rows(b, done), _stack_rows(b, pivots), info


def _solve_triangular(b, a, y, upper, unit=False):
    """X with a @ x = y, of one batch."""
    n = a.shape[-1]
    solved = [None] * n
    for step in range(n):
        j = n - 1 - step if upper else step
        at = y.shape[-2] - 1 if upper else 0
        x = _rows(b, y, at, at + 1)
        if not unit:
            x = x / _block(b, a, (j, j + 1), (j, j + 1))
        solved[j] = x
        rest, there = ((0, j), (0, at)) if upper else ((j + 1, n), (1, y.shape[-2]))
        if rest[0] < rest[1]:
            y = _rows(b, y, *there) - _block(b, a, rest, (j, j + 1)) * x
    return _stack_rows(b, solved)


def _exchange(b, x, pivots, backwards=False):
    """The row exchanges of an elimination, done to another matrix, or undone."""
    n = pivots.shape[-2]
    for j in reversed(range(n)) if backwards else range(n):
        x = _swapped(b, x, j, _rows(b, pivots, j, j + 1))
    return x


def _lu_solve(b, lu, pivots, y, adjoint):
    """X with a @ x = y, or a.T @ x = y, of one batch."""
    if adjoint:
        y = _solve_triangular(b, _T(b, lu), y, upper=False)
        y = _solve_triangular(b, _T(b, lu), y, upper=True, unit=True)
        return _exchange(b, y, pivots, backwards=True)
    y = _solve_triangular(b, lu, _exchange(b, y, pivots), upper=False, unit=True)
    return _solve_triangular(b, lu, y, upper=True)


def _pivot_result(b, pivots):
    return b.g.cast(b.g.reshape(pivots, list(pivots.shape[:-1])) + 1, b.core_int32)


def _pivot_nodes(b, pivots):
    return b.g.unsqueeze(b.g.cast(pivots, b.core_int64) - 1, pivots.ndim)


def _info_result(b, info):
    return b.g.cast(b.g.reshape(info, list(info.shape[:-2])), b.core_int32)


@lower("aten.linalg_lu_factor_ex.default")
def lu_factor(b, a, *, pivot=True, check_errors=False):
    _require_small(b, *a.shape[-2:])
    if not pivot:
        b.unsupported("LU without pivots")
    if not a.numel:
        return _zeros(b)
    lu, pivots, info = _lu(b, a)
    return lu, _pivot_result(b, pivots), _info_result(b, info)


def _triangles(b, lu):
    """L with ones on its diagonal, and U."""
    rows, columns = lu.shape[-2:]
    k = min(rows, columns)
    row, column = _row_numbers(b, lu), b.along(b.g.iota(b.core_int64, columns), 1, 2)
    lower_part = b.where(b.expand(column < row, lu.shape), lu, 0)
    below = _block(b, lower_part, (0, rows), (0, k))
    diagonal = b.g.eq(row, b.along(b.g.iota(b.core_int64, k), 1, 2))
    above = b.where(b.expand(row <= column, lu.shape), lu, 0)
    return below + b.g.cast(diagonal, lu.dtype), _block(b, above, (0, k), (0, columns))


def _permutation(b, pivots, n, like):
    """P with a = P @ L @ U."""
    return _exchange(b, _identity(b, like, n), pivots, backwards=True)


@lower("aten.lu_unpack.default")
def lu_unpack(b, lu, pivots, unpack_data=True, unpack_pivots=True):
    _require_small(b, *lu.shape[-2:])
    p, below, above = _zeros(b)
    if lu.numel and unpack_data:
        below, above = _triangles(b, lu)
    if p.numel and unpack_pivots:
        pivots = _pivot_nodes(b, pivots)
        p = (
            _permutation(b, pivots, lu.shape[-2], lu)
            if pivots.numel
            else _identity(b, lu, lu.shape[-2])
        )
    return p, below, above


@lower("aten.linalg_lu.default")
def linalg_lu(b, a, *, pivot=True):
    _require_small(b, *a.shape[-2:])
    if not pivot:
        b.unsupported("LU without pivots")
    if not a.numel:
        p, below, above = _zeros(b)
        return _identity(b, a, a.shape[-2]) if p.numel else p, below, above
    lu, pivots, _ = _lu(b, a)
    return _permutation(b, pivots, a.shape[-2], a), *_triangles(b, lu)


@lower("aten.linalg_lu_solve.default")
def lu_solve(b, lu, pivots, y, *, left=True, adjoint=False):
    _require_small(b, *lu.shape[-2:])
    if not y.numel or not lu.numel:
        return _zeros(b)
    pivots = _pivot_nodes(b, pivots)
    if not left:
        y, adjoint = _T(b, y), not adjoint
    lu, pivots, y = _batch(b, lu, pivots, y)
    x = _lu_solve(b, lu, pivots, y, adjoint)
    return x if left else _T(b, x)


def _lu_as_saved(b, a):
    """The elimination of what PyTorch eliminates: of the transpose where the matrix lies row by row."""
    turned = b.traced_args[0].is_contiguous()
    return *_lu(b, _T(b, a) if turned else a), turned


@lower("aten.linalg_inv_ex.default")
def inverse(b, a, *, check_errors=False):
    _require_small(b, *a.shape[-2:])
    if not a.numel:
        return _zeros(b)
    lu, pivots, info = _lu(b, a)
    result = _lu_solve(b, lu, pivots, _identity(b, a, a.shape[-1]), False)
    return result, _info_result(b, info)


@lower("aten._linalg_solve_ex.default")
def solve(b, a, y, *, left=True, check_errors=False):
    _require_small(b, *a.shape[-2:])
    if not a.numel:
        return _zeros(b)
    is_vector = y.ndim == 1 or (a.ndim - 1 == y.ndim and list(y.shape) == list(a.shape[:-1]))
    y = b.g.unsqueeze(y, y.ndim) if is_vector else y
    lu, pivots, info = _lu(b, a)
    if not y.numel:
        return _zeros(b)[0], lu, _pivot_result(b, pivots), _info_result(b, info)
    if not left:
        y = _T(b, y)
    wide_lu, wide_pivots, y = _batch(b, lu, pivots, y)
    x = _lu_solve(b, wide_lu, wide_pivots, y, not left)
    x = x if left else _T(b, x)
    x = b.g.reshape(x, b.shape) if is_vector else x
    return x, lu, _pivot_result(b, pivots), _info_result(b, info)


def _diagonal(b, x):
    n = x.shape[-1]
    hit = b.g.eq(_row_numbers(b, x), b.along(b.g.iota(b.core_int64, n), 1, 2))
    return b.g.sum(b.where(b.expand(hit, x.shape), x, 0), [x.ndim - 1], False)


def _sign_of(b, pivots, dtype):
    """-1 for an odd number of exchanges, else 1."""
    moved = b.g.ne(
        b.g.reshape(pivots, list(pivots.shape[:-1])), b.g.iota(b.core_int64, pivots.shape[-2])
    )
    odd = b.g.sum(b.g.cast(moved, b.core_int64), [pivots.ndim - 2], False)
    odd = b.g.rem(odd, b.full_like(odd, 2))
    return 1.0 - b.g.cast(odd, dtype) * 2.0


@lower("aten._linalg_det.default")
def det(b, a):
    _require_small(b, *a.shape[-2:])
    result, *rest = _zeros(b)
    if not a.numel:
        return result + 1.0, *rest
    lu, pivots, _, _ = _lu_as_saved(b, a)
    value = b.g.prod(_diagonal(b, lu), [a.ndim - 2], False) * _sign_of(b, pivots, a.dtype)
    return value, lu, _pivot_result(b, pivots)


@lower("aten._linalg_slogdet.default")
def slogdet(b, a):
    _require_small(b, *a.shape[-2:])
    sign, *rest = _zeros(b)
    if not a.numel:
        return sign + 1.0, *rest
    lu, pivots, _, _ = _lu_as_saved(b, a)
    diagonal = _diagonal(b, lu)
    sign = b.g.prod(b.g.sign(diagonal), [a.ndim - 2], False) * _sign_of(b, pivots, a.dtype)
    size = b.g.sum(b.g.log(b.g.abs(diagonal)), [a.ndim - 2], False)
    return sign, size, lu, _pivot_result(b, pivots)


# Triangles and Cholesky


def _triangular(b, a, y, upper, left, unit):
    if not y.numel or not a.numel:
        return b.g.full(b.shape, b.dtype, 0)
    a, y = (a, y) if left else (_T(b, a), _T(b, y))
    a, y = _batch(b, a, y)
    x = _solve_triangular(b, a, y, upper == left, unit)
    return x if left else _T(b, x)


@lower("aten.linalg_solve_triangular.default")
def linalg_solve_triangular(b, a, y, *, upper, left=True, unitriangular=False):
    _require_small(b, *a.shape[-2:])
    return _triangular(b, a, y, upper, left, unitriangular)


@lower("aten.triangular_solve.default")
def triangular_solve(b, y, a, upper=True, transpose=False, unitriangular=False):
    _require_small(b, *a.shape[-2:])
    if not y.numel or not a.numel:
        return _zeros(b)
    a, y = _batch(b, a, y)
    if transpose:
        return _solve_triangular(b, _T(b, a), y, not upper, unitriangular), a
    return _solve_triangular(b, a, y, upper, unitriangular), a


def _cholesky(b, a):
    """L of the lower triangle, and the number of the first step that failed."""
    n = a.shape[-1]
    columns, info = [], None
    for j in range(n):
        head = _block(b, a, (0, 1), (0, 1))
        info = _first_failure(b, info, b.g.not_(head > 0), j)
        column = _block(b, a, (0, n - j), (0, 1)) / b.g.sqrt(head)
        low, none = [0] * a.ndim, [0] * a.ndim
        low[-2] = j
        columns.append(b.g.pad(column, low, none, none, 0) if j else column)
        if j < n - 1:
            rest = _rows(b, column, 1, n - j)
            a = _block(b, a, (1, n - j), (1, n - j)) - rest * _T(b, rest)
    return _stack_columns(b, columns), info


@lower("aten.linalg_cholesky_ex.default")
def cholesky_ex(b, a, *, upper=False, check_errors=False):
    _require_small(b, *a.shape[-2:])
    if not a.numel:
        return _zeros(b)
    factor, info = _cholesky(b, _T(b, a) if upper else a)
    return _T(b, factor) if upper else factor, _info_result(b, info)


@lower("aten.cholesky.default")
def cholesky(b, a, upper=False):
    _require_small(b, *a.shape[-2:])
    if not a.numel:
        return _zeros(b)
    factor, info = _cholesky(b, _T(b, a) if upper else a)
    # PyTorch's error: here a bad index.
    ones = b.g.full([1, 1, 1], b.core_int64, 0)
    failed = b.g.reshape(b.g.cast(b.g.ne(info, b.full_like(info, 0)), b.core_int64), [-1, 1, 1])
    checked = b.g.cast(b.g.gather(b.expand(ones, [failed.shape[0], 1, 1]), 1, failed), a.dtype)
    factor = factor + b.g.reshape(checked, list(info.shape))
    return _T(b, factor) if upper else factor


@lower("aten.cholesky_solve.default")
def cholesky_solve(b, y, factor, upper=False):
    _require_small(b, *factor.shape[-2:])
    if not y.numel or not factor.numel:
        return b.g.full(b.shape, b.dtype, 0)
    factor, y = _batch(b, _T(b, factor) if upper else factor, y)
    y = _solve_triangular(b, factor, y, upper=False)
    return _solve_triangular(b, _T(b, factor), y, upper=True)


@lower("aten.cholesky_inverse.default")
def cholesky_inverse(b, factor, upper=False):
    return cholesky_solve(b, _identity(b, factor, factor.shape[-1]), factor, upper)


# QR by Householder's reflections


def _reflections(b, a):
    """R with the reflections' vectors below its diagonal, and their factors [.., k, 1]."""
    rows, columns = a.shape[-2:]
    steps = min(rows, columns)
    number = _row_numbers(b, a)
    packed, factors = [], []
    for j in range(steps):
        column = _block(b, a, (0, rows), (j, j + 1))
        head = _rows(b, column, j, j + 1)
        below = b.where(b.expand(number > j, column.shape), column, 0)
        rest = b.g.sum(below * below, [a.ndim - 2], True)
        flat = b.g.eq(rest, b.full_like(rest, 0))
        size = b.g.sqrt(head * head + rest)
        value = b.where(head < 0, size, -size)
        value = b.where(flat, head, value)
        factor = b.where(flat, 0, (value - head) / b.where(flat, 1, value))
        vector = below / b.where(flat, 1, head - value)
        at = b.expand(b.g.eq(number, b.full_like(number, j)), column.shape)
        above = b.where(b.expand(number < j, column.shape), column, 0)
        packed.append(b.where(at, b.expand(value, column.shape), above + vector))
        factors.append(factor)
        a = _reflected(b, a, b.where(at, 1, vector), factor)
    if columns > steps:
        packed.append(_block(b, a, (0, rows), (steps, columns)))
    return _stack_columns(b, packed), _stack_rows(b, factors)


def _reflected(b, x, vector, factor):
    """(1 - factor * v @ v.T) @ x"""
    along = b.g.sum(vector * x, [x.ndim - 2], True)
    return x - vector * (factor * along)


def _vector(b, packed, j):
    number = _row_numbers(b, packed)
    column = _block(b, packed, (0, packed.shape[-2]), (j, j + 1))
    column = b.where(b.expand(number > j, column.shape), column, 0)
    return b.where(b.expand(b.g.eq(number, b.full_like(number, j)), column.shape), 1, column)


def _apply_reflections(b, packed, factors, x, forwards):
    count = factors.shape[-2]
    for j in range(count) if forwards else reversed(range(count)):
        x = _reflected(b, x, _vector(b, packed, j), _rows(b, factors, j, j + 1))
    return x


def _upper(b, x):
    column = b.along(b.g.iota(b.core_int64, x.shape[-1]), 1, 2)
    return b.where(b.expand(_row_numbers(b, x) <= column, x.shape), x, 0)


@lower("aten.linalg_qr.default")
def qr(b, a, mode="reduced"):
    _require_small(b, *a.shape[-2:])
    q, r = _zeros(b)
    rows = a.shape[-2]
    if not a.numel:
        return _identity(b, a, rows) if q.numel else q, r
    packed, factors = _reflections(b, a)
    r = _rows(b, _upper(b, packed), 0, r.shape[-2])
    if mode == "r":
        return q, r
    start = _block(b, _identity(b, a, rows), (0, rows), (0, q.shape[-1]))
    return _apply_reflections(b, packed, factors, start, False), r


@lower("aten.geqrf.default")
def geqrf(b, a):
    _require_small(b, *a.shape[-2:])
    if not a.numel:
        return _zeros(b)
    packed, factors = _reflections(b, a)
    return packed, b.g.reshape(factors, list(factors.shape[:-1]))


@lower("aten.linalg_householder_product.default")
def householder_product(b, packed, factors):
    rows, columns = packed.shape[-2:]
    _require_small(b, rows, columns)
    if not packed.numel:
        return _zeros(b)
    start = _block(b, _identity(b, packed, rows), (0, rows), (0, columns))
    if not factors.numel:
        return start
    factors = b.g.unsqueeze(factors, factors.ndim)
    return _apply_reflections(b, packed, factors, start, False)


@lower("aten.ormqr.default")
def ormqr(b, packed, factors, x, left=True, transpose=False):
    _require_small(b, *packed.shape[-2:])
    if not x.numel or not factors.numel:
        return x
    factors = b.g.unsqueeze(factors, factors.ndim)
    if left:
        return _apply_reflections(b, packed, factors, x, transpose)
    return _T(b, _apply_reflections(b, packed, factors, _T(b, x), not transpose))
