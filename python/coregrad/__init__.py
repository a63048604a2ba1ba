"""CoreGrad: a graph compiler and automatic differentiation engine for tensor programs on CPUs.

Operations on tensors are recorded; values are computed when they are asked for.

>>> import coregrad as cg
>>> x = cg.linspace(-1, 1, 5)
>>> loss, gradient = cg.value_and_grad(lambda t: (t * t).sum())(x)
>>> loss.item(), gradient.tolist()
(2.5, [-2.0, -1.0, 0.0, 1.0, 2.0])
"""

from . import _core, _tensor, nn, optim
from ._core import (
    AutogradError,
    CheckpointError,
    CoreGradError,
    DType,
    DTypeError,
    DynamicShapeError,
    IndexError,
    InternalError,
    IoError,
    LayoutError,
    OutOfMemoryError,
    ShapeError,
    Tensor,
    UnsupportedError,
    ValueError,
)

__version__ = "0.1.0"

# The names of the tensor layer, by where they are defined.
_FROM_TENSOR = [
    "bool_", "float32", "float64", "from_dlpack", "from_numpy", "grad", "int32", "int64", "no_grad",
    "tensor", "value_and_grad",
]  # fmt: skip
_FROM_CORE = [
    "abs", "acos", "acosh", "add", "all", "any", "arange", "asin", "asinh", "atan", "atan2",
    "atanh", "bmm", "ceil", "concat", "cos", "cosh", "div", "einsum", "elu", "equal", "erf", "erfc",
    "exp", "exp2", "expm1", "eye", "floor", "floor_divide", "fmod", "full", "gelu", "gelu_tanh",
    "greater", "greater_equal", "hardswish", "hypot", "isfinite", "isinf", "isnan", "leaky_relu",
    "less", "less_equal", "linspace", "log", "log10", "log1p", "log2", "logaddexp", "logical_and",
    "logical_not", "logical_or", "logical_xor", "logit", "manual_seed", "matmul", "max", "maximum",
    "mean", "memory_stats", "min", "minimum", "mul", "neg", "not_equal", "ones", "outer", "pow",
    "prod", "rand", "randint", "randn", "realize", "reciprocal", "relu", "remainder", "round",
    "rsqrt", "session_stats", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt",
    "square", "stack", "sub", "sum", "tan", "tanh", "trunc", "where", "xlogy", "zeros",
]  # fmt: skip
_FROM_FUNCTIONAL = ["cross_entropy", "linear", "mse_loss"]
_ERRORS = [
    "AutogradError", "CheckpointError", "CoreGradError", "DTypeError", "DynamicShapeError",
    "IndexError", "InternalError", "IoError", "LayoutError", "OutOfMemoryError", "ShapeError",
    "UnsupportedError", "ValueError",
]  # fmt: skip

globals().update({name: getattr(_core, name) for name in _FROM_CORE})
globals().update({name: getattr(_tensor, name) for name in _FROM_TENSOR})
globals().update({name: getattr(nn.functional, name) for name in _FROM_FUNCTIONAL})

__all__ = [
    "DType",
    "Tensor",
    "nn",
    "optim",
    *_ERRORS,
    *_FROM_CORE,
    *_FROM_FUNCTIONAL,
    *_FROM_TENSOR,
]
