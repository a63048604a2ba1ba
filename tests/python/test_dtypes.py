"""Promotion of every pair of dtypes, and small integers in tensors: stored narrow, wrapped once."""

import itertools

import numpy as np
import pytest
import test_tensor_operators
import torch

import coregrad as cg

DTYPES = {
    "bool": cg.bool_,
    **{n: getattr(cg, n) for n in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64")},
    **{n: getattr(cg, n) for n in ("float16", "bfloat16", "float32", "float64")},
}
PAIRS = list(itertools.product(DTYPES, DTYPES))
SMALL = ["int8", "uint8", "int16", "uint16", "uint32"]
COMPUTED_BY_TORCH = ["int8", "uint8", "int16"]  #: PyTorch moves uint16 and uint32, and little else


def promoted(a: str, b: str) -> str:
    """PyTorch's; where it has no rule (signed beside uint16 and uint32) NumPy's, which the array API
    standard has as well.
    """
    try:
        result = torch.promote_types(getattr(torch, a), getattr(torch, b))
    except RuntimeError:
        return np.promote_types(a, b).name
    return str(result).removeprefix("torch.")


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_pair_promotes_as_in_pytorch(pair):
    a, b = pair
    assert cg.promote_types(DTYPES[a], DTYPES[b]) == DTYPES[promoted(a, b)]


def result_type(x: torch.Tensor, y: object) -> str | None:
    try:
        return str(torch.result_type(x, y)).removeprefix("torch.")
    except RuntimeError:
        return None


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("ranks", [(1, 1), (1, 0), (0, 1), (0, 0)])
def test_sums_of_tensors_have_pytorchs_result_type(pair, ranks):
    shapes = [(3,) if rank else () for rank in ranks]
    ours = [cg.ones(shape, DTYPES[name]) for shape, name in zip(shapes, pair)]
    theirs = [torch.ones(shape, dtype=getattr(torch, name)) for shape, name in zip(shapes, pair)]
    want = result_type(*theirs)
    if want is None:  # PyTorch has no rule
        assert (
            ranks != (1, 1)
            or cg.promote_types(*(DTYPES[n] for n in pair))
            == (DTYPES[np.promote_types(*pair).name])
        )
        return
    assert (ours[0] + ours[1]).dtype == DTYPES[want]


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("number", [2, 2.5])
def test_numbers_take_part_as_in_pytorch(name, number):
    want = result_type(torch.ones(3, dtype=getattr(torch, name)), number)
    assert (cg.ones((3,), DTYPES[name]) * number).dtype == DTYPES[want]


def sample(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    info = np.iinfo(name)
    return np.random.default_rng(seed).integers(info.min, info.max, shape, name, endpoint=True)


@pytest.mark.parametrize("name", SMALL)
def test_small_integers_go_to_numpy_and_come_back(name):
    x = sample(name, 5, 7)
    t = cg.tensor(x)
    assert t.dtype == DTYPES[name]
    assert t.tolist() == x.tolist()
    assert repr(t)
    for got, want in ((t, x), (t.transpose(0, 1), x.T), (cg.tensor(x[::2, 1:]), x[::2, 1:])):
        assert got.numpy().dtype == x.dtype
        assert np.array_equal(got.numpy(), want)
        assert np.array_equal(np.from_dlpack(got.realize()), want)
        assert torch.equal(torch.from_dlpack(got.realize()), torch.from_numpy(want.copy()))
    assert cg.tensor(x)[1, 2].item() == int(x[1, 2])
    assert cg.full((2,), 7, DTYPES[name]).tolist() == [7, 7]


#: Functions of two tensors of a dtype whose results PyTorch has too.
BINARY = {
    **{
        name: test_tensor_operators.BINARY[name]
        for name in (
            *(
                "add",
                "sub",
                "mul",
                "div",
                "floor_divide",
                "remainder",
                "fmod",
                "maximum",
                "minimum",
            ),
            *("equal", "less", "greater_equal", "logical_and"),
        )
    },
    "pow": lambda x, y: torch.pow(x, y % 4),
    "gcd": torch.gcd,
}
OURS = {"pow": lambda x, y: cg.pow(x, cg.remainder(y, 4))}


@pytest.mark.parametrize("name", COMPUTED_BY_TORCH)
@pytest.mark.parametrize("function", BINARY)
def test_small_integers_are_computed_as_in_pytorch(name, function):
    x, y = sample(name, 40, 9), sample(name, 40, 9, seed=1)
    y[y == 0] = 1
    got = OURS.get(function, getattr(cg, function))(cg.tensor(x), cg.tensor(y))
    want = BINARY[function](torch.from_numpy(x), torch.from_numpy(y))
    theirs = torch.from_dlpack(got.realize())
    assert theirs.dtype == want.dtype
    assert torch.equal(theirs, want)


#: Functions of one tensor.
UNARY = {
    "neg": (lambda x: -x, lambda x: -x),
    "abs": (cg.abs, torch.abs),
    "sign": (cg.sign, torch.sign),
    "square": (cg.square, torch.square),
    "exp of a part": (lambda x: cg.exp(x / 100), lambda x: torch.exp(x / 100)),
    "sqrt": (lambda x: cg.sqrt(cg.abs(x / 2)), lambda x: torch.sqrt(torch.abs(x / 2))),
    "plus a number": (lambda x: x + 100, lambda x: x + 100),
    "plus a large number": (lambda x: x + 300, lambda x: x + 300),
    "times a number": (lambda x: 7 * x, lambda x: 7 * x),
    "compared": (lambda x: x > 3, lambda x: x > 3),
    "sum": (lambda x: cg.sum(x, 1), lambda x: x.sum(1)),
    "prod": (lambda x: x.prod(0), lambda x: x.prod(0)),
    "amax": (lambda x: x.amax(1), lambda x: x.amax(1)),
    "argmin": (lambda x: x.argmin(1), lambda x: x.argmin(1)),
    "any": (lambda x: x.any(1), lambda x: x.to(torch.bool).any(1)),
    "cumsum": (lambda x: x.cumsum(1), lambda x: x.cumsum(1)),
    "sort": (lambda x: x.sort(1), lambda x: x.sort(1).values),
    "clamp": (lambda x: x.clamp(3, 99), lambda x: x.clamp(3, 99)),
    "where": (lambda x: cg.where(x > 3, x, 5), lambda x: torch.where(x > 3, x, 5)),
    "relu": (cg.relu, torch.relu),
    "flip": (lambda x: x.flip([0]), lambda x: x.flip([0])),
    "cat": (lambda x: cg.cat([x, x[:3]], 0), lambda x: torch.cat([x, x[:3]])),
    "tril": (lambda x: x.tril(), lambda x: x.tril()),
    "roll": (lambda x: x.roll([3], [1]), lambda x: x.roll(3, 1)),
    "topk": (lambda x: x.topk(4)[0], lambda x: x.topk(4)[0]),
}


@pytest.mark.parametrize("name", COMPUTED_BY_TORCH)
@pytest.mark.parametrize("function", UNARY)
def test_functions_of_small_integers_are_pytorchs(name, function):
    x = sample(name, 12, 9)
    ours, theirs = UNARY[function]
    got = torch.from_dlpack(ours(cg.tensor(x)).realize())
    want = theirs(torch.from_numpy(x))
    assert got.dtype == want.dtype
    torch.testing.assert_close(got, want, rtol=2e-7, atol=0)


@pytest.mark.parametrize("name", SMALL)
def test_small_integers_wrap_as_in_numpy(name):
    x, y = sample(name, 6, 8), sample(name, 6, 8, seed=1)
    a, b = cg.tensor(x), cg.tensor(y)
    for got, want in (
        (a + b, x + y),
        (a - b, x - y),
        (a * b, x * y),
        (cg.maximum(a, b), np.maximum(x, y)),
        (a < b, x < y),
        (cg.sum(a, 0), x.sum(0, dtype=np.int64)),
    ):
        assert np.array_equal(got.numpy(), want)
        assert got.numpy().dtype == want.dtype


@pytest.mark.parametrize("to", DTYPES)
@pytest.mark.parametrize("name", [*SMALL, "int64", "bool", "float32"])
def test_casts_are_pytorchs(name, to):
    if name == "float32":  # what fits: beyond that C++ has no value
        x = np.array([0.0, 1.7, 100.9, 126.0], np.float32)
    elif name == "bool":
        x = np.array([True, False, True])
    else:
        x = sample(name, 33)
    got = torch.from_dlpack(cg.tensor(x).cast(DTYPES[to]).realize())
    assert torch.equal(got, torch.from_numpy(x).to(getattr(torch, to)))


@pytest.mark.parametrize("name", COMPUTED_BY_TORCH)
@pytest.mark.parametrize("reduce", ["sum", "prod", "amax", "amin"])
@pytest.mark.parametrize("include_self", [False, True])
def test_scatters_of_small_integers_start_from_what_changes_nothing(name, reduce, include_self):
    x, src = sample(name, 5, 4), sample(name, 6, 4, seed=1)
    index = np.random.default_rng(2).integers(0, 5, (6, 4))
    got = cg.scatter_reduce(
        cg.tensor(x), 0, cg.tensor(index), cg.tensor(src), reduce, include_self=include_self
    )
    want = torch.from_numpy(x).scatter_reduce(
        0, torch.from_numpy(index), torch.from_numpy(src), reduce, include_self=include_self
    )
    assert torch.equal(torch.from_dlpack(got.realize()), want)
