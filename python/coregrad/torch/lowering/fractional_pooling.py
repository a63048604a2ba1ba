"""Maxima of windows at pseudo-random places."""

from __future__ import annotations

from .pooling import scatter_back
from .table import each, lower


@lower("aten.fractional_max_pool2d.default", "aten.fractional_max_pool3d.default")
def fractional_max_pool(b, x, kernel, output_size, samples):
    rank = samples.shape[-1]
    return b.g.fractional_max_pool_with_indices(x, each(kernel, rank), b.shape[-rank:], samples)


@lower("aten.fractional_max_pool2d_backward.default")
def fractional_max_pool2d_backward(b, grad, x, kernel, output_size, indices):
    return scatter_back(b, grad, x, indices, 2)


@lower("aten.fractional_max_pool3d_backward.default")
def fractional_max_pool3d_backward(b, grad, x, kernel, output_size, indices):
    return scatter_back(b, grad, x, indices, 3)
