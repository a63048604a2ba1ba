"""Inputs, literals, counting, random numbers, and what is computed elsewhere."""

import itertools

import torch

from .common import (
    ALL,
    COLUMNS,
    DTYPES,
    INTEGERS,
    NAMES,
    NUMBERS,
    ROWS,
    Case,
    specials,
    with_layouts,
)


def input_cases(_):
    for label, x in with_layouts(ALL):
        yield Case(label, [x], lambda g, x: x, lambda x: x, moves=True, exact_gradient=True)
    for dtype in ALL:
        x = specials(dtype)
        yield Case(f"{NAMES[dtype]} specials", [x], lambda g, x: x, lambda x: x, moves=True)


def literal_cases(_):
    for dtype in ALL:
        for value in specials(dtype).tolist():

            def build(g, t=dtype, v=value):
                return g.literal(DTYPES[t], v)

            def eager(t=dtype, v=value):
                return torch.tensor(v, dtype=t)

            yield Case(f"{NAMES[dtype]} {value}", [], build, eager, moves=True)


def iota_cases(_):
    for dtype, n in itertools.product(INTEGERS, (0, 1, 2, 37, 1000)):
        yield Case(
            f"{NAMES[dtype]} {n}",
            [],
            lambda g, t=dtype, n=n: g.iota(DTYPES[t], n),
            lambda t=dtype, n=n: torch.arange(n, dtype=t),
            moves=True,
        )


def philox(seed, stream, counters):
    """The four words of each block of Philox4x32-10, as Salmon et al. (2011) define it."""
    low = 0xFFFFFFFF
    words = []
    for counter in counters:
        x = [counter & low, counter >> 32, stream & low, stream >> 32]
        k0, k1 = seed & low, (seed >> 32) & low
        for _ in range(10):
            p0, p1 = 0xD2511F53 * x[0], 0xCD9E8D57 * x[2]
            x = [(p1 >> 32) ^ x[1] ^ k0, p1 & low, (p0 >> 32) ^ x[3] ^ k1, p0 & low]
            k0, k1 = (k0 + 0x9E3779B9) & low, (k1 + 0xBB67AE85) & low
        words += x
    return words


def random_cases(_):
    """PyTorch has other random bits, so the generator's definition is the reference."""
    for dtype, shape in itertools.product(NUMBERS, [(ROWS, COLUMNS), (0, 3), ()]):
        for seed, stream in [(0, 0), (-1, 3), (2**62 + 12345, 2**40)]:

            def eager(seed, t=dtype, shape=shape, stream=stream):
                n = torch.Size(shape).numel()
                words = philox(seed.item() % 2**64, stream, range(n // 2 + 1))
                if t in (torch.int64, torch.float64):
                    words = [a | b << 32 for a, b in zip(words[::2], words[1::2])]
                bits = 32 if t in (torch.int32, torch.float32) else 64
                if t.is_floating_point:
                    kept = 24 if t == torch.float32 else 53
                    values = [(w >> (bits - kept)) * 2.0**-kept for w in words[:n]]
                else:
                    values = [w - (w >> (bits - 1) << bits) for w in words[:n]]
                return torch.tensor(values, dtype=t).reshape(shape)

            yield Case(
                f"{NAMES[dtype]} {shape} seed {seed}",
                [torch.tensor(seed)],
                lambda g, s, t=dtype, shape=shape, n=stream: g.random(s, DTYPES[t], shape, n),
                eager,
                moves=True,
            )


def copy_operand(operands, results, sizes):
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
            external=("copy", copy_operand, [(DTYPES[x.dtype], list(x.shape))], []),
        )


LEAVES = {
    "input": input_cases,
    "literal": literal_cases,
    "iota": iota_cases,
    "random": random_cases,
    "external": external_cases,
}
