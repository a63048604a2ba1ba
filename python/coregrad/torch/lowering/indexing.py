"""Indexing by tensors: gathers and scatters."""

from __future__ import annotations

from ..metadata import inverse_permutation
from .table import lower, move


def as_int64(b, index):
    if index.dtype == b.core_bool:
        b.unsupported("a mask as index")
    return b.node(index, b.core_int64)


@move("aten.gather.default")
def gather(b, x, dim, index, *, sparse_grad=False):
    if not index.numel:  # of any rank
        return b.g.full(b.shape, x.dtype, 0)
    if not x.ndim or not index.ndim:  # scalars count as vectors of one element
        x, index = b.g.reshape(x, [-1]), b.g.reshape(index, [-1])
    return b.g.reshape(b.g.gather(x, b.dim(dim, x), as_int64(b, index)), b.shape)


#: Words of `scatter` for those of `scatter_reduce`.
REDUCTIONS = {"add": "sum", "multiply": "prod"}


@lower("aten.scatter.reduce", "aten.scatter.value_reduce")
def scatter_with(b, x, dim, index, values, *, reduce):
    return b.g.scatter_reduce(x, dim, index, b.node(values, x.dtype), REDUCTIONS[reduce])


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


def _broadcast(shapes):
    """The common shape of indices, which PyTorch has checked."""
    rank = max(map(len, shapes))
    columns = zip(*([1] * (rank - len(s)) + list(s) for s in shapes))
    return [next((n for n in column if n != 1), 1) for column in columns]


class Advanced:
    """x[indices], with the indexed dimensions brought to the front.

    What PyTorch gives has the indices' common shape where the indexed dimensions stood, or in front if
    other dimensions lie between them.
    """

    def __init__(self, b, x, indices):
        places = [d for d, index in enumerate(indices) if index is not None]
        if not places:
            b.unsupported("indexing without an index")
        self.tensors = [as_int64(b, indices[d]) for d in places]
        self.order = places + [d for d in range(x.ndim) if d not in places]
        adjacent = places == list(range(places[0], places[0] + len(places)))
        front = places[0] if adjacent else 0
        common = _broadcast([t.shape for t in self.tensors])
        kept, width = self.order[len(places) :], len(common)
        numbers = list(range(width, width + len(kept)))
        #: Where the dimensions of [indices.., kept..] go in the result.
        self.result_order = numbers[:front] + list(range(width)) + numbers[front:]
        self.result_shape = [x.shape[d] for d in kept]
        self.result_shape[front:front] = common

    def to_front(self, b, x):
        return b.g.permute(x, self.order)


@move("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(b, x, indices):
    plan = Advanced(b, x, indices)
    return b.g.permute(b.g.index(plan.to_front(b, x), plan.tensors), plan.result_order)


@move("aten.index_put.default", "aten._unsafe_index_put.default")
def index_put(b, x, indices, values, accumulate=False):
    given = [(at, index) for at, index in enumerate(indices) if index is not None]
    if len(given) == 1 and given[0][1].dtype == b.core_bool and x.numel:
        return b.g.mask_put(x, *given[0], b.node(values, x.dtype), accumulate)
    plan = Advanced(b, x, indices)
    values = b.expand(b.node(values, x.dtype), plan.result_shape)
    values = b.g.permute(values, inverse_permutation(plan.result_order))
    total = b.g.index_put(plan.to_front(b, x), plan.tensors, values, accumulate)
    return b.g.permute(total, inverse_permutation(plan.order))


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
