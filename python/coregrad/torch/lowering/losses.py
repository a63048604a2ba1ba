"""Losses and their gradients."""

from __future__ import annotations

from .shared import REDUCTIONS
from .table import at_least_one, lower

NONE, MEAN, SUM = 0, 1, 2


def _spread(b, grad, like, reduction):
    """The gradient that reaches each element of an unreduced loss."""
    grad = b.expand(grad, like.shape)
    return grad / at_least_one(like.numel) if reduction == MEAN else grad


@lower("aten.binary_cross_entropy_backward.default")
def binary_cross_entropy_backward(b, grad, x, y, weight=None, reduction=MEAN):
    slope = (x - y) / b.at_least((1.0 - x) * x, 1e-12)
    return _spread(b, grad, x, reduction) * (slope if weight is None else slope * weight)


def _picked_weight(b, weight, index):
    return b.g.reshape(b.g.gather(weight, 0, b.g.reshape(index, [-1])), list(index.shape))


def _nll_parts(b, x, target, weight, ignore_index):
    """Which samples count, a class index that is always valid, and each sample's weight."""
    valid = b.g.ne(target, b.g.literal(target.dtype, ignore_index))
    safe = b.node(b.where(valid, target, 0), b.core_int64)
    factor = b.g.cast(valid, x.dtype)
    if weight is not None:
        factor = factor * _picked_weight(b, weight, safe)
    return valid, safe, factor


def _nll_backward(b, grad, x, target, weight, reduction, ignore_index, total_weight, class_dim):
    valid, safe, factor = _nll_parts(b, x, target, weight, ignore_index)
    scale = b.expand(grad, safe.shape)
    if reduction == MEAN:
        scale = scale / total_weight
    scale = b.g.unsqueeze(b.where(valid, -(scale * factor), 0), class_dim)
    classes = b.along(b.g.iota(b.core_int64, x.shape[class_dim]), class_dim, x.ndim)
    hit = b.g.eq(b.expand(b.g.unsqueeze(safe, class_dim), x.shape), b.expand(classes, x.shape))
    return b.where(hit, b.expand(scale, x.shape), 0)


@lower("aten.nll_loss_forward.default", "aten.nll_loss2d_forward.default")
def nll_loss_forward(b, x, target, weight, reduction, ignore_index):
    if x.ndim == 1:  # the target may be a vector of one element
        target = b.g.reshape(target, [])
    loss, total_weight = b.g.nll_loss_with_weight(
        x, target, weight, ignore_index, REDUCTIONS[reduction]
    )
    if reduction == NONE:
        total_weight = b.g.full([], x.dtype, 0)
    return b.g.reshape(loss, b.shape), total_weight


@lower("aten.nll_loss_backward.default", "aten.nll_loss2d_backward.default")
def nll_loss_backward(b, grad, x, target, weight, reduction, ignore_index, total_weight):
    return _nll_backward(
        b, grad, x, target, weight, reduction, ignore_index, total_weight, 0 if x.ndim == 1 else 1
    )
