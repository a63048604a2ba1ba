"""CoreGrad: a graph compiler and automatic differentiation engine for tensor programs on CPUs.

Operations on tensors are recorded; values are computed when they are asked for.

>>> import coregrad as cg
>>> x = cg.linspace(-1, 1, 5)
>>> loss, gradient = cg.value_and_grad(lambda t: (t * t).sum())(x)
>>> loss.item(), gradient.tolist()
(2.5, [-2.0, -1.0, 0.0, 1.0, 2.0])
"""

from . import array_api, data, nn, optim
from ._checkpoint import load, load_safetensors, safetensors_metadata, save, save_safetensors
from ._compile import compile
from ._core import *  # noqa: F403  tensors, operators, errors: what its __all__ names
from ._creation import (
    asarray,
    empty_like,
    from_dlpack,
    from_numpy,
    full_like,
    ones_like,
    rand_like,
    randn_like,
    tensor,
    zeros_like,
)  # fmt: skip
from ._dtypes import (
    bfloat16,
    bool,
    bool_,
    can_cast,
    finfo,
    float16,
    float32,
    float64,
    iinfo,
    int8,
    int16,
    int32,
    int64,
    isdtype,
    result_type,
    uint8,
    uint16,
    uint32,
)  # fmt: skip
from ._standard import (
    argwhere,
    astype,
    bitwise_invert,
    broadcast_arrays,
    clip,
    conj,
    cumulative_prod,
    cumulative_sum,
    diff,
    divide,
    e,
    expand_dims,
    flatten,
    imag,
    inf,
    matrix_transpose,
    meshgrid,
    moveaxis,
    multiply,
    nan,
    negative,
    newaxis,
    nonzero,
    permute_dims,
    pi,
    positive,
    real,
    repeat,
    subtract,
    take,
    take_along_axis,
    tensordot,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
    unstack,
    vecdot,
)  # fmt: skip
from ._tensor import no_grad
from ._transforms import grad, hessian, jacrev, jvp, value_and_grad, vjp
from .array_api import __array_namespace_info__
from .nn.functional import cross_entropy, linear, mse_loss

__array_api_version__ = array_api.__array_api_version__
__version__ = "0.1.0"
