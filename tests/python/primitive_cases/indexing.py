"""Gather, and scatter in all its modes."""

import itertools

import torch

from .common import (
    ALL,
    INTEGERS,
    NAMES,
    Case,
    generator,
    sample,
    specials,
    with_layouts,
)


def indices(shape, below):
    return torch.randint(0, below, shape, generator=generator)


def indexed_operands(dtypes, low=-3.0, high=3.0):
    """(label, x, dim, index): indices repeat, and are fewer than x's extents where they may be."""
    for label, x in with_layouts(dtypes, low, high):
        if x.dim() == 0:
            continue  # refused: see the bad inputs
        for dim in (0, 1):
            extent = x.shape[dim]
            shape = [*x.shape]
            shape[dim] = 9
            if extent == 0:
                shape[dim] = 0  # nothing to point at
            elif x.shape[1 - dim] > 1:
                shape[1 - dim] -= 1
            yield f"{label} dim {dim}", x, dim, indices(shape, max(extent, 1))
        yield f"{label} no index", x, 1, indices((x.shape[0], 0), 1)
    for dtype in dtypes:
        values = specials(dtype)
        yield f"{NAMES[dtype]} specials", values, 0, indices((50,), len(values))


def gather_cases(_):
    for label, x, dim, index in indexed_operands(ALL):
        for index_dtype in INTEGERS:
            yield Case(
                f"{label} {NAMES[index_dtype]} index",
                [x, index.to(index_dtype)],
                lambda g, x, i, d=dim: g.gather(x, d, i),
                lambda x, i, d=dim: torch.gather(x, d, i.long()),
                moves=True,
                sums=True,
            )


REDUCTION_NAMES = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter_eager(x, dim, index, values, mode):
    index = index.long()
    if mode != "set":
        if x.dtype == torch.bool:  # PyTorch has none for bool, where they are or and and
            kind = {"add": "amax", "mul": "amin"}.get(mode, REDUCTION_NAMES[mode])
            wide = x.int().scatter_reduce(dim, index, values.int(), kind)
            return wide.bool()
        return x.scatter_reduce(dim, index, values, REDUCTION_NAMES[mode])
    # PyTorch leaves open which of several values stays: here it is the last one.
    return torch.where(*last_written(x, dim, index, values), x)


def last_written(x, dim, index, values):
    """Which elements are written, and what each of them is at last."""
    x = x.detach()
    written = torch.zeros(x.shape, dtype=torch.bool)
    number = torch.zeros(x.shape, dtype=torch.int64)
    for at in itertools.product(*(range(n) for n in index.shape)):
        to = list(at)
        to[dim] = index[at].item()
        written[tuple(to)] = True
        number[tuple(to)] = sum(a * s for a, s in zip(at, values.contiguous().stride()))
    flat = values.reshape(-1)
    found = flat[number] if flat.numel() else torch.zeros_like(x)
    return written, found


def scatter_cases(_):
    for mode in ("set", "add", "mul", "max", "min"):
        for label, x, dim, index in indexed_operands(ALL, 0.5, 1.5):
            values = sample(index.shape, x.dtype, 0.5, 1.5)
            if "specials" in label:
                values = specials(x.dtype)[indices(index.shape, len(x))]
            elif "transposed" in label:
                values = sample(index.shape[::-1], x.dtype, 0.5, 1.5).t()
            yield Case(
                f"{mode} {label}",
                [x, index, values],
                lambda g, x, i, v, d=dim, m=mode: g.scatter(x, d, i, v, m),
                lambda x, i, v, d=dim, m=mode: scatter_eager(x, d, i, v, m),
                moves=mode in ("set", "max", "min"),
                sums=True,
                # PyTorch divides by factors that are not finite.
                differentiable=mode != "mul" or "specials" not in label,
            )


INDEXING = {"gather": gather_cases, "scatter": scatter_cases}
