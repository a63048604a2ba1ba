"""Convolutions of any rank, transposed ones and their gradients: all are contractions."""

from __future__ import annotations

from .matmul import check_product
from .table import each, lower


def _is_too_much(extra, step, apart):
    """PyTorch's kernels refuse it, its traced shapes do not."""
    return extra >= max(step, apart)


def _convolution(b, x, w, bias, stride, padding, dilation, transposed, output_padding, groups):
    if x.ndim != w.ndim:
        b.unsupported("convolution without a batch dimension")
    lists = [list(values) for values in (stride, padding, dilation)]
    if transposed:
        return b.g.conv_transpose(x, w, bias, *lists, groups, list(output_padding))
    return b.g.conv(x, w, bias, *lists, groups)


@lower("aten.convolution.default")
def convolution(b, x, w, bias, stride, padding, dilation, transposed, output_padding, groups):
    check_product(b)
    spread = [each(values, x.ndim - 2) for values in (output_padding, stride, dilation)]
    if transposed and any(map(_is_too_much, *spread)):
        b.unsupported("output_padding that is not smaller than stride or dilation")
    return _convolution(
        b, x, w, bias, stride, padding, dilation, transposed, output_padding, groups
    )


@lower("aten.convolution_backward.default")
def convolution_backward(b, grad, x, w, bias_sizes, *options):
    *options, mask = options
    grad_x = grad_w = grad_bias = None
    if mask[0]:
        grad_x = b.gradient(lambda v: _convolution(b, v, w, None, *options), x, grad)
    if mask[1]:
        grad_w = b.gradient(lambda v: _convolution(b, x, v, None, *options), w, grad)
    if mask[2]:
        grad_bias = b.g.sum(grad, [d for d in range(grad.ndim) if d != 1], False)
    return grad_x, grad_w, grad_bias
