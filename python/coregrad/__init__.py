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
    "abs", "acos", "add", "all", "any", "arange", "asin", "atan", "atan2", "ceil", "concat", "cos",
    "cosh", "cross_entropy", "div", "einsum", "elu", "equal", "erf", "exp", "exp2", "expm1", "eye",
    "floor", "fmod", "full", "gelu", "gelu_tanh", "greater", "greater_equal", "hardswish",
    "leaky_relu", "less", "less_equal", "linear", "linspace", "log", "log10", "log1p", "log2",
    "logical_and", "logical_not", "logical_or", "logical_xor", "manual_seed", "matmul", "max",
    "maximum", "mean", "memory_stats", "min", "minimum", "mse_loss", "mul", "neg", "not_equal",
    "ones", "pow", "prod", "rand", "randint", "randn", "realize", "reciprocal", "relu", "round",
    "rsqrt", "session_stats", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt",
    "square", "stack", "sub", "sum", "tan", "tanh", "trunc", "where", "zeros",
]  # fmt: skip
_ERRORS = [
    "AutogradError", "CheckpointError", "CoreGradError", "DTypeError", "DynamicShapeError",
    "IndexError", "InternalError", "IoError", "LayoutError", "OutOfMemoryError", "ShapeError",
    "UnsupportedError", "ValueError",
]  # fmt: skip

globals().update({name: getattr(_core, name) for name in _FROM_CORE})
globals().update({name: getattr(_tensor, name) for name in _FROM_TENSOR})

__all__ = ["DType", "Tensor", "nn", "optim", *_ERRORS, *_FROM_CORE, *_FROM_TENSOR]
