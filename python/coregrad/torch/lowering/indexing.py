"""Indexing by tensors: gathers and scatters."""

from __future__ import annotations

from .table import is_float, lower, move


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


def _scatter(b, x, dim, index, values, mode):
    if not index.numel:
        return x
    if not x.ndim or not index.ndim:  # scalars count as vectors of one element
        x, index, values = (b.g.reshape(v, [-1]) for v in (x, index, values))
        return b.g.reshape(_scatter(b, x, dim, index, values, mode), b.shape)
    index = _int64(b, index)
    if list(values.shape) != list(index.shape):
        starts = [0] * values.ndim
        values = b.g.slice(values, starts, list(index.shape), [1] * values.ndim)
    return b.g.scatter(x, b.dim(dim, x), index, b.node(values, x.dtype), mode)


@move("aten.scatter.src")
def scatter_src(b, x, dim, index, values):
    return _scatter(b, x, dim, index, values, "set")


@move("aten.scatter.value")
def scatter_value(b, x, dim, index, value):
    return _scatter(b, x, dim, index, b.g.full(list(index.shape), x.dtype, value), "set")


@lower("aten.scatter_add.default")
def scatter_add(b, x, dim, index, values):
    return _scatter(b, x, dim, index, values, "add")


@lower("aten.scatter.reduce")
def scatter_with(b, x, dim, index, values, *, reduce):
    return _scatter(b, x, dim, index, values, {"add": "add", "multiply": "mul"}[reduce])


@lower("aten.scatter.value_reduce")
def scatter_value_with(b, x, dim, index, value, *, reduce):
    value = b.g.full(list(index.shape), x.dtype, value)
    return scatter_with(b, x, dim, index, value, reduce=reduce)


REDUCE_MODES = {"sum": "add", "mean": "add", "prod": "mul", "amax": "max", "amin": "min"}
NEUTRAL = {"sum": 0, "mean": 0, "prod": 1}


@lower("aten.scatter_reduce.two")
def scatter_reduce(b, x, dim, index, values, reduce, *, include_self=True):
    counts = b.full_like(x, 1 if include_self else 0) if reduce == "mean" else None
    if not include_self and index.numel:
        # What is written to starts with the first value that comes: where nothing else is there,
        # any of the values does, for sums and products the neutral element.
        first = NEUTRAL.get(reduce)
        start = b.full_like(values, first) if first is not None else values
        x = _scatter(b, x, dim, index, start, "set")
    total = _scatter(b, x, dim, index, values, REDUCE_MODES[reduce])
    if counts is None:
        return total
    if x.dtype == b.core_bool:
        b.unsupported("the mean of truth values")
    counts = b.at_least(_scatter(b, counts, dim, index, b.full_like(values, 1), "add"), 1)
    return b.g.div(total, counts, None if is_float(total.dtype) else "floor")


@lower("aten.index_reduce.default")
def index_reduce(b, x, dim, index, source, reduce, *, include_self=True):
    if not x.ndim:
        x, source = b.g.reshape(x, [-1]), b.g.reshape(source, [-1])
    dim = b.dim(dim, x)
    wide = b.expand(b.along(b.g.reshape(_int64(b, index), [-1]), dim, x.ndim), source.shape)
    total = scatter_reduce(b, x, dim, wide, source, reduce, include_self=include_self)
    return b.g.reshape(total, b.shape)


@lower("aten.put.default")
def put(b, x, index, source, accumulate=False):
    if not index.numel:
        return x
    flat, index = b.g.reshape(x, [-1]), b.g.reshape(_int64(b, index), [-1])
    index = b.where(index < 0, index + x.numel, index)
    mode = "add" if accumulate else "set"
    source = b.g.reshape(b.node(source, x.dtype), [-1])
    return b.g.reshape(b.g.scatter(flat, 0, index, source, mode), b.shape)


def _number_of_true(b, mask):
    """For each element of a mask how many before it are true, as a vector."""
    return b.g.cumsum(b.node(b.g.reshape(mask, [-1]), b.core_int64), 0) - 1


@lower("aten.masked_scatter.default")
def masked_scatter(b, x, mask, source):
    x, mask = b.expand(x, b.shape), b.expand(mask, b.shape)
    if not source.numel or not x.numel:
        b.unsupported("a masked scatter of nothing")
    place = _number_of_true(b, mask)
    place = b.where(b.g.reshape(mask, [-1]), place, 0)  # too few elements: a bad index
    values = b.g.gather(b.g.reshape(source, [-1]), 0, place)
    return b.where(mask, b.g.reshape(values, b.shape), x)


def _packed(b, values, mask, size, fill):
    """The first `size` of a vector's elements where a mask is true, and after them `fill`."""
    place = _number_of_true(b, mask)
    kept = b.g.reshape(mask, [-1]) & (place < size)
    room = b.g.full([size + 1], values.dtype, fill)  # the last place is for all others
    room = b.g.scatter(room, 0, b.where(kept, place, size), values, "set")
    return b.g.narrow(room, 0, 0, size)


@lower("aten.masked_scatter_backward.default")
def masked_scatter_backward(b, grad, mask, sizes):
    mask = b.g.reshape(b.expand(mask, grad.shape), [-1])
    if not grad.numel:
        return b.g.full(b.shape, b.dtype, 0)
    packed = _packed(b, b.g.reshape(grad, [-1]), mask, b.result.numel(), 0)
    return b.g.reshape(packed, b.shape)


@lower("aten.nonzero_static.default")
def nonzero_static(b, x, *, size, fill_value=-1):
    if not x.numel or not x.ndim or not size:
        return b.g.full(b.shape, b.dtype, fill_value)
    mask = b.g.reshape(b.node(x, b.core_bool), [-1])
    columns = []
    for dim, extent in enumerate(x.shape):
        place = b.expand(b.along(b.g.iota(b.core_int64, extent), dim, x.ndim), x.shape)
        columns.append(_packed(b, b.g.reshape(place, [-1]), mask, size, fill_value))
    return b.g.cat([b.g.unsqueeze(c, 1) for c in columns], 1)


class Advanced:
    """x[indices] as rows of a matrix: indexed dimensions in front and merged, one row number a place.

    `result_shape` is what PyTorch gives: the indices' common shape stands where the indexed dimensions
    stood, or in front if other dimensions lie between them.
    """

    def __init__(self, b, x, indices):
        places = [d for d, index in enumerate(indices) if index is not None]
        if not places:
            b.unsupported("indexing without an index")
        tensors = [_int64(b, indices[d]) for d in places]
        self.kept = [d for d in range(x.ndim) if d not in places]
        self.order = places + self.kept
        self.extents = [x.shape[d] for d in self.order]
        self.rest = [x.shape[d] for d in self.kept]
        self.index_shape = _broadcast_shape([list(t.shape) for t in tensors])
        adjacent = places == list(range(places[0], places[0] + len(places)))
        self.front = places[0] if adjacent else 0
        self.num_rows = 1
        row = None
        for d, tensor in zip(places, tensors):
            extent = x.shape[d]
            tensor = b.expand(tensor, self.index_shape)
            tensor = b.where(tensor < 0, tensor + extent, tensor)
            self.num_rows *= extent
            if row is None:
                row = tensor
                continue
            # A bad index must stay bad after merging: the row number becomes negative for good.
            bad = (tensor < 0) | (tensor >= extent) | (row < 0)
            row = b.where(bad, -1, row * extent + tensor)
        if len(places) > 1:
            first = _wrapped(b, tensors[0], x.shape[places[0]], self.index_shape)
            row = b.where((first < 0) | (first >= x.shape[places[0]]), -1, row)
        self.row = b.g.reshape(row, [-1])
        self.width = 1
        for extent in self.rest:
            self.width *= extent

    def to_matrix(self, b, x):
        return b.g.reshape(b.g.permute(x, self.order), [self.num_rows, self.width])

    def from_matrix(self, b, matrix):
        """The inverse of to_matrix."""
        back = [0] * len(self.order)
        for position, d in enumerate(self.order):
            back[d] = position
        return b.g.permute(b.g.reshape(matrix, self.extents), back)

    def result_order(self):
        """Where the dimensions of [indices..., rest...] go in the result."""
        k, front = len(self.index_shape), self.front
        rest = list(range(k, k + len(self.rest)))
        return rest[:front] + list(range(k)) + rest[front:]

    def result_shape(self):
        return self.rest[: self.front] + self.index_shape + self.rest[self.front :]


def _wrapped(b, tensor, extent, shape):
    tensor = b.expand(tensor, shape)
    return b.where(tensor < 0, tensor + extent, tensor)


def _broadcast_shape(shapes):
    rank = max(len(s) for s in shapes)
    out = [1] * rank
    for shape in shapes:
        for i, extent in enumerate(shape):
            at = rank - len(shape) + i
            out[at] = extent if out[at] == 1 else out[at]
    return out


@move("aten.index.Tensor", "aten._unsafe_index.Tensor")
def index(b, x, indices):
    plan = Advanced(b, x, indices)
    rows = b.g.gather(plan.to_matrix(b, x), 0, _rows(b, plan.row, plan.width))
    rows = b.g.reshape(rows, plan.index_shape + plan.rest)
    return b.g.permute(rows, plan.result_order())


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
    values = b.expand(b.node(values, x.dtype), plan.result_shape())
    order = plan.result_order()
    back = [0] * len(order)
    for position, d in enumerate(order):
        back[d] = position
    rows = b.g.reshape(b.g.permute(values, back), [plan.row.numel, plan.width])
    mode = "add" if accumulate else "set"
    matrix = b.g.scatter(plan.to_matrix(b, x), 0, _rows(b, plan.row, plan.width), rows, mode)
    return plan.from_matrix(b, matrix)


def _scatter_slices(b, x, dim, index, source, mode):
    if b.traced_args[3].dtype != b.result.dtype:
        b.unsupported("operands of different dtypes")
    if not x.ndim:  # a scalar counts as a vector of one element
        x, source = b.g.reshape(x, [1]), b.g.reshape(source, [-1])
    dim = b.dim(dim, x)
    wide = b.expand(b.along(b.g.reshape(_int64(b, index), [-1]), dim, x.ndim), source.shape)
    return b.g.reshape(b.g.scatter(x, dim, wide, source, mode), b.shape)


@lower("aten.index_add.default")
def index_add(b, x, dim, index, source, *, alpha=1):
    return _scatter_slices(b, x, dim, index, source if alpha == 1 else source * alpha, "add")


@move("aten.index_copy.default")
def index_copy(b, x, dim, index, source):
    return _scatter_slices(b, x, dim, index, source, "set")
