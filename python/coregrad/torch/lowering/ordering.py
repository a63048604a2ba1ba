"""The element of a given rank, medians and modes, found in the sorted order.

Of equal elements PyTorch names any; here it is the first, for modes the last. NaN is the largest.
"""

from __future__ import annotations

from ..metadata import NARROW
from .search import scan
from .table import is_float, move


def _number_of_nan(b, x, dim):
    """As int64, the dimension kept; None where there can be none."""
    if not (is_float(x.dtype) or x.dtype in NARROW):
        return None
    return b.g.sum(b.g.cast(b.g.ne(x, x), b.core_int64), [dim], True)


def _ranked(b, x, dim, rank, keepdim):
    """The element at a place, or a node of places with the dimension kept, of the sorted order."""
    order = b.g.argsort(x, dim, False)
    if isinstance(rank, int):
        index = b.g.narrow(order, dim, rank, rank + 1)
    else:
        index = b.g.gather(order, dim, rank)
    value = b.g.gather(x, dim, index)
    return tuple(v if keepdim else b.g.squeeze(v, [dim]) for v in (value, index))


@move("aten.kthvalue.default")
def kthvalue(b, x, k, dim=-1, keepdim=False):
    if not x.ndim:
        return x, b.g.full([], b.core_int64, 0)
    return _ranked(b, x, b.dim(dim, x), k - 1, keepdim)


def _median(b, x, dim, keepdim, ignores_nan):
    if not x.ndim:
        return x, b.g.full([], b.core_int64, 0)
    dim = b.dim(dim, x)
    extent = x.shape[dim]
    if not x.numel:
        b.unsupported("the median of nothing")
    nan = _number_of_nan(b, x, dim)
    rank = (extent - 1) // 2
    if nan is None:
        return _ranked(b, x, dim, rank, keepdim)
    if ignores_nan:
        place = b.g.div(b.at_least(extent - 1 - nan, 0), b.full_like(nan, 2), "trunc")
    else:
        place = b.where(nan > 0, extent - nan, rank)
    return _ranked(b, x, dim, place, keepdim)


@move("aten.median.dim")
def median_dim(b, x, dim, keepdim=False):
    return _median(b, x, dim, keepdim, False)


@move("aten.nanmedian.dim")
def nanmedian_dim(b, x, dim, keepdim=False):
    return _median(b, x, dim, keepdim, True)


@move("aten.median.default")
def median(b, x):
    return _median(b, b.g.reshape(x, [-1]), 0, False, False)[0]


@move("aten.nanmedian.default")
def nanmedian(b, x):
    return _median(b, b.g.reshape(x, [-1]), 0, False, True)[0]


@move("aten.mode.default")
def mode(b, x, dim=-1, keepdim=False):
    if not x.ndim:
        return x, b.g.full([], b.core_int64, 0)
    if not x.numel:
        b.unsupported("the mode of nothing")
    dim = b.dim(dim, x)
    extent = x.shape[dim]
    order = b.g.argsort(x, dim, False)
    values = b.g.gather(x, dim, order)
    place = b.expand(b.along(b.g.iota(b.core_int64, extent), dim, x.ndim), x.shape)
    ends = b.g.full([n if d != dim else 1 for d, n in enumerate(x.shape)], b.core_bool, True)
    if extent > 1:
        before, after = b.g.narrow(values, dim, 0, extent - 1), b.g.narrow(values, dim, 1, extent)
        changes = b.g.ne(before, after)
        starts, ends = b.g.cat([ends, changes], dim), b.g.cat([changes, ends], dim)
        start = scan(b, [b.where(starts, place, 0)], dim, lambda a, c: [b.g.max(a[0], c[0])])[0]
    else:
        start = place
    # The first of the longest runs has the smallest value.
    longest = b.g.argmax(b.where(ends, place - start, -1), dim, True)
    index = b.g.gather(order, dim, longest)
    value = b.g.gather(x, dim, index)
    return tuple(v if keepdim else b.g.squeeze(v, [dim]) for v in (value, index))
