"""Sampling an image or a volume at the places of a grid, smooth resizing, and the gradients."""

from __future__ import annotations

import itertools
import math

from .table import lower

BILINEAR, NEAREST, BICUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2
CUBIC = -0.75  #: Keys' coefficient


def _unnormalised(c, extent, align_corners):
    """From [-1, 1] to pixels."""
    if align_corners:
        return (c + 1.0) / 2.0 * float(extent - 1)
    return ((c + 1.0) * float(extent) - 1.0) / 2.0


def _clipped(b, c, extent):
    """Into the image; the gradient ends at its border."""
    return b.where(c <= 0, 0, b.where(c >= extent - 1, float(extent - 1), c))


def _reflected(b, c, twice_low, twice_high):
    if twice_low == twice_high:
        return b.full_like(c, 0)
    low, span = twice_low / 2, (twice_high - twice_low) / 2
    c = b.g.abs(c - low)
    flips = b.g.floor(c / span)
    extra = c - flips * span
    odd = b.g.ne(b.g.rem(flips, b.full_like(flips, 2)), b.full_like(flips, 0))
    return b.where(odd, span - extra + low, extra + low)


def _padded(b, c, extent, padding, align_corners):
    """A pixel coordinate after what the mode of padding does to it."""
    if padding == REFLECTION:
        ends = (0, 2 * (extent - 1)) if align_corners else (-1, 2 * extent - 1)
        c = _reflected(b, c, *ends)
    return c if padding == ZEROS else _clipped(b, c, extent)


class _Image:
    """X [N, C, area], read at whole coordinates [N, P] of each axis; 0 outside."""

    def __init__(self, b, x):
        self.b, self.extents = b, list(x.shape[2:])
        self.x = b.g.reshape(x, [x.shape[0], x.shape[1], math.prod(self.extents)])

    def at(self, coordinates):
        """[N, C, P]"""
        b, place, inside = self.b, None, None
        for c, extent in zip(coordinates, self.extents):
            within = (c >= 0) & (c <= extent - 1)
            inside = within if inside is None else inside & within
            index = b.g.cast(b.where(within, c, 0), b.core_int64)
            place = index if place is None else place * extent + index
        shape = [*self.x.shape[:2], place.shape[1]]
        place, inside = (b.expand(b.g.unsqueeze(v, 1), shape) for v in (place, inside))
        return b.where(inside, b.g.gather(self.x, 2, place), 0)


def _linear_taps(b, c):
    """The two neighbours of a coordinate, with their weights."""
    low = b.g.floor(c)
    return [(low, low + 1.0 - c), (low + 1.0, c - low)]


def _cubic_taps(b, c, extent, padding, align_corners):
    low = b.g.floor(c)
    t = c - low

    def near(d):
        return ((CUBIC + 2) * d - (CUBIC + 3)) * d * d + 1.0

    def far(d):
        return ((CUBIC * d - 5 * CUBIC) * d + 8 * CUBIC) * d - 4 * CUBIC

    weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
    places = [_padded(b, low + float(i - 1), extent, padding, align_corners) for i in range(4)]
    return [(b.g.round(place), weight) for place, weight in zip(places, weights)]


def _sampled(b, x, grid, interpolation, padding, align_corners):
    """[N, C, *places] of x [N, C, *extents] at a grid [N, *places, rank] whose last axis runs first."""
    rank, places = x.ndim - 2, list(grid.shape[1:-1])
    if not x.numel:
        b.unsupported("a sample of nothing")
    grid = b.g.reshape(grid, [grid.shape[0], math.prod(places), rank])
    image, taps = _Image(b, x), []
    for axis, extent in enumerate(image.extents):
        at = rank - 1 - axis
        c = b.g.reshape(b.g.narrow(grid, 2, at, at + 1), list(grid.shape[:2]))
        c = _unnormalised(c, extent, align_corners)
        if interpolation == BICUBIC:
            taps.append(_cubic_taps(b, c, extent, padding, align_corners))
            continue
        c = _padded(b, c, extent, padding, align_corners)
        taps.append([(b.g.round(c), None)] if interpolation == NEAREST else _linear_taps(b, c))
    total = None
    for corner in itertools.product(*taps):
        value = image.at([c for c, _ in corner])
        for _, weight in corner:
            value = value if weight is None else value * b.g.unsqueeze(weight, 1)
        total = value if total is None else total + value
    return b.g.reshape(total, [*x.shape[:2], *places])


@lower("aten.grid_sampler_2d.default", "aten.grid_sampler_3d.default")
def grid_sampler(b, x, grid, interpolation, padding, align_corners):
    return _sampled(b, x, grid, interpolation, padding, align_corners)


@lower("aten.grid_sampler_2d_backward.default", "aten.grid_sampler_3d_backward.default")
def grid_sampler_backward(b, grad, x, grid, interpolation, padding, align_corners, mask):
    options = interpolation, padding, align_corners
    return (
        b.gradient(lambda v: _sampled(b, v, grid, *options), x, grad),
        b.gradient(lambda v: _sampled(b, x, v, *options), grid, grad),
    )


# Resizing with a filter as wide as a step of the larger grid


def _smoothing_matrix(b, extent, places, align_corners, scale, dtype):
    """[places, extent]: a triangle around each place."""
    if align_corners:
        step = (extent - 1) / (places - 1) if places > 1 else 0.0
    else:
        step = 1 / scale if scale else extent / places
    support = max(step, 1.0)
    center = (b.g.cast(b.g.iota(b.core_int64, places), b.core_float64) + 0.5) * step
    center = b.along(center, 0, 2)
    column = b.g.cast(b.along(b.g.iota(b.core_int64, extent), 1, 2), b.core_float64)
    first, last = (b.g.floor(b.at_least(center + s * support + 0.5, 0)) for s in (-1, 1))
    weight = b.at_least(1.0 - b.g.abs((column - center + 0.5) / support), 0)
    weight = b.where((column >= first) & (column < last), weight, 0)
    return b.g.cast(weight / b.g.sum(weight, [1], True), dtype)


def _weighted_sum(b, x, dim, weights):
    """The sum along a dimension for each row of weights; a weight of 0 hides infinite elements."""
    shape = [1] * (x.ndim + 1)
    shape[dim : dim + 2] = weights.shape
    weights, x = b.g.reshape(weights, shape), b.g.unsqueeze(x, dim)
    return b.g.sum(
        b.where(b.g.ne(weights, b.full_like(weights, 0)), x * weights, 0), [dim + 1], False
    )


@lower("aten._upsample_bilinear2d_aa.default")
def upsample_smoothly(b, x, output_size, align_corners, *scales):
    for dim, places, scale in zip((2, 3), output_size, scales or (None, None)):
        weights = _smoothing_matrix(b, x.shape[dim], places, align_corners, scale, x.dtype)
        x = _weighted_sum(b, x, dim, weights)
    return x


@lower("aten._upsample_bilinear2d_aa_backward.default")
def upsample_smoothly_backward(b, grad, output_size, input_size, align_corners, *scales):
    for dim, scale in zip((2, 3), scales or (None, None)):
        extent, places = input_size[dim], output_size[dim - 2]
        weights = _smoothing_matrix(b, extent, places, align_corners, scale, grad.dtype)
        grad = _weighted_sum(b, grad, dim, b.g.transpose(weights, 0, 1))
    return grad
