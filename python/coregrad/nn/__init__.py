"""Modules, and in `functional` the functions they are made of."""

from .._core import Linear, Module, ReLU
from . import functional, utils
from .functional import cross_entropy, linear, mse_loss, relu, sigmoid

__all__ = [
    "Linear", "Module", "ReLU", "cross_entropy", "functional", "linear", "mse_loss", "relu", "sigmoid",
    "utils",
]  # fmt: skip
