"""Moments, extremes with their positions, and orders: what PyTorch calls otherwise than CoreGrad."""

from __future__ import annotations

from .table import lower, move


@lower("aten.max.dim")
def max_dim(b, x, dim, keepdim=False):
    return b.g.amax(x, dim, keepdim), b.g.argmax(x, dim, keepdim)


@lower("aten.min.dim")
def min_dim(b, x, dim, keepdim=False):
    return b.g.amin(x, dim, keepdim), b.g.argmin(x, dim, keepdim)


@lower("aten.var.correction")
def var(b, x, dims=None, *, correction=None, keepdim=False):
    return b.g.var(x, dims, 1 if correction is None else correction, keepdim)


@lower("aten.std.correction")
def std(b, x, dims=None, *, correction=None, keepdim=False):
    return b.g.std(x, dims, 1 if correction is None else correction, keepdim)


@lower("aten.var_mean.correction")
def var_mean(b, x, dims=None, *, correction=None, keepdim=False):
    return b.g.var_mean(x, dims, 1 if correction is None else correction, keepdim)


@lower("aten.linalg_vector_norm.default")
def linalg_vector_norm(b, x, order=2, dims=None, keepdim=False, *, dtype=None):
    return b.g.norm(b.node(x, b.dtype), order, dims, keepdim)


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
