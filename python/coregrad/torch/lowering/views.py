"""Views and their functional scatters: index maps, nothing is moved by them."""

from __future__ import annotations

from ..metadata import (
    contiguous_strides,
    inverse_permutation,
    is_non_overlapping_and_dense,
    storage_order,
)
from .table import lower, move


@move(
    "aten.view.default",
    "aten.view_copy.default",
    "aten._unsafe_view.default",
    "aten.reshape.default",
)
def view(b, x, shape):
    return b.g.reshape(x, b.shape)


@move(
    "aten.alias.default",
    "aten.detach.default",
    "aten.lift_fresh_copy.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.lift_fresh.default",
    "aten.positive.default",
    "prims.copy_strided.default",
)
def identity(b, x, *_, **__):
    return x


@move("aten.t.default", "aten.t_copy.default")
def t(b, x):
    return b.g.transpose(x, 0, 1) if x.ndim == 2 else x


@move("aten.expand.default", "aten.expand_copy.default")
def expand(b, x, shape, implicit=False):
    return b.expand(x, b.shape)


@move(
    *(
        f"aten.squeeze{copy}.{kind}"
        for copy in ("", "_copy")
        for kind in ("default", "dim", "dims")
    ),
    "aten.unsqueeze.default",
    "aten.unsqueeze_copy.default",
)
def same_elements(b, x, *_):
    return b.g.reshape(x, b.shape)


@move("aten.select.int", "aten.select_copy.int")
def select(b, x, dim, index):
    dim = b.dim(dim, x)
    index = index + x.shape[dim] if index < 0 else index
    return b.g.reshape(b.g.narrow(x, dim, index, index + 1), b.shape)


def clamp_slice(start, end, extent):
    """Bounds of a Python slice within an extent, start <= end."""
    start = 0 if start is None else start
    end = extent if end is None else end
    start = min(max(start + extent if start < 0 else start, 0), extent)
    end = min(max(end + extent if end < 0 else end, start), extent)
    return start, end


@move("aten.slice.Tensor", "aten.slice_copy.Tensor")
def slice_(b, x, dim=0, start=None, end=None, step=1):
    dim = b.dim(dim, x)
    start, end = clamp_slice(start, end, x.shape[dim])
    return b.g.narrow(x, dim, start, end, step)


@move("aten.narrow_copy.default")
def narrow_copy(b, x, dim, start, length):
    start = start + x.shape[b.dim(dim, x)] if start < 0 else start
    return b.g.narrow(x, b.dim(dim, x), start, start + length)


@move("aten.split.Tensor", "aten.split_copy.Tensor")
def split(b, x, size, dim=0):
    sizes = [part.shape[b.dim(dim, x)] for part in b.result]
    return tuple(b.g.split_with_sizes(x, sizes, dim))


@move("aten.unbind.int", "aten.unbind_copy.int")
def unbind(b, x, dim=0):
    dim = b.dim(dim, x)
    shape = [n for d, n in enumerate(x.shape) if d != dim]
    return tuple(b.g.reshape(b.g.narrow(x, dim, i, i + 1), shape) for i in range(x.shape[dim]))


@move("aten.constant_pad_nd.default")
def constant_pad_nd(b, x, pad, value=0):
    low, high = [0] * x.ndim, [0] * x.ndim
    for i in range(len(pad) // 2):
        low[-1 - i], high[-1 - i] = pad[2 * i], pad[2 * i + 1]
    for dim in range(x.ndim):  # negative padding cuts
        start, stop = max(-low[dim], 0), x.shape[dim] - max(-high[dim], 0)
        if start or stop != x.shape[dim]:
            x = b.g.narrow(x, dim, start, stop)
    low, high = [max(n, 0) for n in low], [max(n, 0) for n in high]
    if not any(low) and not any(high):
        return x
    return b.g.pad(x, low, high, [0] * x.ndim, value)


@move("aten.slice_scatter.default")
def slice_scatter(b, x, source, dim=0, start=None, end=None, step=1):
    dim = b.dim(dim, x)
    extent = x.shape[dim]
    start, end = clamp_slice(start, end, extent)
    source = b.node(source, x.dtype)
    if source.shape[dim] == 0:
        return x
    if step == 1:
        parts = [b.g.narrow(x, dim, 0, start), source, b.g.narrow(x, dim, end, extent)]
        return b.g.cat([p for p in parts if p.shape[dim]], dim)
    return _scatter_strided(b, x, source, dim, start, step)


def _scatter_strided(b, x, source, dim, start, step):
    """X with `source` at start, start + step, ... of a dimension: both padded out, one chosen."""
    zeros = [0] * x.ndim
    low, high, interior = list(zeros), list(zeros), list(zeros)
    low[dim], interior[dim] = start, step - 1
    high[dim] = x.shape[dim] - start - ((source.shape[dim] - 1) * step + 1)
    spread = b.g.pad(source, low, high, interior, 0)
    position = b.g.iota(b.core_int64, x.shape[dim]) - start
    hit = (position >= 0) & b.g.eq(
        b.g.rem(position, b.g.literal(b.core_int64, step)), b.g.literal(b.core_int64, 0)
    )
    last = (source.shape[dim] - 1) * step
    hit = b.along(hit & (position <= last), dim, x.ndim)
    return b.where(b.expand(hit, x.shape), spread, x)


@move("aten.select_scatter.default")
def select_scatter(b, x, source, dim, index):
    dim = b.dim(dim, x)
    index = index + x.shape[dim] if index < 0 else index
    return slice_scatter(b, x, b.g.unsqueeze(source, dim), dim, index, index + 1)


def _diagonal_place(b, x, offset, dim1, dim2):
    """The order that brings the diagonal's dimensions to the end, and where the diagonal starts."""
    dim1, dim2 = b.dim(dim1, x), b.dim(dim2, x)
    order = [d for d in range(x.ndim) if d not in (dim1, dim2)] + [dim1, dim2]
    return order, max(-offset, 0), max(offset, 0)


@move("aten.diagonal_scatter.default")
def diagonal_scatter(b, x, source, offset=0, dim1=0, dim2=1):
    order, row, _ = _diagonal_place(b, x, offset, dim1, dim2)
    if not source.numel:
        return x
    turned = b.g.permute(x, order)
    rows, columns = turned.shape[-2:]
    low, high = [0] * source.ndim, [0] * source.ndim
    low[-1], high[-1] = row, rows - row - source.shape[-1]
    spread = b.g.pad(b.node(source, x.dtype), low, high, [0] * source.ndim, 0)
    spread = b.expand(b.g.unsqueeze(spread, spread.ndim), turned.shape)
    place = b.along(b.g.iota(b.core_int64, columns), 1, 2) - offset
    hit = b.g.eq(place, b.along(b.g.iota(b.core_int64, rows), 0, 2))
    turned = b.where(b.expand(hit, turned.shape), spread, turned)
    back = [0] * x.ndim
    for position, d in enumerate(order):
        back[d] = position
    return b.g.permute(turned, back)


@move("aten.unfold.default", "aten.unfold_copy.default")
def unfold(b, x, dim, size, step):
    if not x.ndim:
        return b.expand(b.g.reshape(x, [-1]), b.shape) if size else b.g.full(b.shape, b.dtype, 0)
    if not size or not x.numel:
        return b.g.full(b.shape, b.dtype, 0)
    return b.g.window(x, [(b.dim(dim, x), size, step, 1)])


def _in_storage_order(b, x):
    """The elements as a vector in the order of their storage, and the place of the first one."""
    traced = b.traced_args[0]
    if not is_non_overlapping_and_dense(tuple(traced.shape), tuple(traced.stride())):
        b.unsupported("as_strided of a tensor with gaps")
    flat = b.g.reshape(b.g.permute(x, storage_order(traced.stride())) if x.ndim else x, [-1])
    return flat, traced.storage_offset()


def _from_storage_order(b, flat):
    """The inverse of _in_storage_order."""
    traced = b.traced_args[0]
    order = storage_order(traced.stride())
    x = b.g.reshape(flat, [traced.shape[d] for d in order])
    return b.g.permute(x, inverse_permutation(order)) if order else x


def _strided_positions(b, x, size, stride, offset):
    """Where the elements of a strided view stand in the storage, counted from x's first element."""
    reach = sum((n - 1) * s for n, s in zip(size, stride)) if 0 not in size else 0
    if offset < 0 or offset + reach >= max(x.numel, 1):
        b.unsupported("as_strided beyond the tensor's own elements")
    position = b.g.full(list(size), b.core_int64, offset)
    for dim, (extent, step) in enumerate(zip(size, stride)):
        position = position + b.along(b.g.iota(b.core_int64, extent), dim, len(size)) * step
    return position


@move("aten.as_strided.default", "aten.as_strided_copy.default")
def as_strided(b, x, size, stride, offset=None):
    flat, first = _in_storage_order(b, x)
    offset = (first if offset is None else offset) - first
    if (
        offset == 0
        and tuple(stride) == contiguous_strides(tuple(size))
        and b.result.numel() == x.numel
    ):
        return b.g.reshape(flat, list(size))
    position = _strided_positions(b, x, size, stride, offset)
    return b.g.reshape(b.g.gather(flat, 0, b.g.reshape(position, [-1])), list(size))


@move("aten.as_strided_scatter.default")
def as_strided_scatter(b, x, source, size, stride, offset=None):
    flat, first = _in_storage_order(b, x)
    position = _strided_positions(b, x, size, stride, (first if offset is None else offset) - first)
    if not source.numel:
        return x
    source = b.g.reshape(b.node(source, x.dtype), [-1])
    flat = b.g.scatter(flat, 0, b.g.reshape(position, [-1]), source, "set")
    return _from_storage_order(b, flat)


@move("aten.resize.default")
def resize(b, x, size, *, memory_format=None):
    if tuple(b.traced_args[0].stride()) != contiguous_strides(tuple(x.shape)):
        b.unsupported("resize of a tensor that is not contiguous")
    flat, numel = b.g.reshape(x, [-1]), b.result.numel()
    if numel < x.numel:
        flat = b.g.narrow(flat, 0, 0, numel)
    elif numel > x.numel:  # what PyTorch leaves unset
        flat = b.g.cat([flat, b.g.full([numel - x.numel], x.dtype, 0)], 0)
    return b.g.reshape(flat, b.shape)


def _replicate(b, x, padding):
    for i in range(len(padding) // 2):
        dim = x.ndim - 1 - i
        low, high = padding[2 * i], padding[2 * i + 1]
        parts = [b.g.narrow(x, dim, max(-low, 0), x.shape[dim] - max(-high, 0))]
        shape = list(x.shape)
        if low > 0:
            shape[dim] = low
            parts.insert(0, b.g.broadcast_to(b.g.narrow(x, dim, 0, 1), shape))
        if high > 0:
            shape[dim] = high
            last = b.g.narrow(x, dim, x.shape[dim] - 1, x.shape[dim])
            parts.append(b.g.broadcast_to(last, shape))
        x = b.g.cat(parts, dim) if len(parts) > 1 else parts[0]
    return x


@lower(*(f"aten.replication_pad{rank}d_backward.default" for rank in (1, 2, 3)))
def replication_pad_backward(b, grad, x, padding):
    return b.gradient(lambda v: _replicate(b, v, list(padding)), x, grad)
