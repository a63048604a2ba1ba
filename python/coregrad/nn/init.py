"""Initialisers: each gives a tensor's parameters new values and returns the tensor.

Formulas and names are PyTorch's (`torch.nn.init`).

>>> import coregrad as cg
>>> w = cg.nn.init.constant_(cg.nn.Parameter(cg.zeros((2, 2))), 3.0)
>>> w.tolist()
[[3.0, 3.0], [3.0, 3.0]]
"""

from __future__ import annotations

import math

from .. import _core
from .._core import Tensor


def _assign(tensor: Tensor, value: Tensor) -> Tensor:
    tensor.assign(value.detach().cast(tensor.dtype))
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b)."""
    return _assign(tensor, _core.rand(tensor.shape) * (b - a) + a)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal."""
    return _assign(tensor, _core.randn(tensor.shape) * std + mean)


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Normal within [a, b], by the inverse of its distribution function."""
    low, high = (math.erf((x - mean) / std / math.sqrt(2)) for x in (a, b))
    uniform = _core.rand(tensor.shape) * (high - low) + low
    value = _core.erfinv(uniform) * (std * math.sqrt(2)) + mean
    return _assign(tensor, value.clamp(a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """The same number everywhere."""
    return _assign(tensor, _core.zeros(tensor.shape) + val)


def zeros_(tensor: Tensor) -> Tensor:
    """Zeros."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Ones."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal of a matrix."""
    if tensor.ndim != 2:
        raise _core.ShapeError(f"eye_: needs a matrix, got {list(tensor.shape)}")
    return _assign(tensor, _core.eye(*tensor.shape))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps a signal's size through a nonlinearity, as PyTorch has it."""
    gains = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1 + slope * slope))
    linear = {"linear", "sigmoid"} | {f"conv{t}{d}d" for t in ("", "_transpose") for d in (1, 2, 3)}
    if nonlinearity in linear:
        return 1.0
    if nonlinearity not in gains:
        raise _core.ValueError(f"calculate_gain: {nonlinearity!r} is not known")
    return gains[nonlinearity]


def fan_in_and_out(tensor: Tensor) -> tuple[int, int]:
    """How many values each output is made of, and each input goes into; weight [out, in, ..]."""
    if tensor.ndim < 2:
        raise _core.ShapeError(f"init: needs two dimensions or more, got {list(tensor.shape)}")
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform by Glorot and Bengio (2010)."""
    bound = gain * math.sqrt(6.0 / sum(fan_in_and_out(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal by Glorot and Bengio (2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2.0 / sum(fan_in_and_out(tensor))))


def _kaiming(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise _core.ValueError(f"init: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fan_in_and_out(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform by He and others (2015)."""
    bound = math.sqrt(3.0) * _kaiming(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal by He and others (2015)."""
    return normal_(tensor, 0.0, _kaiming(tensor, a, mode, nonlinearity))
