"""Tensors made from nothing, casts and copies."""

from __future__ import annotations

from .table import lower


@lower("aten.full.default", "aten.new_full.default")
def full(b, *args, **_):
    return b.g.full(b.shape, b.dtype, args[-1])


@lower("aten.full_like.default")
def full_like(b, x, value, **_):
    return b.g.full(b.shape, b.dtype, value)


@lower(
    "aten.zeros.default",
    "aten.zeros_like.default",
    "aten.new_zeros.default",
    "aten._efficientzerotensor.default",
    "aten.empty.memory_format",
    "aten.empty_like.default",
    "aten.empty_permuted.default",
    "aten.empty_strided.default",
    "aten.new_empty.default",
    "aten.new_empty_strided.default",
)
def zeros(b, *_, **__):
    return b.g.full(b.shape, b.dtype, 0)


@lower("aten.ones.default", "aten.ones_like.default", "aten.new_ones.default")
def ones(b, *_, **__):
    return b.g.full(b.shape, b.dtype, 1)


@lower("aten.scalar_tensor.default")
def scalar_tensor(b, value, **_):
    return b.g.literal(b.dtype, value)


@lower("aten.fill.Scalar", "aten.fill.Tensor")
def fill(b, x, value):
    return b.expand(b.node(value, b.dtype), b.shape)


@lower("aten.arange.start_step", "aten.arange.start", "aten.arange.default")
def arange(b, *args, **_):
    start, step = (args[0], args[2]) if len(args) > 2 else (args[0] if len(args) > 1 else 0, 1)
    return b.g.arange(b.dtype, start, step, b.shape[0])


@lower("prims.iota.default")
def iota(b, length, *, start, step, **_):
    return b.g.arange(b.dtype, start, step, b.shape[0])


@lower("aten._to_copy.default", "aten.to.dtype")
def to_copy(b, x, *_, **__):
    return b.node(x, b.dtype)


@lower("prims.convert_element_type.default")
def convert_element_type(b, x, dtype):
    return b.node(x, b.dtype)


@lower("aten.copy.default")
def copy(b, x, source, non_blocking=False):
    return b.expand(b.node(source, b.dtype), b.shape)


@lower("aten.eye.m", "aten.eye.default")
def eye(b, *_, **__):
    return b.g.eye(b.dtype, *b.shape)
