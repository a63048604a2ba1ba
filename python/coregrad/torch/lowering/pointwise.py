"""Elementwise operators and their gradients. Operands are cast to PyTorch's result type first."""

from __future__ import annotations

import math

import torch._inductor.inductor_prims  # noqa: F401  registers prims.fma

from ..._core import Node
from .table import is_float, lower, move

FLOAT_UNARY = (
    "exp",
    "exp2",
    "expm1",
    "log",
    "log2",
    "log10",
    "log1p",
    "sqrt",
    "rsqrt",
    "reciprocal",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "erf",
)
ANY_UNARY = ("abs", "neg", "sign")
ROUNDING = ("floor", "ceil", "round", "trunc")
COMPARISONS = {
    "eq": ("eq", False),
    "ne": ("ne", False),
    "lt": ("lt", False),
    "le": ("le", False),
    "gt": ("lt", True),
    "ge": ("le", True),
}

for _name in FLOAT_UNARY + ANY_UNARY:
    lower(f"aten.{_name}.default")(lambda b, x, _op=_name: getattr(b.g, _op)(b.node(x, b.dtype)))
for _name in ROUNDING:
    lower(f"aten.{_name}.default")(
        lambda b, x, _op=_name: getattr(b.g, _op)(x) if is_float(x.dtype) else x
    )


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


@lower("aten.copysign.Tensor", "aten.copysign.Scalar")
def copysign(b, x, y):
    x, y = _both(b, x, y)
    # 1 / -0 is -inf: tells the sign of zeros.
    negative = (y < 0) | (b.g.eq(y, b.full_like(y, 0)) & (b.g.reciprocal(y) < 0))
    size = b.g.abs(x)
    return b.where(negative, -size, size)


@lower("aten.square.default")
def square(b, x):
    return x * x


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


@lower("aten.logical_not.default")
def logical_not(b, x):
    return b.g.not_(b.node(x, b.core_bool))


@lower("aten.bitwise_not.default")
def bitwise_not(b, x):
    return b.g.not_(x)


for _name in ("and", "or", "xor"):
    lower(f"aten.logical_{_name}.default")(
        lambda b, x, y, _op="xor" if _name == "xor" else _name + "_": getattr(b.g, _op)(
            b.node(x, b.core_bool), b.node(y, b.core_bool)
        )
    )


@lower("aten.isnan.default")
def isnan(b, x):
    return b.g.ne(x, x)


@lower("aten.isinf.default")
def isinf(b, x):
    if not is_float(x.dtype):
        return b.g.full(b.shape, b.core_bool, False)
    return b.g.eq(b.g.abs(x), b.g.literal(x.dtype, math.inf))


@lower("aten.isfinite.default")
def isfinite(b, x):
    if not is_float(x.dtype):
        return b.g.full(b.shape, b.core_bool, True)
    return b.g.abs(x) < math.inf


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


@lower("aten.relu.default")
def relu(b, x):
    return b.at_least(x, 0)


@lower("aten.threshold_backward.default")
def threshold_backward(b, grad, x, threshold):
    return b.where(x <= threshold, 0, grad)


@lower("aten.leaky_relu.default")
def leaky_relu(b, x, slope=0.01):
    return b.where(x > 0, x, x * slope)


@lower("aten.leaky_relu_backward.default")
def leaky_relu_backward(b, grad, x, slope, self_is_result):
    return b.where(x > 0, grad, grad * slope)


@lower("aten.hardtanh.default")
def hardtanh(b, x, low=-1, high=1):
    return b.at_most(b.at_least(x, low), high)


@lower("aten.hardtanh_backward.default")
def hardtanh_backward(b, grad, x, low, high):
    return b.where((x > low) & (x < high), grad, 0)


@lower("aten.sigmoid.default")
def sigmoid(b, x):
    return sigmoid_node(b, b.node(x, b.dtype))


def sigmoid_node(b, x):
    return b.g.reciprocal(1.0 + b.g.exp(-x))


@lower("aten.sigmoid_backward.default")
def sigmoid_backward(b, grad, y):
    return grad * (1.0 - y) * y


@lower("aten.tanh_backward.default")
def tanh_backward(b, grad, y):
    return grad * (1.0 - y * y)


@lower("aten.silu.default")
def silu(b, x):
    return x / (1.0 + b.g.exp(-x))


@lower("aten.silu_backward.default")
def silu_backward(b, grad, x):
    s = sigmoid_node(b, x)
    return grad * s * (1.0 + x * (1.0 - s))


@lower("aten.gelu.default")
def gelu(b, x, approximate="none"):
    if approximate == "tanh":
        return 0.5 * x * (1.0 + b.g.tanh(_gelu_inner(x)))
    return x * 0.5 * (1.0 + b.g.erf(x * math.sqrt(0.5)))


def _gelu_inner(x):
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


@lower("aten.gelu_backward.default")
def gelu_backward(b, grad, x, approximate="none"):
    if approximate == "tanh":
        t = b.g.tanh(_gelu_inner(x))
        inner = math.sqrt(2 / math.pi) * (1.0 + 3 * 0.044715 * x * x)
        return grad * (0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
    cdf = 0.5 * (1.0 + b.g.erf(x * math.sqrt(0.5)))
    pdf = b.g.exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return grad * (cdf + x * pdf)


@lower("aten.elu.default")
def elu(b, x, alpha=1, scale=1, input_scale=1):
    negative = b.g.expm1(b.at_most(x, 0) * input_scale) * (alpha * scale)
    return b.where(x > 0, x * scale, negative)


@lower("aten.elu_backward.default")
def elu_backward(b, grad, alpha, scale, input_scale, is_result, x):
    if is_result:
        slope = (x + alpha * scale) * input_scale
    else:
        slope = b.g.exp(b.at_most(x, 0) * input_scale) * (alpha * scale * input_scale)
    return b.where(x <= 0, grad * slope, grad * scale)


@lower("aten.hardsigmoid.default")
def hardsigmoid(b, x):
    return b.at_most(b.at_least(x + 3.0, 0), 6) / 6.0


@lower("aten.hardsigmoid_backward.default")
def hardsigmoid_backward(b, grad, x):
    return b.where((x > -3) & (x < 3), grad * (1 / 6), 0)


@lower("aten.hardswish.default")
def hardswish(b, x):
    return x * b.at_most(b.at_least(x + 3.0, 0), 6) / 6.0


@lower("aten.hardswish_backward.default")
def hardswish_backward(b, grad, x):
    return b.where(x <= -3, 0, b.where(x < 3, grad * (x / 3.0 + 0.5), grad))


@lower("aten.softplus.default")
def softplus(b, x, beta=1, threshold=20):
    scaled = x * beta
    return b.where(scaled > threshold, x, b.g.log1p(b.g.exp(b.at_most(scaled, threshold))) / beta)


@lower("aten.softplus_backward.default")
def softplus_backward(b, grad, x, beta, threshold):
    scaled = x * beta
    return b.where(scaled > threshold, grad, grad * sigmoid_node(b, b.at_most(scaled, threshold)))


@lower("aten.log_sigmoid_forward.default")
def log_sigmoid_forward(b, x):
    # The buffer is a CPU detail whose contents nobody reads but the gradient, which recomputes it.
    shrunk = b.g.exp(-b.g.abs(x))
    buffer = shrunk if b.result[1].numel() else b.g.full(list(b.result[1].shape), x.dtype, 0)
    return b.at_most(x, 0) - b.g.log1p(shrunk), buffer


@lower("aten.log_sigmoid_backward.default")
def log_sigmoid_backward(b, grad, x, buffer):
    return grad * sigmoid_node(b, -x)


@lower("aten.mish.default")
def mish(b, x):
    return x * b.g.tanh(softplus(b, x))


@lower("aten.mish_backward.default")
def mish_backward(b, grad, x):
    t = b.g.tanh(softplus(b, x))
    return grad * (t + x * sigmoid_node(b, x) * (1.0 - t * t))


@lower("aten.glu.default")
def glu(b, x, dim=-1):
    half = x.shape[b.dim(dim, x)] // 2
    gate = b.g.narrow(x, dim, half, 2 * half)
    return b.g.narrow(x, dim, 0, half) * sigmoid_node(b, gate)


@lower("aten.glu_backward.default")
def glu_backward(b, grad, x, dim):
    dim = b.dim(dim, x)
    half = x.shape[dim] // 2
    value, gate = b.g.narrow(x, dim, 0, half), b.g.narrow(x, dim, half, 2 * half)
    s = sigmoid_node(b, gate)
    return b.g.concat([grad * s, grad * value * s * (1.0 - s)], dim)
