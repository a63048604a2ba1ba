"""Convolutions of any rank, transposed ones and their gradients: all are contractions.

Labels: n batch, g group, o output channel of the group, c input channel of the group, then one y for
each output position and one k for each kernel position. The input's position of (y, k) is
y * stride + k * dilation - padding; solved for y it gives the gradient with respect to the input.
"""

from __future__ import annotations

from .matmul import check_product, label
from .table import lower


class Geometry:
    """Sizes and labels of one convolution from `wide` positions to `narrow` ones."""

    N, G, O, C = 0, 1, 2, 3  # noqa: E741

    def __init__(
        self,
        batch,
        groups,
        out_channels,
        in_channels,
        wide,
        narrow,
        kernel,
        stride,
        padding,
        dilation,
    ):
        rank = len(kernel)
        self.rank, self.kernel, self.wide, self.narrow = rank, kernel, list(wide), list(narrow)
        self.stride, self.padding, self.dilation = (
            (list(v) * rank if len(v) == 1 else list(v)) for v in (stride, padding, dilation)
        )
        self.groups, self.batch = groups, batch
        self.out_group, self.in_group = out_channels // groups, in_channels // groups
        self.y = [4 + i for i in range(rank)]
        self.k = [4 + rank + i for i in range(rank)]

    def channels_extents(self):
        return [self.batch, self.groups, self.out_group, self.in_group]

    def wide_maps(self):
        """Position in the wide tensor as a function of (y, k)."""
        return [
            (self.y[i], self.k[i], self.stride[i], self.dilation[i], -self.padding[i], 1)
            for i in range(self.rank)
        ]

    def narrow_maps(self):
        """Position in the narrow tensor as a function of (wide position, k); wide labels are y's."""
        return [
            (self.y[i], self.k[i], 1, -self.dilation[i], self.padding[i], self.stride[i])
            for i in range(self.rank)
        ]

    def split_wide(self, b, x):
        return b.g.reshape(x, [self.batch, self.groups, self.in_group, *self.wide])

    def split_narrow(self, b, x):
        return b.g.reshape(x, [self.batch, self.groups, self.out_group, *self.narrow])

    def split_weight(self, b, w):
        return b.g.reshape(w, [self.groups, self.out_group, self.in_group, *self.kernel])

    def to_narrow(self, b, x, w):
        """narrow[n,g,o,y] = sum of wide[n,g,c,y*s+k*d-p] * w[g,o,c,k]."""
        out = b.g.contract(
            self.split_wide(b, x),
            self.split_weight(b, w),
            [*self.channels_extents(), *self.narrow, *self.kernel],
            [label(self.N), label(self.G), label(self.C), *self.wide_maps()],
            [label(self.G), label(self.O), label(self.C), *map(label, self.k)],
            [self.N, self.G, self.O, *self.y],
        )
        return b.g.reshape(out, [self.batch, self.groups * self.out_group, *self.narrow])

    def to_wide(self, b, x, w):
        """wide[n,g,c,i] = sum of narrow[n,g,o,(i+p-k*d)/s] * w[g,o,c,k].

        Terms whose position is no whole number or outside are products with zero: NaN where w is not
        finite, and eager leaves them out.
        """
        out = b.g.contract(
            self.split_narrow(b, x),
            self.split_weight(b, w),
            [*self.channels_extents(), *self.wide, *self.kernel],
            [label(self.N), label(self.G), label(self.O), *self.narrow_maps()],
            [label(self.G), label(self.O), label(self.C), *map(label, self.k)],
            [self.N, self.G, self.C, *self.y],
        )
        return b.g.reshape(out, [self.batch, self.groups * self.in_group, *self.wide])

    def to_weight(self, b, wide, narrow, shape):
        """w[g,o,c,k] = sum of wide[n,g,c,y*s+k*d-p] * narrow[n,g,o,y]."""
        out = b.g.contract(
            self.split_wide(b, wide),
            self.split_narrow(b, narrow),
            [*self.channels_extents(), *self.narrow, *self.kernel],
            [label(self.N), label(self.G), label(self.C), *self.wide_maps()],
            [label(self.N), label(self.G), label(self.O), *map(label, self.y)],
            [self.G, self.O, self.C, *self.k],
        )
        return b.g.reshape(out, list(shape))


def _geometry(b, x_shape, w_shape, out_shape, stride, padding, dilation, transposed, groups):
    if len(x_shape) != len(w_shape):
        b.unsupported("convolution without a batch dimension")
    # The weight's leading dimension belongs to the narrow side in both directions.
    wide_side, narrow_side = (out_shape, x_shape) if transposed else (x_shape, out_shape)
    return Geometry(
        x_shape[0],
        groups,
        narrow_side[1],
        wide_side[1],
        wide_side[2:],
        narrow_side[2:],
        list(w_shape[2:]),
        stride,
        padding,
        dilation,
    )


def _each(b, value):
    """One number for each dimension of the image."""
    return list(value) * (len(b.shape) - 2) if len(value) == 1 else list(value)


def _is_too_much(extra, step, apart):
    """PyTorch's kernels refuse it, its traced shapes do not."""
    return extra >= max(step, apart)


def _per_channel(b, bias, ndim):
    return b.along(bias, 1, ndim)


@lower("aten.convolution.default")
def convolution(b, x, w, bias, stride, padding, dilation, transposed, output_padding, groups):
    check_product(b)
    if transposed and any(map(_is_too_much, output_padding, _each(b, stride), _each(b, dilation))):
        b.unsupported("output_padding that is not smaller than stride or dilation")
    out_shape = b.shape
    geometry = _geometry(
        b, x.shape, w.shape, out_shape, stride, padding, dilation, transposed, groups
    )
    out = geometry.to_wide(b, x, w) if transposed else geometry.to_narrow(b, x, w)
    return out if bias is None else out + _per_channel(b, bias, x.ndim)


@lower("aten.convolution_backward.default")
def convolution_backward(
    b, grad, x, w, bias_sizes, stride, padding, dilation, transposed, output_padding, groups, mask
):
    geometry = _geometry(
        b, x.shape, w.shape, grad.shape, stride, padding, dilation, transposed, groups
    )
    grad_x = grad_w = grad_bias = None
    if mask[0]:
        grad_x = geometry.to_narrow(b, grad, w) if transposed else geometry.to_wide(b, grad, w)
    if mask[1]:
        wide, narrow = (grad, x) if transposed else (x, grad)
        grad_w = geometry.to_weight(b, wide, narrow, w.shape)
    if mask[2]:
        grad_bias = b.g.sum(grad, [d for d in range(grad.ndim) if d != 1], False)
    return grad_x, grad_w, grad_bias
