"""Convolutions of any rank, transposed ones and their gradients: all are contractions."""

from __future__ import annotations

from .matmul import check_product
from .table import lower


def _is_too_much(extra, step, apart):
    """PyTorch's kernels refuse it, its traced shapes do not."""
    return extra >= max(step, apart)


def _each(values, rank):
    return list(values) * rank if len(values) == 1 else list(values)


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
    spread = [_each(values, x.ndim - 2) for values in (output_padding, stride, dilation)]
    if transposed and any(map(_is_too_much, *spread)):
        b.unsupported("output_padding that is not smaller than stride or dilation")
    return _convolution(
        b, x, w, bias, stride, padding, dilation, transposed, output_padding, groups
    )


@lower("aten.convolution_backward.default")
def convolution_backward(b, grad, x, w, bias_sizes, *options):
    *options, mask = options
    wanted = [operand for operand, is_wanted in zip((x, w), mask) if is_wanted]
    found = iter(b.g.gradients([_convolution(b, x, w, None, *options)], [grad], wanted))
    gradients = [next(found) if is_wanted else None for is_wanted in mask[:2]]
    over = [d for d in range(grad.ndim) if d != 1]
    return *gradients, b.g.sum(grad, over, False) if mask[2] else None
