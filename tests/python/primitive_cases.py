"""The case table of test_primitives_against_torch.py: for every primitive of src/ir/ops.def its
inputs, how the graph is asked for it, and what PyTorch calls it.

Start at TABLE at the end: printed name of the primitive -> function that yields its cases.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from coregrad._core import DType

FLOATS = (torch.float32, torch.float64)
INTEGERS = (torch.int32, torch.int64)
NUMBERS = FLOATS + INTEGERS
ALL = (*NUMBERS, torch.bool)
NAMES = {t: str(t).removeprefix("torch.") for t in ALL}
DTYPES = {t: getattr(DType, "bool" if t == torch.bool else NAMES[t]) for t in ALL}

_generator = torch.Generator()


@dataclass
class Case:
    """One use of a primitive."""

    label: str
    inputs: list[torch.Tensor]
    build: Callable  # (graph, *nodes) -> node
    eager: Callable  # (*tensors) -> tensor; also the reference, on float64
    moves: bool = False  # no arithmetic: results are bits of the inputs
    promotes: bool = False  # integer operands become floats before anything is computed
    sums: bool = False  # polynomial of its inputs, of many terms
    broadcasts: bool = False  # a gradient is a sum over what was broadcast
    signs: bool = True  # -0.0 and 0.0 are told apart
    differentiable: bool = True
    exact_gradient: bool = False  # the adjoint moves data too
    values: Callable | None = None  # the right values, where PyTorch's are not
    slopes: Callable | None = None  # (seed, *inputs) -> the right gradients likewise
    external: tuple | None = None  # for Op::External: name, function, results


# Values


def sample(shape, dtype, low=-3.0, high=3.0):
    """Uniform values, the same ones in each run."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=_generator).bool()
    values = torch.rand(shape, generator=_generator, dtype=torch.float64) * (high - low) + low
    return values.to(dtype)


def specials(dtype):
    """NaN, infinities, signed zeros, denormals and extremes; the extremes of the integers."""
    if dtype == torch.bool:
        return torch.tensor([False, True])
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        low, high, bits = limits.min, limits.max, limits.bits
        values = [low, low + 1, -7, -3, -2, -1, 0, 1, 2, 3, 7, bits - 1, bits, bits + 1]
        return torch.tensor([*values, high - 1, high], dtype=dtype)
    f = torch.finfo(dtype)
    denormal = f.smallest_normal * f.eps
    positive = [0.0, denormal, f.smallest_normal / 2, f.smallest_normal, 1e-5, 0.25, 0.5, 1.0]
    positive += [1.5, 2.0, 2.5, 3.0, 20.0, 1e6, f.max / 2, f.max, float("inf")]
    return torch.tensor([*positive, *(-v for v in positive), float("nan")], dtype=dtype)


def special_pairs(a, b=None):
    """Each special value against each."""
    values = specials(a)
    others = values if b is None else specials(b)
    pairs = torch.cartesian_prod(torch.arange(len(values)), torch.arange(len(others)))
    return values[pairs[:, 0]].contiguous(), others[pairs[:, 1]].contiguous()


# Layouts: more elements than vector lanes, and not a multiple of them

ROWS, COLUMNS = 5, 37
LAYOUTS = {
    "contiguous": lambda make: make((ROWS, COLUMNS)),
    "transposed": lambda make: make((COLUMNS, ROWS)).t(),
    "sliced": lambda make: make((ROWS + 1, 2 * COLUMNS))[1:, ::2],
    "broadcast": lambda make: make((ROWS, 1)).expand(ROWS, COLUMNS),
    "zero_size": lambda make: make((0, COLUMNS)),
    "zero_d": lambda make: make(()),
}
PAIRS = {
    "contiguous": (LAYOUTS["contiguous"], LAYOUTS["contiguous"]),
    "transposed": (LAYOUTS["transposed"], LAYOUTS["contiguous"]),
    "sliced": (LAYOUTS["transposed"], LAYOUTS["sliced"]),
    "broadcast": (LAYOUTS["broadcast"], lambda make: make((1, COLUMNS)).expand(ROWS, COLUMNS)),
    "row": (LAYOUTS["sliced"], lambda make: make((COLUMNS,))),
    "column": (lambda make: make((ROWS, 1)), LAYOUTS["transposed"]),
    "zero_size": (LAYOUTS["zero_size"], lambda make: make((1,))),
    "zero_d": (LAYOUTS["zero_d"], LAYOUTS["zero_d"]),
    "zero_d_right": (LAYOUTS["contiguous"], LAYOUTS["zero_d"]),
}
# A pair of dtypes for each layout of a pair, so that promotion meets broadcasting.
MIXED = [
    (torch.float32, torch.float64),
    (torch.int32, torch.float32),
    (torch.int64, torch.int32),
    (torch.bool, torch.int64),
]


def method(graph, name):
    return getattr(graph, name + "_" if name in ("not", "and", "or") else name)


def with_layouts(dtypes, low=-3.0, high=3.0, layouts=LAYOUTS) -> Iterator[tuple]:
    for dtype, (name, layout) in itertools.product(dtypes, layouts.items()):
        x = layout(lambda shape, t=dtype: sample(shape, t, low, high))
        yield f"{NAMES[dtype]} {name}", x


# Leaves


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


# Elementwise


@dataclass
class Unary:
    eager: Callable
    low: float = -3.0
    high: float = 3.0
    dtypes: tuple = NUMBERS
    promotes: bool = True  # gives float32 for integers
    moves: bool = False


UNARY = {
    "neg": Unary(torch.neg, promotes=False, moves=True),
    "abs": Unary(torch.abs, promotes=False, moves=True),
    "sign": Unary(torch.sign, dtypes=ALL, promotes=False, moves=True),
    "exp": Unary(torch.exp, -20, 20, ALL),
    "exp2": Unary(torch.exp2, -20, 20, ALL),
    "expm1": Unary(torch.expm1, -5, 5, ALL),
    "log": Unary(torch.log, 0.01, 50, ALL),
    "log2": Unary(torch.log2, 0.01, 50, ALL),
    "log10": Unary(torch.log10, 0.01, 50, ALL),
    "log1p": Unary(torch.log1p, -0.9, 5, ALL),
    "sqrt": Unary(torch.sqrt, 0.01, 50, ALL),
    "rsqrt": Unary(torch.rsqrt, 0.01, 50, ALL),
    "reciprocal": Unary(torch.reciprocal, 0.1, 20, ALL),
    "sin": Unary(torch.sin, -20, 20, ALL),
    "cos": Unary(torch.cos, -20, 20, ALL),
    "tan": Unary(torch.tan, -1.4, 1.4, ALL),
    "asin": Unary(torch.asin, -0.95, 0.95, ALL),
    "acos": Unary(torch.acos, -0.95, 0.95, ALL),
    "atan": Unary(torch.atan, -20, 20, ALL),
    "sinh": Unary(torch.sinh, -5, 5, ALL),
    "cosh": Unary(torch.cosh, -5, 5, ALL),
    "tanh": Unary(torch.tanh, -3, 3, ALL),
    "erf": Unary(torch.erf, -3, 3, ALL),
    "floor": Unary(torch.floor, promotes=False, moves=True),
    "ceil": Unary(torch.ceil, promotes=False, moves=True),
    "round": Unary(torch.round, promotes=False, moves=True),
    "trunc": Unary(torch.trunc, promotes=False, moves=True),
    "not": Unary(torch.bitwise_not, dtypes=(*INTEGERS, torch.bool), promotes=False),
    "detach": Unary(torch.Tensor.detach, dtypes=ALL, promotes=False, moves=True),
}


def unary_cases(op):
    row = UNARY[op]
    labelled = itertools.chain(
        with_layouts(row.dtypes, row.low, row.high),
        ((f"{NAMES[t]} specials", specials(t)) for t in row.dtypes),
    )
    for label, x in labelled:
        yield Case(
            label,
            [x],
            lambda g, x: method(g, op)(x),
            row.eager,
            moves=row.moves,
            promotes=row.promotes,
        )


def integer_quotient(a, b, result):
    """`result` of the operands made harmless, with the rules of ops.def for x / 0 and x / -1."""
    a, b = torch.broadcast_tensors(a, b)
    plain = result(a, b.masked_fill((b == 0) | (b == -1), 1))
    minus_one = result(a.neg(), torch.ones_like(b))
    return plain.masked_fill(b == 0, 0).where(b != -1, minus_one)


def divide(a, b):
    """PyTorch refuses to divide an integer by zero."""
    t = torch.result_type(a, b)
    if t.is_floating_point:
        return a / b
    return integer_quotient(
        a.to(t), b.to(t), lambda a, b: torch.div(a, b, rounding_mode="trunc").to(t)
    )


def remainder(a, b):
    t = torch.result_type(a, b)
    if t.is_floating_point:
        return torch.fmod(a, b)
    return integer_quotient(a.to(t), b.to(t), torch.fmod)


def exact_remainder(a, b):
    """PyTorch's own takes a denormal divisor for zero; C's fmod is exact."""
    t = torch.result_type(a, b)
    if not t.is_floating_point:
        return remainder(a, b)
    with np.errstate(invalid="ignore"):
        return torch.from_numpy(np.asarray(np.fmod(a.to(t).numpy(), b.to(t).numpy())))


def atan2_slopes(seed, y, x):
    """PyTorch's are 0 where the squares vanish or overflow; here they are in a wider format."""
    seed, y, x = (t.numpy().astype(np.longdouble) for t in (seed, y, x))
    with np.errstate(all="ignore"):
        norm = x * x + y * y
        slopes = [np.where(norm == 0, 0, seed * side / norm) for side in (x, -y)]
        return [torch.from_numpy(slope.astype(np.float64)) for slope in slopes]


def subtract(a, b):
    """PyTorch refuses bool, even where it is promoted."""
    t = torch.result_type(a, b)
    return a.to(t) - b.to(t)


@dataclass
class Binary:
    eager: Callable
    dtypes: tuple = NUMBERS
    low: float = -3.0
    high: float = 3.0
    moves: bool = False
    values: Callable | None = None
    slopes: Callable | None = None  # for the special values
    mixed: bool = True


BITS = (*INTEGERS, torch.bool)
BINARY = {
    "add": Binary(torch.add, ALL),
    "sub": Binary(subtract),
    "mul": Binary(torch.mul, ALL),
    "div": Binary(divide, NUMBERS),
    "rem": Binary(remainder, NUMBERS, -30, 30, values=exact_remainder),
    "pow": Binary(torch.pow, NUMBERS, 0.1, 6),
    "max": Binary(torch.maximum, ALL, moves=True),
    "min": Binary(torch.minimum, ALL, moves=True),
    "atan2": Binary(torch.atan2, ALL, slopes=atan2_slopes),
    "and": Binary(torch.bitwise_and, BITS, mixed=False),
    "or": Binary(torch.bitwise_or, BITS, mixed=False),
    "xor": Binary(torch.bitwise_xor, BITS, mixed=False),
    "shl": Binary(torch.bitwise_left_shift, INTEGERS, -70, 70, mixed=False),
    "shr": Binary(torch.bitwise_right_shift, INTEGERS, -70, 70, mixed=False),
    "eq": Binary(torch.eq, ALL, -2, 2),
    "ne": Binary(torch.ne, ALL, -2, 2),
    "lt": Binary(torch.lt, ALL, -2, 2),
    "le": Binary(torch.le, ALL, -2, 2),
}


def operand_pairs(row):
    for dtype, (name, (left, right)) in itertools.product(row.dtypes, PAIRS.items()):

        def make(shape, t=dtype):
            return sample(shape, t, row.low, row.high)

        yield f"{NAMES[dtype]} {name}", left(make), right(make)
    for dtype in row.dtypes:
        yield f"{NAMES[dtype]} specials", *special_pairs(dtype)
    for (a, b), name in itertools.product(MIXED if row.mixed else (), ("row", "zero_d_right")):
        left, right = PAIRS[name]
        yield (
            f"{NAMES[a]} with {NAMES[b]} {name}",
            left(lambda shape, t=a: sample(shape, t, row.low, row.high)),
            right(lambda shape, t=b: sample(shape, t, max(row.low, 1), row.high)),
        )


def binary_cases(op):
    row = BINARY[op]
    for label, a, b in operand_pairs(row):
        yield Case(
            label,
            [a, b],
            lambda g, a, b: method(g, op)(a, b),
            row.eager,
            moves=row.moves,
            promotes=True,
            broadcasts=a.shape != b.shape,
            values=row.values,
            slopes=row.slopes if "specials" in label else None,
        )


def select_cases(_):
    for dtype, (name, (left, right)) in itertools.product(ALL, PAIRS.items()):
        a, b = (side(lambda shape, t=dtype: sample(shape, t)) for side in (left, right))
        for shape in {torch.broadcast_shapes(a.shape, b.shape), ()}:
            condition = sample(shape, torch.bool)
            yield Case(
                f"{NAMES[dtype]} {name} condition {tuple(shape)}",
                [condition, a, b],
                lambda g, c, a, b: g.select(c, a, b),
                torch.where,
                moves=True,
                broadcasts=True,
            )
    for dtype in ALL:
        a, b = special_pairs(dtype)
        condition = sample(a.shape, torch.bool)
        yield Case(
            f"{NAMES[dtype]} specials",
            [condition, a, b],
            lambda g, c, a, b: g.select(c, a, b),
            torch.where,
            moves=True,
        )
    for a, b in MIXED:
        yield Case(
            f"{NAMES[a]} with {NAMES[b]}",
            [sample((COLUMNS,), torch.bool), sample((COLUMNS,), a), sample((), b, 1)],
            lambda g, c, a, b: g.select(c, a, b),
            torch.where,
            moves=True,
            broadcasts=True,
        )


def saturating_cast(x, dtype):
    """PyTorch leaves the conversion of what does not fit undefined; the primitive saturates."""
    if not x.is_floating_point() or dtype not in INTEGERS:
        return x.to(dtype)
    limits = torch.iinfo(dtype)
    top = 2.0 ** (limits.bits - 1)
    inside = x.double().where((x.double() >= -top) & (x.double() < top), 0.0).to(dtype)
    return inside.masked_fill(x >= top, limits.max).masked_fill(x <= -top, limits.min)


def cast_cases(_):
    for dtype in ALL:
        labelled = [*with_layouts(ALL), *((f"{NAMES[t]} specials", specials(t)) for t in ALL)]
        for label, x in labelled:
            yield Case(
                f"{label} to {NAMES[dtype]}",
                [x],
                lambda g, x, t=dtype: g.cast(x, DTYPES[t]),
                lambda x, t=dtype: saturating_cast(x, t),
                moves=True,
                exact_gradient=True,
            )


# Views


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
                return g.concat([x, part, g.flip(x, [dim])], dim)

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
                lambda g, a, b: g.concat([a, b], 0),
                lambda a, b: torch.cat([a, b]),
                moves=True,
                exact_gradient=True,
            )
