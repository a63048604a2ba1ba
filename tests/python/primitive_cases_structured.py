"""The second half of the case table: primitives that walk along dimensions, and TABLE itself."""

import itertools

import primitive_cases as base
import torch
import torch.nn.functional as F
from primitive_cases import (
    ALL,
    COLUMNS,
    FLOATS,
    INTEGERS,
    NAMES,
    NUMBERS,
    ROWS,
    Case,
    sample,
    specials,
    with_layouts,
)

# Reductions and scans


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
        long = (3, 3000), (3000, 3), (2, 11, 13)
        for shape in long if op != "prod" else long[2:]:
            yield f"{NAMES[dtype]} {shape}", sample(shape, dtype, *limits)
        values = specials(dtype)
        n = len(values)
        # Each row meets all values in another order, and each pair of neighbours a row of its own.
        turned = torch.stack([values.roll(k) for k in range(n)])
        yield f"{NAMES[dtype]} specials", turned
        yield f"{NAMES[dtype]} pairs", torch.stack(base.special_pairs(dtype), 1)


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
                lambda g, x, dims=dims, keepdim=keepdim: getattr(g, op)(x, dims, keepdim),
                lambda x, dims=dims, keepdim=keepdim: REDUCE[op](x, dims, keepdim),
                moves=op not in ADDING,
                sums=op in ADDING,
                signs=False,  # which of two zeros is the greatest is left open
            )


SCANS = {"cumsum": torch.cumsum, "cumprod": torch.cumprod}


def scan_cases(op):
    operands = itertools.chain(
        (row for row in with_layouts(ALL, 0.5, 1.5) if row[1].dim() > 0),
        ((f"{NAMES[t]} pairs", torch.stack(base.special_pairs(t), 1)) for t in ALL),
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


# Contractions


def plain(label):
    return (label, -1, 1, 0, 0, 1)


def einsum_rows():
    """(label, shapes, extents, lhs maps, rhs maps, out, equation); label k is the letter k."""
    sizes = {"m": 7, "n": 19, "k": 33, "b": 3}
    for equation in [
        "mk,kn->mn", "km,kn->nm", "mk,nk->mn", "bmk,bkn->bmn", "mbk,kbn->bnm", "m,n->mn", "k,k->",
        "mk,k->m", "mn,mn->mn", "mk,n->mn", "bm,bm->b", ",->", "m,->m",
    ]:  # fmt: skip
        for name, changed in [("", {}), (" k = 0", {"k": 0}), (" m = 0", {"m": 0})]:
            if any(letter not in equation for letter in changed):
                continue
            extents = sizes | changed
            operands, out = equation.split("->")
            lhs, rhs = operands.split(",")
            letters = sorted(set(lhs + rhs))
            maps = [[plain(letters.index(c)) for c in side] for side in (lhs, rhs)]
            yield (
                equation + name,
                [tuple(extents[c] for c in side) for side in (lhs, rhs)],
                ([extents[c] for c in letters], *maps, [letters.index(c) for c in out]),
                lambda a, b, e=equation: torch.einsum(e, a, b).to(a.dtype),
            )


def conv_rows():
    """Windows: stride, dilation, padding, groups of a convolution; a divisor as its adjoint has."""
    n, c, o, width, k = 2, 3, 5, 17, 4
    for stride, dilation, padding in [(1, 1, 0), (2, 1, 3), (1, 3, 2), (3, 2, 1)]:
        out = (width + 2 * padding - dilation * (k - 1) - 1) // stride + 1
        labels = [n, o, out, c, k]  # 0 .. 4
        lhs = [plain(0), plain(3), (2, 4, stride, dilation, -padding, 1)]
        yield (
            f"conv1d stride {stride} dilation {dilation} padding {padding}",
            [(n, c, width), (o, c, k)],
            (labels, lhs, [plain(1), plain(3), plain(4)], [0, 1, 2]),
            lambda x, w, s=stride, d=dilation, p=padding: F.conv1d(
                x, w, stride=s, dilation=d, padding=p
            ),
        )
    for stride, dilation, padding in [(1, 1, 0), (2, 1, 1), (3, 2, 2)]:
        out = (width - 1) * stride - 2 * padding + dilation * (k - 1) + 1
        lhs = [plain(0), plain(3), (2, 4, 1, -dilation, padding, stride)]
        yield (
            f"conv_transpose1d stride {stride} dilation {dilation} padding {padding}",
            [(n, c, width), (c, o, k)],
            ([n, o, out, c, k], lhs, [plain(3), plain(1), plain(4)], [0, 1, 2]),
            lambda x, w, s=stride, d=dilation, p=padding: F.conv_transpose1d(
                x, w, stride=s, dilation=d, padding=p
            ),
        )
    # Labels: n, group, o, y, x, c, ky, kx; the groups are a dimension of their own.
    lhs = [plain(0), plain(1), plain(5), (3, 6, 2, 1, -1, 1), (4, 7, 1, 2, -2, 1)]
    yield (
        "conv2d with groups",
        [(2, 2, 3, 9, 10), (2, 4, 3, 3, 3)],
        (
            [2, 2, 4, 5, 10, 3, 3, 3],
            lhs,
            [plain(1), plain(2), plain(5), plain(6), plain(7)],
            [0, 1, 2, 3, 4],
        ),
        lambda x, w: F.conv2d(
            x.flatten(1, 2),
            w.flatten(0, 1),
            stride=(2, 1),
            dilation=(1, 2),
            padding=(1, 2),
            groups=2,
        ).unflatten(1, (2, 4)),
    )


def in_float64(function):
    """PyTorch has no convolutions of integers; these are small enough for float64."""

    def eager(a, b):
        if a.is_floating_point():
            return function(a, b)
        return function(a.double(), b.double()).to(a.dtype)

    return eager


def contract_layouts(shape, dtype):
    """The operand contiguous, with its dimensions in memory turned round, and sliced."""
    yield "contiguous", sample(shape, dtype)
    if len(shape) > 1:
        yield "transposed", sample(shape[::-1], dtype).permute(*reversed(range(len(shape))))
        yield "sliced", sample((*shape[:-1], 2 * shape[-1]), dtype)[..., ::2]
        yield "broadcast", sample((*shape[:-1], 1), dtype).expand(shape)


def contract_cases(_):
    for dtype in NUMBERS:
        rows = [
            *((*row, row[3]) for row in einsum_rows()),
            *((*row, in_float64(row[3])) for row in conv_rows()),
        ]
        for label, shapes, spec, _, eager in rows:
            pairs = zip(*(itertools.cycle([*contract_layouts(s, dtype)]) for s in shapes))
            count = max(len([*contract_layouts(s, dtype)]) for s in shapes)
            for (left, a), (right, b) in itertools.islice(pairs, count):
                if count > 1 and "conv" in label and dtype in INTEGERS and left != "sliced":
                    continue  # one layout tells
                yield Case(
                    f"{NAMES[dtype]} {label} {left} by {right}",
                    [a, b],
                    lambda g, a, b, spec=spec: g.contract(a, b, *spec),
                    eager,
                    sums=True,
                    signs=False,  # a sum starts at +0
                )
    for dtype in NUMBERS:
        a, b = base.special_pairs(dtype)
        spec = ([len(a)], [plain(0)], [plain(0)], [0])
        yield Case(
            f"{NAMES[dtype]} specials, one product each",
            [a, b],
            lambda g, a, b, spec=spec: g.contract(a, b, *spec),
            torch.mul,
            signs=False,
        )
        values = specials(dtype)
        n = len(values)
        table = torch.stack([values.roll(k) for k in range(n)])
        spec = ([n, 3, n], [plain(0), plain(2)], [plain(1), plain(2)], [0, 1])
        yield Case(
            f"{NAMES[dtype]} specials, summed",
            [table, sample((3, n), dtype)],
            lambda g, a, b, spec=spec: g.contract(a, b, *spec),
            lambda a, b: a @ b.T,
            sums=True,
            signs=False,
        )


# Indexing


def indices(shape, below):
    return torch.randint(0, below, shape, generator=base._generator)


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
                differentiable=mode in ("set", "add"),  # the others are refused: see the bad inputs
            )


# Externals


def copy_operand(operands, results):
    results[0].copy_(operands[0])


def external_cases(_):
    for number, (label, x) in enumerate(with_layouts(ALL)):
        yield Case(
            label,
            [x],
            lambda g, x, n=number: g.external(n, 0, [x], x.dtype, x.shape),
            lambda x: x,
            moves=True,
            differentiable=False,  # refused: see the bad inputs
            external=("copy", copy_operand, [(base.DTYPES[x.dtype], list(x.shape))]),
        )


TABLE = {
    "input": base.input_cases,
    "literal": base.literal_cases,
    "iota": base.iota_cases,
    "random": base.random_cases,
    **dict.fromkeys(base.UNARY, base.unary_cases),
    **dict.fromkeys(base.BINARY, base.binary_cases),
    "select": base.select_cases,
    "cast": base.cast_cases,
    **dict.fromkeys(
        ("reshape", "permute", "expand", "slice", "flip", "pad", "window", "concat"),
        base.view_cases,
    ),
    **dict.fromkeys(REDUCE, reduce_cases),
    "contract": contract_cases,
    "gather": gather_cases,
    "scatter": scatter_cases,
    **dict.fromkeys(SCANS, scan_cases),
    "argsort": argsort_cases,
    "external": external_cases,
}
