"""Elementwise operators and their gradients. Operands are cast to PyTorch's result type first."""

from __future__ import annotations

import torch._inductor.inductor_prims  # noqa: F401  registers prims.fma

from ..._core import Node
from .table import is_float, lower, move

COMPARISONS = {
    "eq": ("eq", False),
    "ne": ("ne", False),
    "lt": ("lt", False),
    "le": ("le", False),
    "gt": ("lt", True),
    "ge": ("le", True),
}


def _compare(b, x, y, op, exchanged):
    dtype = b.common_dtype()
    x, y = b.node(x, dtype), b.node(y, dtype)
    return getattr(b.g, op)(y, x) if exchanged else getattr(b.g, op)(x, y)


for _name, (_op, _exchanged) in COMPARISONS.items():
    # A number is rounded to the other operand's dtype before it is compared.
    move(f"aten.{_name}.Tensor", f"aten.{_name}.Scalar")(
        lambda b, x, y, _op=_op, _exchanged=_exchanged: _compare(b, x, y, _op, _exchanged)
    )


def _both(b, x, y):
    return b.node(x, b.dtype), b.node(y, b.dtype)


def _rounded_both(b, x, y):
    return _both(b, *(b.rounded(v, t) for v, t in zip((x, y), b.traced_args)))


def _binary(name, *overloads, operands=_both):
    lower(*overloads)(lambda b, x, y: getattr(b.g, name)(*operands(b, x, y)))


_binary("mul", "aten.mul.Tensor", "aten.mul.Scalar")
_binary("div", "aten.div.Tensor", "aten.div.Scalar", "aten.true_divide.Tensor")
_binary("max", "aten.maximum.default")
_binary("min", "aten.minimum.default")
_binary("atan2", "aten.atan2.default", operands=_rounded_both)
_binary("hypot", "aten.hypot.default", operands=_rounded_both)
_binary("and_", "aten.bitwise_and.Tensor", "aten.bitwise_and.Scalar", "aten.__and__.Tensor")
_binary("or_", "aten.bitwise_or.Tensor", "aten.bitwise_or.Scalar", "aten.__or__.Tensor")
_binary("xor", "aten.bitwise_xor.Tensor", "aten.bitwise_xor.Scalar", "aten.__xor__.Tensor")
for _name, _side in (("shl", "left"), ("shr", "right")):
    _named = [
        f"aten.bitwise_{_side}_shift.{o}" for o in ("Tensor", "Tensor_Scalar", "Scalar_Tensor")
    ]
    _short = [f"aten.__{_side[0]}shift__.{o}" for o in ("Tensor", "Scalar")]
    _binary(_name, *_named, *_short)


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


def floor_quotient(b, x, y):
    if is_float(b.dtype):
        # The exact quotient of x - fmod(x, y), as PyTorch computes it: x / y may round up.
        remainder = _floor_remainder(b, x, y)
        exact = (x - remainder) / y
        rounded = b.g.round(exact)
        return b.where(b.g.eq(y, b.full_like(y, 0)), x / y, rounded)
    quotient = b.g.div(x, y)
    inexact = b.g.ne(quotient * y, x)
    opposite = (x < 0) & (y > 0) | (x > 0) & (y < 0)
    return b.where(inexact & opposite, quotient - 1, quotient)


def _floor_remainder(b, x, y):
    remainder = b.g.rem(x, y)
    zero = b.g.literal(b.dtype, 0)
    wrong_sign = b.g.ne(remainder, zero) & b.g.ne(remainder < 0, y < 0)
    return b.where(wrong_sign, remainder + y, remainder)


def _broadcast(b, x, y):
    x, y = _both(b, x, y)
    return b.expand(x, b.shape), b.expand(y, b.shape)


def _quotient_operands(b, x, y, both=_both):
    """Two operands of which integers are not divided by zero: PyTorch raises."""
    x, divisor = both(b, x, y)
    if not is_float(b.dtype) and b.result.numel():
        if isinstance(y, Node):
            b.check(b.g.eq(divisor, b.full_like(divisor, 0)), "ZeroDivisionError")
        elif y == 0:
            b.unsupported("a division by zero")
    return b.expand(x, b.shape), b.expand(divisor, b.shape)


@lower("aten.fmod.Tensor", "aten.fmod.Scalar")
def fmod(b, x, y):
    return b.g.rem(*_quotient_operands(b, x, y, _rounded_both))


@lower("aten.div.Tensor_mode", "aten.div.Scalar_mode")
def div_mode(b, x, y, *, rounding_mode=None):
    x, y = _quotient_operands(b, x, y)
    if rounding_mode == "floor":
        return floor_quotient(b, x, y)
    quotient = b.g.div(x, y)
    is_truncated = rounding_mode == "trunc" and is_float(b.dtype)
    return b.g.trunc(quotient) if is_truncated else quotient


@lower("aten.floor_divide.default")
def floor_divide(b, x, y):
    return floor_quotient(b, *_quotient_operands(b, x, y))


@lower("aten.remainder.Tensor", "aten.remainder.Scalar", "aten.remainder.Scalar_Tensor")
def remainder(b, x, y):
    return _floor_remainder(b, *_quotient_operands(b, x, y, _rounded_both))


@lower("aten.pow.Tensor_Tensor", "aten.pow.Scalar")
def pow_(b, x, y):
    x, y = _rounded_both(b, x, y)
    return b.g.pow(x, y)


@lower("aten.pow.Tensor_Scalar")
def pow_scalar(b, x, exponent):
    x = b.node(x, b.dtype)
    if exponent == 0:
        return b.full_like(x, 1)
    if exponent == 1:
        return x
    if exponent == 2:
        return x * x
    if exponent == 3:
        return x * x * x
    if exponent == 0.5:
        return b.g.sqrt(x)
    if exponent == -0.5:
        return b.g.rsqrt(x)
    if exponent == -1:
        return b.g.reciprocal(x)
    if exponent == -2:
        return b.g.reciprocal(x * x)
    return b.g.pow(x, b.node(b.rounded(exponent, None), b.dtype))


@lower("aten.addcmul.default")
def addcmul(b, x, y, z, value=1):
    y, z = b.node(y, b.dtype), b.node(z, b.dtype)
    return b.node(x, b.dtype) + _scaled(b, y * z, value)


@lower("prims.fma.default")  # what Dynamo makes of addcmul with a tensor as factor: Adam's step
def fma(b, x, y, z):
    return b.node(x, b.dtype) * b.node(y, b.dtype) + b.node(z, b.dtype)


@lower("aten.addcdiv.default")
def addcdiv(b, x, y, z, value=1):
    y, z = b.node(y, b.dtype), b.node(z, b.dtype)
    return b.node(x, b.dtype) + _scaled(b, y / z, value)


@lower("aten.lerp.Scalar", "aten.lerp.Tensor")
def lerp(b, x, y, weight):
    if not isinstance(weight, (int, float)):
        w = b.node(weight, b.dtype)
        low = x + w * (y - x)
        high = y - (y - x) * (1.0 - w)
        return b.where(b.g.abs(w) < 0.5, low, high)
    return x + (y - x) * weight if abs(weight) < 0.5 else y - (y - x) * (1.0 - weight)


# Logic and tests


@lower("aten.bitwise_not.default")
def bitwise_not(b, x):
    return b.g.not_(x)


for _name in ("and", "or", "xor"):
    lower(f"aten.logical_{_name}.default")(
        lambda b, x, y, _op="xor" if _name == "xor" else _name + "_": getattr(b.g, _op)(
            b.node(x, b.core_bool), b.node(y, b.core_bool)
        )
    )


@move("aten.where.self", "aten.where.ScalarOther", "aten.where.ScalarSelf", "aten.where.Scalar")
def where(b, condition, x, y):
    return b.g.select(b.node(condition, b.core_bool), *_broadcast(b, x, y))


@move("aten.masked_fill.Scalar", "aten.masked_fill.Tensor")
def masked_fill(b, x, mask, value):
    x, mask = b.expand(x, b.shape), b.expand(mask, b.shape)
    return b.g.select(mask, b.expand(b.node(value, b.dtype), b.shape), x)


@lower("aten.clamp.default", "aten.clamp.Tensor")
def clamp(b, x, low=None, high=None):
    x = b.node(x, b.dtype)
    if low is not None:
        x = b.g.max(x, b.node(low, b.dtype))
    return x if high is None else b.g.min(x, b.node(high, b.dtype))


@lower("aten.clamp_min.default", "aten.clamp_min.Tensor")
def clamp_min(b, x, low):
    return clamp(b, x, low=low)


@lower("aten.clamp_max.default", "aten.clamp_max.Tensor")
def clamp_max(b, x, high):
    return clamp(b, x, high=high)


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
    return b.g.gradients([b.g.elu(x, alpha, scale, input_scale)], [grad], [x])[0]


@lower("aten.log_sigmoid_forward.default")
def log_sigmoid_forward(b, x):
    # The buffer is a detail of the CPU's kernel, which our gradient does without.
    has_buffer = b.result[1].numel() > 0
    buffer = b.g.exp(-b.g.abs(x)) if has_buffer else b.g.full(list(b.result[1].shape), x.dtype, 0)
    return b.g.logsigmoid(x), buffer
