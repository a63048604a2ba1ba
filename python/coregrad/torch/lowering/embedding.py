"""Rows of tables by index, bags of them, and their gradients."""

from __future__ import annotations

import math

from .indexing import as_int64
from .table import lower, move

MODES = ("sum", "mean", "max")  #: ATen's numbers


def _padding(padding_idx):
    return None if padding_idx < 0 else padding_idx


@move("aten.embedding.default")
def embedding(b, weight, index, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    return b.g.embedding(as_int64(b, index), weight)


@lower("aten.embedding_dense_backward.default")
def embedding_dense_backward(b, grad, index, num_weights, padding_idx, scale_grad_by_freq):
    if not grad.numel:
        return b.g.full(b.shape, b.dtype, 0)
    index = as_int64(b, index)
    if scale_grad_by_freq:
        flat = b.g.reshape(index, [-1])
        ones = b.g.full([index.numel], grad.dtype, 1)
        counts = b.g.scatter(b.g.full([num_weights], grad.dtype, 0), 0, flat, ones, "add")
        grad = grad / b.g.reshape(b.g.gather(counts, 0, flat), [*index.shape, 1])
    return b.gradient_of_linear(
        lambda weight: b.g.embedding(index, weight, _padding(padding_idx)), b.shape, grad
    )


def _as_traced(b, value, traced):
    """Something that only a gradient reads, of which PyTorch leaves out what its own does not need."""
    shape, dtype = list(traced.shape), b.core_dtype(traced.dtype)
    if list(value.shape) != shape:
        return b.g.full(shape, dtype, 0)
    return b.node(value, dtype)


@lower("aten._embedding_bag.default", "aten._embedding_bag_forward_only.default")
def embedding_bag(
    b,
    weight,
    index,
    offsets,
    scale_grad_by_freq=False,
    mode=0,
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=-1,
):
    if sparse or scale_grad_by_freq:  # eager's scaling is not the inverse frequency: left to it
        b.unsupported("sparse gradients, or scaled ones")
    total, bag, sizes, largest = b.g.embedding_bag_with_parts(
        as_int64(b, index),
        weight,
        offsets,
        MODES[mode],
        per_sample_weights,
        include_last_offset,
        _padding(padding_idx),
    )
    rest = (bag, sizes, sizes if largest is None else largest)
    return total, *(_as_traced(b, value, traced) for value, traced in zip(rest, b.result[1:]))


def _bags(b, grad, weight, index, offsets, mode, factors, padding_idx):
    """What the forward pass gave, of which `grad` is the gradient."""
    starts = b.g.narrow(offsets, 0, 0, grad.shape[0])
    args = (as_int64(b, index), weight, starts, MODES[mode], factors, False)
    return b.g.embedding_bag(*args, _padding(padding_idx))


@lower("aten._embedding_bag_backward.default")
def embedding_bag_backward(
    b,
    grad,
    index,
    offsets,
    bag,
    sizes,
    largest,
    num_weights,
    scale_grad_by_freq,
    mode,
    sparse,
    per_sample_weights,
    padding_idx=-1,
):
    if sparse or scale_grad_by_freq:
        b.unsupported("sparse gradients, or scaled ones")
    if not math.prod(b.shape) or not grad.numel:
        return b.g.full(b.shape, b.dtype, 0)

    def function(weight):
        if MODES[mode] == "max":
            is_empty = b.expand(b.g.unsqueeze(b.g.eq(sizes, b.full_like(sizes, 0)), 1), grad.shape)
            return b.where(is_empty, 0, b.g.gather(weight, 0, b.node(largest, b.core_int64)))
        return _bags(b, grad, weight, index, offsets, mode, per_sample_weights, padding_idx)

    return b.gradient_of_linear(function, b.shape, grad)


@lower("aten._embedding_bag_per_sample_weights_backward.default")
def embedding_bag_per_sample_weights_backward(
    b, grad, weight, index, offsets, bag, mode, padding_idx=-1
):
    if not math.prod(b.shape) or not grad.numel:
        return b.g.full(b.shape, b.dtype, 0)

    def function(factors):
        return _bags(b, grad, weight, index, offsets, mode, factors, padding_idx)

    return b.gradient_of_linear(function, b.shape, grad)
