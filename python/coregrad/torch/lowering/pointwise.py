"""Elementwise operators and their gradients. Operands are cast to PyTorch's result type first."""

from __future__ import annotations

import torch._inductor.inductor_prims  # noqa: F401  registers prims.fma

from ..._core import Node
from .table import is_float, lower


def _both(b, x, y):
    return b.node(x, b.dtype), b.node(y, b.dtype)


def _rounded_both(b, x, y):
    return _both(b, *(b.rounded(v, t) for v, t in zip((x, y), b.traced_args)))


def _scaled(b, y, alpha):
    y = b.node(y, b.dtype)
    return y if alpha == 1 else y * alpha


@lower("aten.add.Tensor", "aten.add.Scalar")
def add(b, x, y, alpha=1):
    x, y = _rounded_both(b, x, y)
    return x + _scaled(b, y, b.rounded(alpha, None))


@lower("aten.sub.Tensor", "aten.sub.Scalar")
def sub(b, x, y, alpha=1):
    x, y = _rounded_both(b, x, y)
    return x - _scaled(b, y, b.rounded(alpha, None))


@lower("aten.rsub.Tensor", "aten.rsub.Scalar")
def rsub(b, x, y, alpha=1):
    x, y = _rounded_both(b, x, y)
    return y - _scaled(b, x, b.rounded(alpha, None))


def _quotient_operands(b, x, y, both=_both):
    """Two operands of which integers are not divided by zero: PyTorch raises."""
    x, divisor = both(b, x, y)
    if not is_float(b.dtype) and b.result.numel():
        if isinstance(y, Node):
            b.check(b.g.eq(divisor, b.full_like(divisor, 0)), "ZeroDivisionError")
        elif y == 0:
            b.unsupported("a division by zero")
    return x, divisor


@lower("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(b, x, y):
    return b.g.fmod(*_quotient_operands(b, x, y, _rounded_both))


@lower("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(b, x, y, *, rounding_mode=None):
    return b.g.div(*_quotient_operands(b, x, y), rounding_mode)


@lower("aten.floor_divide.default")
def floor_divide(b, x, y):
    return b.g.floor_divide(*_quotient_operands(b, x, y))


@lower("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def remainder(b, x, y):
    return b.g.remainder(*_quotient_operands(b, x, y, _rounded_both))


@lower("prims.fma.default")  # what Dynamo makes of addcmul with a tensor as factor: Adam's step
def fma(b, x, y, z):
    return b.node(x, b.dtype) * b.node(y, b.dtype) + b.node(z, b.dtype)


@lower("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(b, x, low):
    return b.g.clamp(*_both(b, x, low))


@lower("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(b, x, high):
    x, high = _both(b, x, high)
    return b.g.clamp(x, None, high)


# Activations


@lower("aten.threshold_backward.default")
def threshold_backward(b, grad, x, threshold):
    return b.where(x <= threshold, 0, grad)


@lower("aten.sigmoid_backward.default")
def sigmoid_backward(b, grad, y):
    return grad * (1.0 - y) * y


@lower("aten.tanh_backward.default")
def tanh_backward(b, grad, y):
    return grad * (1.0 - y * y)


@lower("aten.elu_backward.default")
def elu_backward(b, grad, alpha, scale, input_scale, is_result, x):
    if is_result:
        slope = (x + alpha * scale) * input_scale
        return b.where(x <= 0, grad * slope, grad * scale)
    return b.gradient(lambda v: b.g.elu(v, alpha, scale, input_scale), x, grad)


@lower("aten.log_sigmoid_forward.default")
def log_sigmoid_forward(b, x):
    # The buffer is a detail of the CPU's kernel, which our gradient does without.
    has_buffer = b.result[1].numel() > 0
    buffer = b.g.exp(-b.g.abs(x)) if has_buffer else b.g.full(list(b.result[1].shape), x.dtype, 0)
    return b.g.logsigmoid(x), buffer
