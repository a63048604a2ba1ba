"""CoreGrad: a graph compiler and automatic differentiation engine for tensor programs on CPUs."""

from ._core import (
    AutogradError,
    CheckpointError,
    CoreGradError,
    DTypeError,
    DynamicShapeError,
    IndexError,
    InternalError,
    IoError,
    LayoutError,
    OutOfMemoryError,
    ShapeError,
    UnsupportedError,
    ValueError,
)

__version__ = "0.1.0"

__all__ = [
    "AutogradError",
    "CheckpointError",
    "CoreGradError",
    "DTypeError",
    "DynamicShapeError",
    "IndexError",
    "InternalError",
    "IoError",
    "LayoutError",
    "OutOfMemoryError",
    "ShapeError",
    "UnsupportedError",
    "ValueError",
]
