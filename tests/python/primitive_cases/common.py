"""What the cases share: their form, values, and layouts."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from coregrad._core import DType

FLOATS = (torch.float32, torch.float64)
INTEGERS = (torch.int32, torch.int64)
NUMBERS = FLOATS + INTEGERS
ALL = (*NUMBERS, torch.bool)
NAMES = {t: str(t).removeprefix("torch.") for t in ALL}
DTYPES = {t: getattr(DType, "bool" if t == torch.bool else NAMES[t]) for t in ALL}

generator = torch.Generator()


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
    external: tuple | None = None  # for Op::External: name, function, results, sizes


# Values


def sample(shape, dtype, low=-3.0, high=3.0):
    """Uniform values, the same ones in each run."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, generator=generator).bool()
    values = torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low
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


def is_float(node):
    return "float" in str(node.dtype)


def method(graph, name):
    if name == "div":  # of integers the primitive is the rounded quotient
        return lambda a, b: graph.div(a, b, None if is_float(a) or is_float(b) else "trunc")
    return getattr(graph, name + "_" if name in ("not", "and", "or") else name)


def with_layouts(dtypes, low=-3.0, high=3.0, layouts=LAYOUTS) -> Iterator[tuple]:
    for dtype, (name, layout) in itertools.product(dtypes, layouts.items()):
        x = layout(lambda shape, t=dtype: sample(shape, t, low, high))
        yield f"{NAMES[dtype]} {name}", x
