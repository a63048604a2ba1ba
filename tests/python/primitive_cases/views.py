"""Views, and their adjoints."""

import itertools

import torch

from .common import (
    ALL,
    COLUMNS,
    MIXED,
    NAMES,
    ROWS,
    Case,
    sample,
    specials,
    with_layouts,
)


def pad_eager(x, low, high, interior, fill):
    shape = [
        lo + hi + n + max(n - 1, 0) * inside
        for n, lo, hi, inside in zip(x.shape, low, high, interior)
    ]
    out = torch.full(shape, fill, dtype=x.dtype)
    places = []
    for n, lo, inside in zip(x.shape, low, interior):
        places.append(slice(lo, lo + (max(n - 1, 0)) * (inside + 1) + min(n, 1), inside + 1))
    out[tuple(places)] = x
    return out


def window_eager(x, rows):
    for dim, size, stride, dilation in sorted(rows):
        x = x.unfold(dim, (size - 1) * dilation + 1, stride)[..., ::dilation]
    return x


def strided_slice(x, starts, stops, steps):
    return x[tuple(slice(*row) for row in zip(starts, stops, steps))]


def view_rows(op, x):
    """(label, build, eager) for each way to look at x."""
    shape, rank, dtype = tuple(x.shape), x.dim(), x.dtype
    if op == "reshape":
        targets = [(*shape, 1), (1, *shape[::-1]), (-1,) if x.numel() else (0,)]
        if x.numel() == ROWS * COLUMNS:
            targets.append((COLUMNS, 1, ROWS))
        for to in targets:
            yield f"{to}", lambda g, x, to=to: g.reshape(x, to), lambda x, to=to: x.reshape(to)
    elif op == "permute":
        order = tuple(reversed(range(rank)))
        yield "reversed", lambda g, x: g.permute(x, order), lambda x: x.permute(order)
        if rank == 2:
            order3 = (2, 0, 1)

            def build(g, x):
                return g.permute(g.reshape(x, (*shape, 1)), order3)

            yield "lifted", build, lambda x: x[..., None].permute(order3)
    elif op == "expand":
        for to in [(2, *shape), (2, 3, *shape), shape]:
            yield f"{to}", lambda g, x, to=to: g.broadcast_to(x, to), lambda x, to=to: x.expand(to)
        if rank == 2:
            to = (shape[0], 3, shape[1])

            def middle(g, x):
                return g.broadcast_to(g.unsqueeze(x, 1), to)

            yield "middle", middle, lambda x: x[:, None].expand(to)
    elif op == "slice":
        starts = [min(1, n) for n in shape]
        for stops, steps in [(shape, [2] * rank), (starts, [1] * rank), (shape, [3, 5][:rank])]:
            args = (starts, list(stops), steps)
            yield (
                f"{args}",
                lambda g, x, args=args: g.slice(x, *args),
                lambda x, args=args: strided_slice(x, *args),
            )
    elif op == "flip":
        for dims in [[], list(range(rank)), [-1][:rank]]:
            yield (
                f"{dims}",
                lambda g, x, dims=dims: g.flip(x, dims),
                lambda x, dims=dims: x.flip(dims),
            )
    elif op == "pad":
        fill = specials(dtype)[0].item()
        for low, high, interior, value in [(1, 2, 0, 1), (0, 3, 2, fill), (0, 0, 0, 1)]:
            args = ([low] * rank, [high] * rank, [interior] * rank)
            yield (
                f"{low, high, interior, value}",
                lambda g, x, args=args, value=value: g.pad(x, *args, value),
                lambda x, args=args, value=value: pad_eager(x, *args, value),
            )
    elif op == "window":
        overlapping = [(-1, 3, 2, 1)], [(1, 3, 1, 4)], [(1, 20, 1, 1)], [(1, 17, 3, 2)]
        disjoint = [(1, 3, 5, 1)], [(1, 2, 9, 4)], [(1, 1, 4, 1)], [(1, COLUMNS, 1, 1)]
        rows = [*overlapping, *disjoint] if rank == 2 else [[]]
        if shape == (ROWS, COLUMNS):
            rows += [[(0, 2, 1, 1), (1, 4, 3, 2)], [(0, 3, 2, 1), (1, 30, 1, 1)]]
        for row in rows:
            positive = [(dim % max(rank, 1), *rest) for dim, *rest in row]
            yield (
                f"{row}",
                lambda g, x, row=row: g.window(x, row),
                lambda x, row=positive: window_eager(x, row),
            )
    elif op == "concat" and rank > 0:
        for dim in range(-1, rank - 1):

            def build(g, x, dim=dim):
                part = g.narrow(x, dim, 0, shape[dim] // 2)
                return g.cat([x, part, g.flip(x, [dim])], dim)

            def eager(x, dim=dim):
                return torch.cat([x, x.narrow(dim, 0, shape[dim] // 2), x.flip(dim)], dim)

            yield f"{dim}", build, eager


ADDING_VIEWS = {"expand", "window", "concat"}  # an element is seen several times


def view_cases(op):
    labelled = itertools.chain(
        with_layouts(ALL), ((f"{NAMES[t]} specials", specials(t)[None]) for t in ALL)
    )
    for label, x in labelled:
        if "specials" in label and op == "window":
            x = x.repeat(1, COLUMNS)[:, :COLUMNS]  # as long as the longest window
        for name, build, eager in view_rows(op, x):
            yield Case(
                f"{label} {name}",
                [x],
                build,
                eager,
                moves=True,
                exact_gradient=op not in ADDING_VIEWS,
                sums=op in ADDING_VIEWS,
            )
    if op == "concat":
        for a, b in MIXED:
            yield Case(
                f"{NAMES[a]} with {NAMES[b]}",
                [sample((ROWS, COLUMNS), a), sample((3, COLUMNS), b)],
                lambda g, a, b: g.cat([a, b], 0),
                lambda a, b: torch.cat([a, b]),
                moves=True,
                exact_gradient=True,
            )


VIEWS = dict.fromkeys(
    ("reshape", "permute", "expand", "slice", "flip", "pad", "window", "concat"), view_cases
)
