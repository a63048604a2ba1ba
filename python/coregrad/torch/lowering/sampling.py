"""Sampling an image or a volume at the places of a grid, smooth resizing, and the gradients."""

from __future__ import annotations

from .table import is_float, lower

#: ATen's numbers for words.
MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")


@lower("aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default")
def grid_sampler(b, x, grid, mode, padding, align_corners):
    return b.g.grid_sample(x, grid, MODES[mode], PADDINGS[padding], align_corners)


@lower("aten.grid_sampler_2d_backward.default", "aten.grid_sampler_3d_backward.default")
def grid_sampler_backward(b, grad, x, grid, mode, padding, align_corners, mask):
    options = mode, padding, align_corners
    return (
        b.gradient(lambda v: grid_sampler(b, v, grid, *options), x, grad),
        b.gradient(lambda v: grid_sampler(b, x, v, *options), grid, grad),
    )


def _resizes(name, mode):
    """Resizing with a filter as wide as a step of the larger grid."""

    @lower(f"aten.{name}.default")
    def resize(b, x, output_size, align_corners, *scales):
        if not is_float(x.dtype):
            b.unsupported("images of integers, which PyTorch resizes in fixed point")
        given = [s for s in scales if s is not None]
        size = None if given else output_size
        return b.g.interpolate(x, size, given, mode, align_corners, None, True)

    @lower(f"aten.{name}_backward.default")
    def resize_backward(b, grad, output_size, input_size, align_corners, *scales):
        def function(x):
            return resize(b, x, output_size, align_corners, *scales)

        return b.gradient_of_linear(function, input_size, grad)


_resizes("_upsample_bilinear2d_aa", "bilinear")
_resizes("_upsample_bicubic2d_aa", "bicubic")
