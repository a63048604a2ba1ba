"""Reductions, scans and argsort."""

import itertools

import torch

from .common import (
    ALL,
    COLUMNS,
    FLOATS,
    INTEGERS,
    NAMES,
    NUMBERS,
    ROWS,
    Case,
    sample,
    special_pairs,
    specials,
    with_layouts,
)


def every_dim(x, dims):
    return list(dims) or list(range(x.dim()))


def reduce_one_by_one(function):
    """A reduction of one dimension, over several."""

    def eager(x, dims, keepdim):
        for d in sorted((d % x.dim() for d in every_dim(x, dims)), reverse=True):
            x = function(x, d, keepdim)
        return x

    return eager


def sum_eager(x, dims, keepdim):
    return x.sum(every_dim(x, dims), keepdim) if x.dim() else x.sum()


def arg_eager(function):
    def eager(x, dims, keepdim):
        # PyTorch has none for bool.
        return function(x.byte() if x.dtype == torch.bool else x, dims[0], keepdim)

    return eager


# Zero-d products: PyTorch's one-dimension product does not see them.
def prod_eager(x, dims, keepdim):
    if x.dim() == 0:
        return x.prod()
    return reduce_one_by_one(lambda x, d, keep: x.prod(d, keep))(x, dims, keepdim)


REDUCE = {
    "sum": sum_eager,
    "prod": prod_eager,
    "reduce_max": lambda x, dims, keepdim: x.amax(dims, keepdim),
    "reduce_min": lambda x, dims, keepdim: x.amin(dims, keepdim),
    "argmax": arg_eager(torch.argmax),
    "argmin": arg_eager(torch.argmin),
}
ADDING = ("sum", "prod")


def reduce_operands(op):
    low, high = (0.5, 1.5) if op == "prod" else (-3, 3)
    integer_low, integer_high = (-3, 3)
    for dtype in ALL:
        limits = (low, high) if dtype.is_floating_point else (integer_low, integer_high)
        yield from with_layouts([dtype], *limits)
        long = (3, 3000), (3000, 3), (2, 100_000), (2, 11, 13)
        for shape in long if op != "prod" else long[3:]:
            yield f"{NAMES[dtype]} {shape}", sample(shape, dtype, *limits)
        values = specials(dtype)
        n = len(values)
        # Each row meets all values in another order, and each pair of neighbours a row of its own.
        turned = torch.stack([values.roll(k) for k in range(n)])
        yield f"{NAMES[dtype]} specials", turned
        yield f"{NAMES[dtype]} pairs", torch.stack(special_pairs(dtype), 1)


def reduce_cases(op):
    takes_one = op in ("argmax", "argmin")
    for label, x in reduce_operands(op):
        if takes_one:
            choices = [[d] for d in range(-x.dim(), 0)]
        elif x.dim() < 2:
            choices = [[]]
        elif x.dim() == 2:
            choices = [[-1], [0], []]
        else:
            choices = [[1], [0, 2], [1, 2], []]
        for dims, keepdim in itertools.product(choices, (False, True)):
            extents = [x.shape[d] for d in every_dim(x, dims)]
            if op not in ADDING and 0 in extents:
                continue  # refused: see the bad inputs
            if op == "prod" and "specials" in label and x.is_floating_point():
                continue  # all NaN: "pairs" has the special values
            yield Case(
                f"{label} dims {dims} keepdim {keepdim}",
                [x],
                lambda g, x, dims=dims[0] if takes_one else dims, keepdim=keepdim: getattr(g, op)(
                    x, dims, keepdim
                ),
                lambda x, dims=dims, keepdim=keepdim: REDUCE[op](x, dims, keepdim),
                moves=op not in ADDING,
                sums=op in ADDING,
                signs=False,  # which of two zeros is the greatest is left open
            )


SCANS = {"cumsum": torch.cumsum, "cumprod": torch.cumprod}


def scan_cases(op):
    operands = itertools.chain(
        (row for row in with_layouts(ALL, 0.5, 1.5) if row[1].dim() > 0),
        ((f"{NAMES[t]} pairs", torch.stack(special_pairs(t), 1)) for t in ALL),
        ((f"{NAMES[t]} integers", sample((ROWS, COLUMNS), t, -4, 4)) for t in INTEGERS),
        ((f"{NAMES[t]} with zeros", sample((4, 9), t, 0, 3).round()) for t in FLOATS),
    )
    for label, x in operands:
        for dim in range(-1, x.dim() - 1):
            yield Case(
                f"{label} dim {dim}",
                [x],
                lambda g, x, dim=dim: getattr(g, op)(x, dim),
                lambda x, dim=dim: SCANS[op](x, dim),
                sums=True,
                # PyTorch's gradient divides by the elements: NaN for (denormal, infinity), where
                # the product of the others is finite.
                differentiable=not ("pairs" in label and op == "cumprod"),
            )


def argsort_cases(_):
    operands = itertools.chain(
        (row for row in with_layouts(ALL) if row[1].dim() > 0),
        ((f"{NAMES[t]} ties", sample((3, 300), t, -4, 4).round()) for t in NUMBERS),
        ((f"{NAMES[t]} specials", specials(t).repeat(2)[None]) for t in ALL),
    )
    for label, x in operands:
        for dim, descending in itertools.product(range(-1, x.dim() - 1), (False, True)):
            yield Case(
                f"{label} dim {dim} descending {descending}",
                [x],
                lambda g, x, d=dim, down=descending: g.argsort(x, d, down),
                lambda x, d=dim, down=descending: torch.argsort(
                    x, dim=d, descending=down, stable=True
                ),
            )


ALONG_DIMENSIONS = {
    **dict.fromkeys(REDUCE, reduce_cases),
    **dict.fromkeys(SCANS, scan_cases),
    "argsort": argsort_cases,
}
