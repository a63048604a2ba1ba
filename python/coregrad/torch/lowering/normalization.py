"""Layer, group and batch normalisation and their gradients.

All three are the same computation over different dimensions: with y = (x - mean) * rstd the gradient is
rstd * (g - mean(g) - y * mean(g * y)), where g is the incoming gradient times the weight.
"""

from __future__ import annotations

from .table import at_least_one, lower


def _count(x, dims):
    n = 1
    for d in dims:
        n *= x.shape[d]
    return n


def _input_gradient(b, g, y, rstd, dims):
    n = at_least_one(_count(g, dims))
    mean_g = b.reduce("sum", g, dims, True) / n
    mean_gy = b.reduce("sum", g * y, dims, True) / n
    return rstd * (g - mean_g - y * mean_gy)


def _affine(y, weight, bias):
    if weight is not None:
        y = y * weight
    return y if bias is None else y + bias


# Layer norm


@lower("aten.native_layer_norm.default")
def native_layer_norm(b, x, normalized_shape, weight, bias, eps):
    dims = list(range(x.ndim - len(normalized_shape), x.ndim))
    y, mean, _, rstd = b.g.normalize(x, dims, eps)
    return _affine(y, weight, bias), mean, rstd


@lower("aten.native_layer_norm_backward.default")
def native_layer_norm_backward(b, grad, x, normalized_shape, mean, rstd, weight, bias, mask):
    outer = x.ndim - len(normalized_shape)
    inner, outer = list(range(outer, x.ndim)), list(range(outer))
    y = (x - mean) * rstd
    grad_x = grad_w = grad_bias = None
    if mask[0]:
        grad_x = _input_gradient(b, grad if weight is None else grad * weight, y, rstd, inner)
    if mask[1]:
        grad_w = b.reduce("sum", grad * y, outer)
    if mask[2]:
        grad_bias = b.reduce("sum", grad, outer)
    return grad_x, grad_w, grad_bias


# Group norm


def _grouped(b, x, batch, channels, spatial, groups):
    return b.g.reshape(x, [batch, groups, channels // groups, spatial])


def _per_group_channel(b, v, channels, groups):
    return None if v is None else b.g.reshape(v, [1, groups, channels // groups, 1])


@lower("aten.native_group_norm.default")
def native_group_norm(b, x, weight, bias, batch, channels, spatial, groups, eps):
    grouped = _grouped(b, x, batch, channels, spatial, groups)
    y, mean, _, rstd = b.g.normalize(grouped, [2, 3], eps)
    out = _affine(
        y,
        _per_group_channel(b, weight, channels, groups),
        _per_group_channel(b, bias, channels, groups),
    )
    small = [batch, groups]
    return b.g.reshape(out, list(x.shape)), b.g.reshape(mean, small), b.g.reshape(rstd, small)


@lower("aten.native_group_norm_backward.default")
def native_group_norm_backward(
    b, grad, x, mean, rstd, weight, batch, channels, spatial, groups, mask
):
    g = _grouped(b, grad, batch, channels, spatial, groups)
    mean, rstd = (b.g.reshape(v, [batch, groups, 1, 1]) for v in (mean, rstd))
    y = (_grouped(b, x, batch, channels, spatial, groups) - mean) * rstd
    grad_x = grad_w = grad_bias = None
    if mask[0]:
        weighted = g if weight is None else g * _per_group_channel(b, weight, channels, groups)
        grad_x = b.g.reshape(_input_gradient(b, weighted, y, rstd, [2, 3]), list(x.shape))
    if mask[1]:
        grad_w = b.g.reshape(b.g.sum(g * y, [0, 3], False), [channels])
    if mask[2]:
        grad_bias = b.g.reshape(b.g.sum(g, [0, 3], False), [channels])
    return grad_x, grad_w, grad_bias


# Batch norm


def _per_channel(b, v, ndim):
    return None if v is None else b.along(v, 1, ndim)


def _all_but_channels(x):
    return [d for d in range(x.ndim) if d != 1]


def _flat(b, v, x):
    return b.g.reshape(v, [x.shape[1]])


@lower("aten._native_batch_norm_legit_functional.default")
def batch_norm_functional(b, x, weight, bias, running_mean, running_var, training, momentum, eps):
    if not training:
        out, save_mean, save_rstd = batch_norm_inference(
            b, x, weight, bias, running_mean, running_var, momentum, eps
        )
        return out, save_mean, save_rstd, running_mean, running_var
    out, mean, rstd, variance = _batch_norm_training(b, x, weight, bias, eps)
    n = x.numel // x.shape[1]
    if n < 2:
        b.unsupported("batch norm over one value a channel")
    count, less = (b.g.literal(variance.dtype, k) for k in (n, n - 1))
    unbiased = variance * (count / less)
    new_mean = running_mean * (1 - momentum) + mean * momentum
    new_var = running_var * (1 - momentum) + unbiased * momentum
    return out, mean, rstd, new_mean, new_var


def _batch_norm_training(b, x, weight, bias, eps):
    y, mean, variance, rstd = b.g.normalize(x, _all_but_channels(x), eps)
    out = _affine(y, _per_channel(b, weight, x.ndim), _per_channel(b, bias, x.ndim))
    return out, _flat(b, mean, x), _flat(b, rstd, x), _flat(b, variance, x)


@lower("aten._native_batch_norm_legit.no_stats")
def batch_norm_no_stats(b, x, weight, bias, training, momentum, eps):
    return _batch_norm_training(b, x, weight, bias, eps)[:3]


@lower("aten._native_batch_norm_legit_no_training.default")
def batch_norm_inference(b, x, weight, bias, running_mean, running_var, momentum, eps):
    rstd = b.g.rsqrt(running_var + eps)
    scale = rstd if weight is None else rstd * weight
    out = (x - _per_channel(b, running_mean, x.ndim)) * _per_channel(b, scale, x.ndim)
    empty = b.g.full([0], x.dtype, 0)
    return out if bias is None else out + _per_channel(b, bias, x.ndim), empty, empty


@lower("aten.native_batch_norm_backward.default")
def native_batch_norm_backward(
    b, grad, x, weight, running_mean, running_var, save_mean, save_rstd, training, eps, mask
):
    dims = _all_but_channels(x)
    mean = save_mean if training else running_mean
    rstd = save_rstd if training else b.g.rsqrt(running_var + eps)
    rstd_wide = _per_channel(b, rstd, x.ndim)
    y = (x - _per_channel(b, mean, x.ndim)) * rstd_wide
    grad_x = grad_w = grad_bias = None
    if mask[0]:
        g = grad if weight is None else grad * _per_channel(b, weight, x.ndim)
        grad_x = _input_gradient(b, g, y, rstd_wide, dims) if training else g * rstd_wide
    if mask[1]:
        grad_w = b.reduce("sum", grad * y, dims)
    if mask[2]:
        grad_bias = b.reduce("sum", grad, dims)
    return grad_x, grad_w, grad_bias
