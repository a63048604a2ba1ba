"""Random numbers: counter-based, so that a seed drawn from PyTorch's generator decides them all."""

from __future__ import annotations

import math

from .table import lower, move


@lower("aten.native_dropout.default")
def native_dropout(b, x, p, train):
    if train is False or p == 0:
        return x, b.g.full(list(x.shape), b.core_bool, True)
    if p == 1:
        return b.full_like(x, 0), b.g.full(list(x.shape), b.core_bool, False)
    return b.g.dropout_with_mask(*b.draw(), x, p)


@lower("aten.native_dropout_backward.default")
def native_dropout_backward(b, grad, mask, scale):
    return b.where(b.node(mask, b.core_bool), b.node(grad, b.dtype) * scale, 0)


@move("aten.rand.default", "aten.rand_like.default")
def rand(b, *_, **__):
    seed, stream = b.draw()
    return b.g.random(seed, b.dtype, b.shape, stream)


@lower("aten.randn.default", "aten.randn_like.default")
def randn(b, *_, **__):
    return b.g.standard_normal(*b.draw(2), b.dtype, b.shape)


@lower("aten.bernoulli.p")
def bernoulli(b, x, p=0.5, *, generator=None):
    chance = b.g.literal(b.core_float32, p)
    return b.node(b.g.bernoulli(*b.draw(), b.shape, chance), b.dtype)


@lower("aten.uniform.default")
def uniform(b, x, low=0.0, high=1.0, *, generator=None):
    return b.g.uniform(*b.draw(), b.dtype, b.shape, low, high)


def _distribution(name, streams, *defaults):
    @lower(f"aten.{name}.default")
    def distribution(b, x, *numbers, generator=None):
        numbers += defaults[len(numbers) :]
        return b.node(getattr(b.g, name)(*b.draw(streams), b.shape, *numbers), b.dtype)


_distribution("exponential", 1, 1.0)
_distribution("cauchy", 1, 0.0, 1.0)
_distribution("geometric", 1)
_distribution("log_normal", 2, 1.0, 2.0)


@lower(
    "aten.normal.Tensor_float",
    "aten.normal.float_Tensor",
    "aten.normal.Tensor_Tensor",
    "aten.normal.float_float",
)
def normal(b, mean, std=1.0, *_, **__):
    mean, std = b.node(mean, b.core_float64), b.node(std, b.core_float64)
    return b.node(b.g.normal(*b.draw(2), b.shape, mean, std), b.dtype)


@lower("aten.normal_functional.default")
def normal_functional(b, x, mean=0.0, std=1.0, *, generator=None):
    return normal(b, mean, std)


def _integers(b, low, high):
    if not 0 < high - low <= 2**40:
        b.unsupported("random integers of a wide range")
    return b.node(b.g.whole_numbers(*b.draw(), b.shape, low, high), b.dtype)


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
    return b.node(b.g.permutation(*b.draw(), n), b.dtype)


@lower("aten.multinomial.default")
def multinomial(b, x, num_samples, replacement=False, *, generator=None):
    if not math.prod(b.shape):
        b.unsupported("a sample of nothing")
    return b.g.multinomial(*b.draw(), x, num_samples, replacement)


@lower("aten.rrelu_with_noise_functional.default")
def rrelu_with_noise(b, x, noise, lower=1 / 8, upper=1 / 3, training=False, generator=None):
    if not training:
        return b.where(x <= 0, x * ((lower + upper) / 2), x), noise
    slope = b.g.uniform(*b.draw(), x.dtype, b.shape, lower, upper)
    return b.where(x <= 0, x * slope, x), b.where(x <= 0, slope, 1)
