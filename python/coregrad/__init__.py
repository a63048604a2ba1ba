"""CoreGrad: a graph compiler and automatic differentiation engine for tensor programs on CPUs.

Operations on tensors are recorded; values are computed when they are asked for.

>>> import coregrad as cg
>>> x = cg.linspace(-1, 1, 5)
>>> loss, gradient = cg.value_and_grad(lambda t: (t * t).sum())(x)
>>> loss.item(), gradient.tolist()
(2.5, [-2.0, -1.0, 0.0, 1.0, 2.0])
"""

from . import data, nn, optim
from ._checkpoint import load, load_safetensors, safetensors_metadata, save, save_safetensors
from ._compile import compile
from ._core import *  # noqa: F403  tensors, operators, errors: what its __all__ names
from ._tensor import (
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    from_dlpack,
    from_numpy,
    int8,
    int16,
    int32,
    int64,
    no_grad,
    tensor,
    uint8,
    uint16,
    uint32,
)  # fmt: skip
from ._transforms import grad, hessian, jacrev, jvp, value_and_grad, vjp
from .nn.functional import cross_entropy, linear, mse_loss

__version__ = "0.1.0"
