"""Random numbers: counter-based, so that a seed drawn from PyTorch's generator decides them all."""

from __future__ import annotations

import math

from .table import lower, move


def _keep(b, shape, dtype, p):
    """True with probability 1 - p."""
    return b.uniform(dtype, shape) >= p


@lower("aten.native_dropout.default")
def native_dropout(b, x, p, train):
    if train is False or p == 0:
        return x, b.g.full(list(x.shape), b.core_bool, True)
    if p == 1:
        return b.full_like(x, 0), b.g.full(list(x.shape), b.core_bool, False)
    mask = _keep(b, x.shape, x.dtype, p)
    return b.where(mask, x * (1 / (1 - p)), 0), mask


@lower("aten.native_dropout_backward.default")
def native_dropout_backward(b, grad, mask, scale):
    return b.where(b.node(mask, b.core_bool), b.node(grad, b.dtype) * scale, 0)


@move("aten.rand.default", "aten.rand_like.default")
def rand(b, *_, **__):
    return b.uniform(b.dtype, b.shape)


@lower("aten.randn.default", "aten.randn_like.default")
def randn(b, *_, **__):
    return _normal(b, b.dtype)


def _normal(b, dtype):
    # Box and Muller's transform; 1 - u keeps the logarithm finite.
    radius = b.g.sqrt(b.g.log(1.0 - b.uniform(dtype, b.shape)) * -2.0)
    return radius * b.g.cos(b.uniform(dtype, b.shape) * (2 * math.pi))


@lower("aten.bernoulli.p")
def bernoulli(b, x, p=0.5, *, generator=None):
    return b.node(b.uniform(b.core_float32, b.shape) < p, b.dtype)


def _uniform64(b):
    """In float64, so that neither end nor a rounding is hit more often than it should."""
    return b.uniform(b.core_float64, b.shape)


def _normal64(b):
    return _normal(b, b.core_float64)


@lower("aten.uniform.default")
def uniform(b, x, low=0.0, high=1.0, *, generator=None):
    return b.uniform(b.dtype, b.shape) * (high - low) + low


@lower("aten.exponential.default")
def exponential(b, x, rate=1.0, *, generator=None):
    return b.node(b.g.log(1.0 - _uniform64(b)) * (-1.0 / rate), b.dtype)


@lower("aten.cauchy.default")
def cauchy(b, x, median=0.0, sigma=1.0, *, generator=None):
    return b.node(b.g.tan((_uniform64(b) - 0.5) * math.pi) * sigma + median, b.dtype)


@lower("aten.geometric.default")
def geometric(b, x, p, *, generator=None):
    if not 0 < p < 1:
        b.unsupported("a geometric distribution of p = 1")
    tries = b.g.ceil(b.g.log(1.0 - _uniform64(b)) / math.log1p(-p))
    return b.node(b.at_least(tries, 1), b.dtype)


@lower("aten.log_normal.default")
def log_normal(b, x, mean=1.0, std=2.0, *, generator=None):
    return b.node(b.g.exp(_normal64(b) * std + mean), b.dtype)


@lower("aten.normal_functional.default")
def normal_functional(b, x, mean=0.0, std=1.0, *, generator=None):
    return b.node(_normal64(b) * std + mean, b.dtype)


@lower(
    "aten.normal.Tensor_float",
    "aten.normal.float_Tensor",
    "aten.normal.Tensor_Tensor",
    "aten.normal.float_float",
)
def normal(b, mean, std=1.0, *_, **__):
    mean, std = b.node(mean, b.core_float64), b.node(std, b.core_float64)
    return b.node(_normal64(b) * std + mean, b.dtype)


def _integers(b, low, high):
    if not 0 < high - low <= 2**40:
        b.unsupported("random integers of a wide range")
    value = b.g.floor(_uniform64(b) * float(high - low))
    return b.node(b.node(value, b.core_int64) + low, b.dtype)


@lower("aten.randint.default")
def randint(b, high, size, **_):
    return _integers(b, 0, high)


@lower("aten.randint.low")
def randint_low(b, low, high, size, **_):
    return _integers(b, low, high)


@lower("aten.randint_like.default")
def randint_like(b, x, high, **_):
    return _integers(b, 0, high)


@lower("aten.randint_like.low_dtype")
def randint_like_low(b, x, low, high, **_):
    return _integers(b, low, high)


@lower("aten.randperm.default")
def randperm(b, n, **_):
    if not n:
        return b.g.full([0], b.dtype, 0)
    return b.node(b.g.argsort(b.uniform(b.core_float64, [n]), 0, False), b.dtype)


@lower("aten.multinomial.default")
def multinomial(b, x, num_samples, replacement=False, *, generator=None):
    weights, dim, extent = b.node(x, b.core_float64), x.ndim - 1, x.shape[-1]
    if not math.prod(b.shape) or not x.numel:
        b.unsupported("a sample of nothing")
    ends = b.g.cumsum(weights, dim)
    total = b.g.narrow(ends, dim, extent - 1, extent)
    if replacement:
        chosen = b.at_most(b.g.searchsorted(ends, _uniform64(b) * total, True), extent - 1)
    else:  # the order in which events of these rates come
        time = -b.g.log(1.0 - b.uniform(b.core_float64, x.shape)) / weights
        chosen = b.g.narrow(b.g.argsort(time, dim, False), dim, 0, num_samples)
    # What PyTorch raises an error for: here a bad index.
    right = (b.g.reduce_min(weights, [dim], True) >= 0) & (total > 0) & (total < math.inf)
    places = b.expand(b.along(b.g.iota(b.core_int64, extent), dim, x.ndim), x.shape)
    return b.g.gather(places, dim, b.where(b.expand(right, b.shape), chosen, extent))


@lower("aten.rrelu_with_noise_functional.default")
def rrelu_with_noise(b, x, noise, lower=1 / 8, upper=1 / 3, training=False, generator=None):
    if not training:
        return b.where(x <= 0, x * ((lower + upper) / 2), x), noise
    slope = b.uniform(x.dtype, b.shape) * (upper - lower) + lower
    return b.where(x <= 0, x * slope, x), b.where(x <= 0, slope, 1)
