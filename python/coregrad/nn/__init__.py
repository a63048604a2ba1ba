"""Modules, initialisers, and in `functional` the functions they are made of."""

from . import functional, init, utils
from .attention import MultiheadAttention, TransformerEncoder, TransformerEncoderLayer
from .functional import cross_entropy, linear, mse_loss, relu, sigmoid
from .functions import *  # noqa: F403  one module for each function
from .functions import __all__ as _of_functions
from .layers import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
    Dropout,
    Dropout1d,
    Dropout2d,
    Dropout3d,
    Embedding,
    Flatten,
    GroupNorm,
    Identity,
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
    LayerNorm,
    Linear,
    PReLU,
    RMSNorm,
    Unflatten,
    Upsample,
)  # fmt: skip
from .module import LoadResult, Module, ModuleDict, ModuleList, Parameter, Sequential

__all__ = [
    "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d",
    "ConvTranspose2d", "ConvTranspose3d", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "Embedding",
    "Flatten", "GroupNorm", "Identity", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
    "LayerNorm", "Linear", "LoadResult", "Module", "ModuleDict", "ModuleList", "MultiheadAttention",
    "PReLU", "Parameter", "RMSNorm", "Sequential", "TransformerEncoder", "TransformerEncoderLayer",
    "Unflatten", "Upsample", "cross_entropy", "functional", "init", "linear", "mse_loss", "relu",
    "sigmoid", "utils", *_of_functions,
]  # fmt: skip
