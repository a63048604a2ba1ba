"""Sums of products: matrix products of all kinds, and convolutions with their adjoints."""

import itertools

import torch
import torch.nn.functional as F

from .common import (
    INTEGERS,
    NAMES,
    NUMBERS,
    Case,
    sample,
    special_pairs,
    specials,
)


def plain(label):
    return (label, -1, 1, 0, 0, 1)


def einsum_rows():
    """(label, shapes, extents, lhs maps, rhs maps, out, equation); label k is the letter k."""
    sizes = {"m": 7, "n": 19, "k": 33, "b": 3}
    for equation in [
        "mk,kn->mn", "km,kn->nm", "mk,nk->mn", "bmk,bkn->bmn", "mbk,kbn->bnm", "m,n->mn", "k,k->",
        "mk,k->m", "mn,mn->mn", "mk,n->mn", "bm,bm->b", ",->", "m,->m",
    ]:  # fmt: skip
        large = {"m": 130, "k": 300, "n": 70}  # more than one block of each
        rows = [("", {}), (" k = 0", {"k": 0}), (" m = 0", {"m": 0}), (" large", large)]
        for name, changed in rows:
            if any(letter not in equation for letter in changed):
                continue
            if name == " large" and equation != "km,kn->nm":
                continue  # one tells: this one turns both operands and the result
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
        a, b = special_pairs(dtype)
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


CONTRACTIONS = {"contract": contract_cases}
