"""Complex numbers as pairs of real nodes.

`COMPLEX_ROWS` has the rows of overloads that take or give complex tensors; where they do, the importer
calls these in place of the others. Rows that only move elements, or are linear, do so with each part.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..._core import Node
from ..metadata import NARROW
from .table import ROWS, Row, find_overload, is_float, register


@dataclasses.dataclass(frozen=True)
class Complex:
    """A complex value: two real nodes of one shape and dtype."""

    re: Node
    im: Node


COMPLEX_ROWS: dict[Any, Row] = {}


def lower_complex(*names):
    """Registers a function for overloads where a tensor is complex."""
    return register(COMPLEX_ROWS, *names)


def _each(b, function, *values):
    """A function of nodes applied to the real parts and to the imaginary parts."""
    pairs = [_pair(b, v) for v in values]
    return Complex(function(*(p.re for p in pairs)), function(*(p.im for p in pairs)))


def _pair(b, value, dtype=None):
    """A value as a pair of the result's precision."""
    if isinstance(value, Complex):
        return (
            value
            if dtype is None
            else Complex(_cast(b, value.re, dtype), _cast(b, value.im, dtype))
        )
    if isinstance(value, Node):
        re = _cast(b, value, b.dtype if dtype is None else dtype)
        return Complex(re, b.full_like(re, 0))
    number = complex(value)
    dtype = b.dtype if dtype is None else dtype
    return Complex(b.g.literal(dtype, number.real), b.g.literal(dtype, number.imag))


def _cast(b, x, dtype):
    if dtype in NARROW and x.dtype != dtype:  # from float32 only
        x = b.node(x, b.core_float32)
    return b.node(x, dtype)


# Rows of real tensors, for each part


def _part(value, which):
    if isinstance(value, Complex):
        return getattr(value, which)
    return type(value)(_part(v, which) for v in value) if type(value) in (list, tuple) else value


def _partwise(name):
    overload = find_overload(name)
    if overload is None:
        return

    def row(b, *args, **kwargs):
        parts = [ROWS[overload](b, *_part(args, which), **kwargs) for which in ("re", "im")]
        if isinstance(parts[0], tuple):
            return tuple(Complex(re, im) for re, im in zip(*parts))
        return Complex(*parts)

    COMPLEX_ROWS[overload] = row


for _name in (
    *("alias.default", "clone.default", "contiguous.default", "detach.default"),
    *("lift_fresh_copy.default", "_unsafe_view.default", "view.default", "reshape.default"),
    *("permute.default", "t.default", "transpose.int", "expand.default", "unsqueeze.default"),
    *("squeeze.default", "squeeze.dim", "squeeze.dims", "select.int", "slice.Tensor"),
    *("split.Tensor", "split_with_sizes.default", "unbind.int", "flip.default", "roll.default"),
    *("repeat.default", "constant_pad_nd.default", "index_select.default", "index.Tensor"),
    *("neg.default", "sum.default", "sum.dim_IntList"),
):
    _partwise(f"aten.{_name}")


def _linear(name):
    """Several operands, of which some may be real."""
    overload = find_overload(name)

    def pairs(b, value):
        if isinstance(value, list):
            return [pairs(b, v) for v in value]
        return _pair(b, value) if isinstance(value, (Node, Complex)) else value

    def row(b, *args, **kwargs):
        args = tuple(pairs(b, a) for a in args)
        return Complex(*(ROWS[overload](b, *_part(args, w), **kwargs) for w in ("re", "im")))

    COMPLEX_ROWS[overload] = row


for _name in ("cat.default", "stack.default", "copy.default", "slice_scatter.default"):
    _linear(f"aten.{_name}")


# Making and reading complex tensors


@lower_complex("aten._to_copy.default")
def to_copy(b, x, *_, **__):
    if not b.result.dtype.is_complex:
        b.unsupported("a cast of complex numbers to real ones")
    return _pair(b, x, b.dtype)


@lower_complex("aten.complex.default")
def make_complex(b, re, im):
    return Complex(*(b.expand(b.node(v, b.dtype), b.shape) for v in (re, im)))


@lower_complex("aten.polar.default")
def polar(b, size, angle):
    return make_complex(b, size * b.g.cos(angle), size * b.g.sin(angle))


@lower_complex("aten.view_as_complex.default")
def view_as_complex(b, x):
    return split_pairs(b.g, x)


def split_pairs(graph, x):
    """The inverse of `interleaved`."""
    last = x.ndim - 1
    return Complex(*(graph.squeeze(graph.narrow(x, last, i, i + 1), [last]) for i in range(2)))


def interleaved(graph, x):
    """[.., 2]: how PyTorch stores complex numbers."""
    ndim = x.re.ndim
    return graph.cat([graph.unsqueeze(x.re, ndim), graph.unsqueeze(x.im, ndim)], ndim)


@lower_complex("aten.view_as_real.default")
def view_as_real(b, x):
    return interleaved(b.g, x)


@lower_complex("aten._conj.default", "aten._conj_physical.default", "aten.conj_physical.default")
def conj(b, x):
    return Complex(x.re, -x.im)


@lower_complex("aten.full.default")
def full(b, size, value, **_):
    value = complex(value)
    return Complex(*(b.g.full(b.shape, b.dtype, v) for v in (value.real, value.imag)))


# Arithmetic


@lower_complex("aten.add.Tensor", "aten.add.Scalar")
def add(b, x, y, alpha=1):
    y = y if alpha == 1 else multiply(b, y, alpha)
    return _each(b, lambda u, v: u + v, x, y)


@lower_complex("aten.sub.Tensor", "aten.sub.Scalar")
def subtract(b, x, y, alpha=1):
    y = y if alpha == 1 else multiply(b, y, alpha)
    return _each(b, lambda u, v: u - v, x, y)


def _is_real(value):
    return not isinstance(value, (Complex, complex))


@lower_complex("aten.mul.Tensor", "aten.mul.Scalar")
def multiply(b, x, y):
    if _is_real(x):
        x, y = y, x
    x = _pair(b, x)
    if _is_real(y):
        y = b.node(y, b.dtype)
        return Complex(x.re * y, x.im * y)
    y = _pair(b, y)
    return Complex(x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re)


@lower_complex("aten.div.Tensor", "aten.div.Scalar")
def divide(b, x, y):
    if not _is_real(y):
        b.unsupported("a complex divisor")
    y, x = b.node(y, b.dtype), _pair(b, x)
    return Complex(x.re / y, x.im / y)


@lower_complex("aten.abs.default")
def absolute(b, x):
    wide = b.g.hypot(b.node(x.re, b.core_float64), b.node(x.im, b.core_float64))
    return b.node(wide, b.dtype)


@lower_complex("aten.angle.default")
def angle(b, x):
    return b.g.atan2(x.im, x.re)


@lower_complex("aten.exp.default")
def exp(b, x):
    size = b.g.exp(x.re)
    return Complex(size * b.g.cos(x.im), size * b.g.sin(x.im))


# Fourier transforms


def _require_some(b, x):
    if not is_float(x.dtype) or not x.numel:
        b.unsupported("a Fourier transform of nothing, or of narrow floats")


@lower_complex("aten._fft_r2c.default")
def fft_r2c(b, x, dims, normalization, onesided):
    _require_some(b, x)
    return Complex(*b.g.fft_r2c(x, dims, normalization, onesided))


@lower_complex("aten._fft_c2c.default")
def fft_c2c(b, x, dims, normalization, forward):
    _require_some(b, x.re)
    return Complex(*b.g.fft_c2c(x.re, x.im, dims, normalization, forward))


@lower_complex("aten._fft_c2r.default")
def fft_c2r(b, x, dims, normalization, last_dim_size):
    _require_some(b, x.re)
    return b.g.fft_c2r(x.re, x.im, dims, normalization, last_dim_size)
