"""Indexing by tensors: gathers and scatters."""

from __future__ import annotations

import torch

from .table import lower, move


def _rows(b, index, width):
    """An index vector [n] as an index [n, width] that names whole rows."""
    return b.expand(b.g.reshape(index, [-1, 1]), [index.numel, width])


def _int64(b, index):
    if index.dtype == b.core_bool:
        b.unsupported("a mask as index")
    return b.node(index, b.core_int64)


@move("aten.embedding.default")
def embedding(b, weight, index, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    rows = b.g.index_select(weight, 0, b.g.reshape(_int64(b, index), [-1]))
    return b.g.reshape(rows, b.shape)


@lower("aten.embedding_dense_backward.default")
def embedding_dense_backward(b, grad, index, num_weights, padding_idx, scale_grad_by_freq):
    index = b.g.reshape(_int64(b, index), [-1])
    width = b.shape[1]
    grad = b.g.reshape(grad, [index.numel, width])
    if scale_grad_by_freq:
        ones = b.g.full([index.numel], grad.dtype, 1)
        counts = b.g.scatter(b.g.full([num_weights], grad.dtype, 0), 0, index, ones, "add")
        grad = grad / b.g.reshape(b.g.gather(counts, 0, index), [-1, 1])
    if padding_idx >= 0:
        kept = b.g.reshape(b.g.ne(index, b.g.literal(index.dtype, padding_idx)), [-1, 1])
        grad = b.where(b.expand(kept, grad.shape), grad, 0)
    zeros = b.g.full([num_weights, width], grad.dtype, 0)
    return b.g.scatter(zeros, 0, _rows(b, index, width), grad, "add")


@move("aten.gather.default")
def gather(b, x, dim, index, *, sparse_grad=False):
    if not index.numel:  # of any rank
        return b.g.full(b.shape, x.dtype, 0)
    if not x.ndim or not index.ndim:  # scalars count as vectors of one element
        x, index = b.g.reshape(x, [-1]), b.g.reshape(index, [-1])
    return b.g.reshape(b.g.gather(x, b.dim(dim, x), _int64(b, index)), b.shape)


#: Words of `scatter` for those of `scatter_reduce`.
REDUCTIONS = {"add": "sum", "multiply": "prod"}


@lower("aten.scatter.reduce", "aten.scatter.value_reduce")
def scatter_with(b, x, dim, index, values, *, reduce):
    return b.g.scatter_reduce(x, dim, index, b.node(values, x.dtype), REDUCTIONS[reduce])


def _number_of_true(b, mask):
    """For each element of a mask how many before it are true, as a vector."""
    return b.g.cumsum(b.node(b.g.reshape(mask, [-1]), b.core_int64), 0) - 1


@move("aten.masked_scatter.default")
def masked_scatter(b, x, mask, source):
    if not source.numel or not x.numel:
        b.unsupported("a masked scatter of nothing")
    return b.g.masked_scatter(x, mask, source)


@lower("aten.masked_scatter_backward.default")
def masked_scatter_backward(b, grad, mask, sizes):
    if not grad.numel or not b.result.numel():
        return b.g.full(b.shape, b.dtype, 0)

    def function(source):
        return b.g.masked_scatter(b.full_like(grad, 0), mask, source)

    return b.gradient_of_linear(function, b.shape, grad)


class Advanced:
    """x[indices], with the indexed dimensions brought to the front.

    What PyTorch gives has the indices' common shape where the indexed dimensions stood, or in front if
    other dimensions lie between them.
    """

    def __init__(self, b, x, indices):
        places = [d for d, index in enumerate(indices) if index is not None]
        if not places:
            b.unsupported("indexing without an index")
        self.tensors = [_int64(b, indices[d]) for d in places]
        self.order = places + [d for d in range(x.ndim) if d not in places]
        adjacent = places == list(range(places[0], places[0] + len(places)))
        front = places[0] if adjacent else 0
        common = list(torch.broadcast_shapes(*(t.shape for t in self.tensors)))
        kept, width = self.order[len(places) :], len(common)
        numbers = list(range(width, width + len(kept)))
        #: Where the dimensions of [indices.., kept..] go in the result.
        self.result_order = numbers[:front] + list(range(width)) + numbers[front:]
        self.result_shape = [x.shape[d] for d in kept]
        self.result_shape[front:front] = common

    def to_front(self, b, x):
        return b.g.permute(x, self.order)


def _inverse(order):
    back = [0] * len(order)
    for position, d in enumerate(order):
        back[d] = position
    return back


@move("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(b, x, indices):
    plan = Advanced(b, x, indices)
    return b.g.permute(b.g.index_leading(plan.to_front(b, x), plan.tensors), plan.result_order)


def _put_where(b, x, at, mask, values, accumulate):
    """`values` where a mask over the dimensions from `at` on is true: one for all, or one each."""
    rest = x.ndim - at - mask.ndim
    shape = [1] * (at + 1 + rest - values.ndim) + list(values.shape)
    values = b.node(values, x.dtype)
    number = shape[at]
    if number == 1:
        values = b.g.reshape(values, shape[:at] + [1] * mask.ndim + shape[at + 1 :])
    else:
        count = _number_of_true(b, mask)
        full = b.expand(b.g.narrow(count, 0, mask.numel - 1, mask.numel), [mask.numel])
        wrong = b.g.ne(full, b.full_like(full, number - 1))  # PyTorch's error: here a bad index
        place = b.where(wrong, number, b.where(b.g.reshape(mask, [-1]), count, 0))
        wide = [*shape[:at], mask.numel, *shape[at + 1 :]]
        values = b.g.gather(
            b.g.reshape(values, shape), at, b.expand(b.along(place, at, len(shape)), wide)
        )
        values = b.g.reshape(values, wide[:at] + list(mask.shape) + wide[at + 1 :])
    values = b.expand(values, x.shape)
    mask = b.expand(b.g.reshape(mask, [1] * at + list(mask.shape) + [1] * rest), x.shape)
    return b.where(mask, x + values if accumulate else values, x)


@move("aten.index_put.default", "aten._unsafe_index_put.default")
def index_put(b, x, indices, values, accumulate=False):
    given = [(at, index) for at, index in enumerate(indices) if index is not None]
    if len(given) == 1 and given[0][1].dtype == b.core_bool and x.numel:
        return _put_where(b, x, *given[0], values, accumulate)
    plan = Advanced(b, x, indices)
    values = b.expand(b.node(values, x.dtype), plan.result_shape)
    values = b.g.permute(values, _inverse(plan.result_order))
    total = b.g.index_put(plan.to_front(b, x), plan.tensors, values, accumulate)
    return b.g.permute(total, _inverse(plan.order))


def _require_one_dtype(b):
    if b.traced_args[3].dtype != b.result.dtype:
        b.unsupported("operands of different dtypes")


@lower("aten.index_add.default")
def index_add(b, x, dim, index, source, *, alpha=1):
    _require_one_dtype(b)
    return b.g.index_add(x, dim, index, source, alpha)


@move("aten.index_copy.default")
def index_copy(b, x, dim, index, source):
    _require_one_dtype(b)
    return b.g.index_copy(x, dim, index, source)
