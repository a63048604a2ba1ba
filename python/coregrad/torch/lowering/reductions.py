"""Sums, extremes, moments, scans and orders."""

from __future__ import annotations

from .table import lower, move


@lower("aten.sum.default", "aten.sum.dim_IntList")
def sum_(b, x, dims=None, keepdim=False, *, dtype=None):
    return b.node(b.reduce("sum", b.node(x, b.dtype), b.dims(dims, x), keepdim), b.dtype)


@lower("aten.mean.default", "aten.mean.dim")
def mean(b, x, dims=None, keepdim=False, *, dtype=None):
    return _mean(b, b.node(x, b.dtype), b.dims(dims, x), keepdim)


def _count(x, dims):
    n = 1
    for d in dims:
        n *= x.shape[d]
    return n


def _mean(b, x, dims, keepdim):
    count = _count(x, dims)
    return b.reduce("sum", x, dims, keepdim) / (count if count else float("nan"))


@lower("aten.prod.default", "aten.prod.dim_int")
def prod(b, x, dim=None, keepdim=False, *, dtype=None):
    return b.node(b.reduce("prod", b.node(x, b.dtype), b.dims(dim, x), keepdim), b.dtype)


def _extreme(b, name, x, dims, keepdim=False):
    return b.reduce(name, x, b.dims(dims, x), keepdim)


@lower("aten.amax.default")
def amax(b, x, dims=(), keepdim=False):
    return _extreme(b, "reduce_max", x, dims, keepdim)


@lower("aten.amin.default")
def amin(b, x, dims=(), keepdim=False):
    return _extreme(b, "reduce_min", x, dims, keepdim)


@lower("aten.max.default")
def max_all(b, x):
    return _extreme(b, "reduce_max", x, None)


@lower("aten.min.default")
def min_all(b, x):
    return _extreme(b, "reduce_min", x, None)


def _logical(b, name, x, dims, keepdim, of_nothing):
    if not _count(x, b.dims(dims, x)):
        return b.g.full(b.shape, b.dtype, of_nothing)
    return b.node(_extreme(b, name, b.node(x, b.core_bool), dims, keepdim), b.dtype)


@lower("aten.any.default", "aten.any.dim", "aten.any.dims")
def any_(b, x, dims=None, keepdim=False):
    return _logical(b, "reduce_max", x, dims, keepdim, False)


@lower("aten.all.default", "aten.all.dim", "aten.all.dims")
def all_(b, x, dims=None, keepdim=False):
    return _logical(b, "reduce_min", x, dims, keepdim, True)


def _arg(b, name, x, dim, keepdim):
    if x.ndim == 0:
        return b.g.full([], b.core_int64, 0)
    if dim is None:
        flat = getattr(b.g, name)(b.g.reshape(x, [-1]), [0], False)
        return b.g.reshape(flat, b.shape)
    return getattr(b.g, name)(x, [b.dim(dim, x)], keepdim)


@lower("aten.argmax.default")
def argmax(b, x, dim=None, keepdim=False):
    return _arg(b, "argmax", x, dim, keepdim)


@lower("aten.argmin.default")
def argmin(b, x, dim=None, keepdim=False):
    return _arg(b, "argmin", x, dim, keepdim)


@lower("aten.max.dim")
def max_dim(b, x, dim, keepdim=False):
    return _extreme(b, "reduce_max", x, dim, keepdim), _arg(b, "argmax", x, dim, keepdim)


@lower("aten.min.dim")
def min_dim(b, x, dim, keepdim=False):
    return _extreme(b, "reduce_min", x, dim, keepdim), _arg(b, "argmin", x, dim, keepdim)


def _moments(b, x, dims, correction, keepdim):
    """Variance and mean in float64, as PyTorch's are: squares of float32 values may overflow."""
    x, dims = b.node(x, b.core_float64), b.dims(dims, x)
    correction = 1 if correction is None else correction
    average = _mean(b, x, dims, True) if x.ndim else x
    centred = x - average
    freedom = max(_count(x, dims) - correction, 0)
    variance = b.reduce("sum", centred * centred, dims, keepdim) / float(freedom)
    kept = average if keepdim or not x.ndim else b.g.squeeze(average, dims)
    return variance, kept


@lower("aten.var.correction")
def var(b, x, dims=None, *, correction=None, keepdim=False):
    return b.node(_moments(b, x, dims, correction, keepdim)[0], x.dtype)


@lower("aten.std.correction")
def std(b, x, dims=None, *, correction=None, keepdim=False):
    return b.node(b.g.sqrt(_moments(b, x, dims, correction, keepdim)[0]), x.dtype)


@lower("aten.var_mean.correction")
def var_mean(b, x, dims=None, *, correction=None, keepdim=False):
    return tuple(b.node(m, x.dtype) for m in _moments(b, x, dims, correction, keepdim))


@lower("aten.linalg_vector_norm.default")
def linalg_vector_norm(b, x, order=2, dims=None, keepdim=False, *, dtype=None):
    x = b.node(x, b.dtype)
    dims = b.dims(dims, x)
    if order != 0 and x.numel and _count(x, dims) == 1:  # squares and powers might overflow
        order = float("inf")
    if order == 2:
        return b.g.sqrt(b.reduce("sum", x * x, dims, keepdim))
    if order == 0:
        return b.reduce("sum", b.g.cast(b.g.ne(x, b.full_like(x, 0)), b.dtype), dims, keepdim)
    size = b.g.abs(x)
    if abs(order) == float("inf"):
        return b.reduce("reduce_max" if order > 0 else "reduce_min", size, dims, keepdim)
    if order == 1:
        return b.reduce("sum", size, dims, keepdim)
    total = b.reduce("sum", b.g.pow(size, b.full_like(size, order)), dims, keepdim)
    return b.g.pow(total, b.full_like(total, 1 / order))


@lower("aten.logsumexp.default")
def logsumexp(b, x, dims, keepdim=False):
    x, dims = b.node(x, b.dtype), b.dims(dims, x)
    if not x.ndim:
        return x
    if not x.numel:  # there is no maximum to subtract
        return b.g.full(b.shape, b.dtype, float("-inf"))
    top = b.g.reduce_max(x, dims, True)
    # An infinite maximum would give inf - inf.
    top = b.where(b.g.abs(top) < float("inf"), top, 0)
    total = b.g.log(b.g.sum(b.g.exp(x - top), dims, True)) + top
    return total if keepdim else b.g.squeeze(total, dims)


@lower("aten.cumsum.default")
def cumsum(b, x, dim, *, dtype=None):
    x = b.node(x, b.dtype)
    return b.node(b.g.cumsum(x, b.dim(dim, x)), b.dtype) if x.ndim else x


@lower("aten.cumprod.default")
def cumprod(b, x, dim, *, dtype=None):
    x = b.node(x, b.dtype)
    return b.node(b.g.cumprod(x, b.dim(dim, x)), b.dtype) if x.ndim else x


def _sorted(b, x, dim, descending):
    if not x.ndim:
        return x, b.g.full([], b.core_int64, 0)
    dim = b.dim(dim, x)
    order = b.g.argsort(x, dim, descending)
    return b.g.gather(x, dim, order), order


@move("aten.sort.default")
def sort(b, x, dim=-1, descending=False):
    return _sorted(b, x, dim, descending)


@move("aten.sort.stable")
def sort_stable(b, x, *, stable=False, dim=-1, descending=False):
    return _sorted(b, x, dim, descending)


@move("aten.argsort.default")
def argsort(b, x, dim=-1, descending=False):
    return _sorted(b, x, dim, descending)[1]


@move("aten.topk.default")
def topk(b, x, k, dim=-1, largest=True, sorted=True):
    values, order = _sorted(b, x, dim, largest)
    if not x.ndim:
        return values, order
    return b.g.narrow(values, dim, 0, k), b.g.narrow(order, dim, 0, k)
