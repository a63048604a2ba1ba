"""CoreGrad: a graph compiler and automatic differentiation engine for tensor programs on CPUs.

Operations on tensors are recorded; values are computed when they are asked for.

>>> import coregrad as cg
>>> x = cg.linspace(-1, 1, 5)
>>> loss, gradient = cg.value_and_grad(lambda t: (t * t).sum())(x)
>>> loss.item(), gradient.tolist()
(2.5, [-2.0, -1.0, 0.0, 1.0, 2.0])
"""

# One name a line would take a page.
# isort: off
from . import nn, optim
from ._core import (
    AutogradError, CheckpointError, CoreGradError, DType, DTypeError, DynamicShapeError, IndexError,
    InternalError, IoError, LayoutError, OutOfMemoryError, ShapeError, Tensor, UnsupportedError,
    ValueError, abs, acos, acosh, add, all, any, arange, asin, asinh, atan, atan2, atanh, bmm, ceil,
    concat, cos, cosh, div, einsum, elu, equal, erf, erfc, exp, exp2, expm1, eye, floor,
    floor_divide, fmod, from_bits, full, gelu, gelu_tanh, greater, greater_equal, hardswish, hypot,
    isfinite, isinf, isnan, leaky_relu, less, less_equal, linspace, log, log1p, log2, log10,
    logaddexp, logical_and, logical_not, logical_or, logical_xor, logit, manual_seed, matmul, max,
    maximum, mean, memory_stats, min, minimum, mul, neg, not_equal, ones, outer, pow, prod, rand,
    randint, randn, realize, reciprocal, relu, remainder, round, rsqrt, session_stats, sigmoid,
    sign, silu, sin, sinh, softplus, sqrt, square, stack, sub, sum, tan, tanh, trunc, where, xlogy,
    zeros,
)  # fmt: skip
from ._tensor import (
    bfloat16, bool_, float16, float32, float64, from_dlpack, from_numpy, grad, int32, int64,
    no_grad, tensor, value_and_grad,
)  # fmt: skip
from .nn.functional import cross_entropy, linear, mse_loss
# isort: on

__version__ = "0.1.0"

# Written out, so that type checkers see it.
__all__ = [
    "AutogradError", "CheckpointError", "CoreGradError", "DType", "DTypeError", "DynamicShapeError",
    "IndexError", "InternalError", "IoError", "LayoutError", "OutOfMemoryError", "ShapeError",
    "Tensor", "UnsupportedError", "ValueError", "abs", "acos", "acosh", "add", "all", "any",
    "arange", "asin", "asinh", "atan", "atan2", "atanh", "bfloat16", "bmm", "bool_", "ceil",
    "concat", "cos", "cosh", "cross_entropy", "div", "einsum", "elu", "equal", "erf", "erfc", "exp",
    "exp2", "expm1", "eye", "float16", "float32", "float64", "floor", "floor_divide", "fmod",
    "from_bits", "from_dlpack", "from_numpy", "full", "gelu", "gelu_tanh", "grad", "greater",
    "greater_equal", "hardswish", "hypot", "int32", "int64", "isfinite", "isinf", "isnan",
    "leaky_relu", "less", "less_equal", "linear", "linspace", "log", "log1p", "log2", "log10",
    "logaddexp", "logical_and", "logical_not", "logical_or", "logical_xor", "logit", "manual_seed",
    "matmul", "max", "maximum", "mean", "memory_stats", "min", "minimum", "mse_loss", "mul", "neg",
    "nn", "no_grad", "not_equal", "ones", "optim", "outer", "pow", "prod", "rand", "randint",
    "randn", "realize", "reciprocal", "relu", "remainder", "round", "rsqrt", "session_stats",
    "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt", "square", "stack", "sub", "sum",
    "tan", "tanh", "tensor", "trunc", "value_and_grad", "where", "xlogy", "zeros",
]  # fmt: skip
