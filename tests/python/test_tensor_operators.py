"""Operators of several operands on special values, mixed dtypes and odd shapes, against PyTorch."""

import numpy as np
import pytest
import torch

import coregrad as cg

INF, NAN = float("inf"), float("nan")
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -3.0, 7.0, -7.5, 1e-30, -1e30, INF, -INF, NAN]
WHOLE = [0, 1, -1, 2, -3, 7, -8, 1 << 20]
DTYPES = {torch.float32: SPECIAL, torch.float64: SPECIAL, torch.int64: WHOLE, torch.int32: WHOLE}
NARROW = {torch.bfloat16: SPECIAL, torch.float16: SPECIAL}

BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "floor_divide": torch.floor_divide,
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "atan2": torch.atan2,
    "hypot": torch.hypot,
    "logaddexp": torch.logaddexp,
    "xlogy": torch.xlogy,
    "equal": torch.eq,
    "not_equal": torch.ne,
    "less": torch.lt,
    "less_equal": torch.le,
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
}
#: What PyTorch computes for floats only, and what it refuses to divide by zero.
FLOATS_ONLY = {"hypot", "logaddexp"}
DIVIDES = {"floor_divide", "remainder", "fmod"}
#: Not of one rounding.
INEXACT = {"atan2", "hypot", "logaddexp", "xlogy"}


def theirs_of(tensor: cg.Tensor) -> torch.Tensor:
    return torch.from_dlpack(tensor.realize())


def check(got: cg.Tensor, want: torch.Tensor, *, exact: bool, signs: bool = True) -> None:
    got = theirs_of(got)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    close = {} if not exact else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(got, want, equal_nan=True, **close)
    if exact and signs and want.dtype.is_floating_point:
        zero = want == 0
        assert torch.equal(torch.signbit(got[zero]), torch.signbit(want[zero]))


def pair(dtype: torch.dtype, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """All pairs of values; without divisors that PyTorch raises for."""
    values = torch.tensor(DTYPES.get(dtype, NARROW.get(dtype)), dtype=torch.float64).to(dtype)
    divisors = values
    if name in DIVIDES and not dtype.is_floating_point:
        divisors = values[values != 0]
    return values[:, None], divisors[None, :]


@pytest.mark.parametrize("dtype", [*DTYPES, *NARROW], ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_special_values(name, dtype):
    if name in FLOATS_ONLY and not dtype.is_floating_point:
        dtype = torch.float32
    x, y = pair(dtype, name)
    got = getattr(cg, name)(cg.from_dlpack(x), cg.from_dlpack(y))
    # Of zeros of both signs PyTorch takes either.
    signs = name not in ("maximum", "minimum")
    check(got, BINARY[name](x, y), exact=name not in INEXACT, signs=signs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("number", [3, 0.3, -2.5, True])
@pytest.mark.parametrize("name", BINARY)
def test_numbers_next_to_tensors(name, number, dtype):
    if name in FLOATS_ONLY or name in ("maximum", "minimum", "atan2") or "logical" in name:
        pytest.skip("PyTorch takes tensors only")
    x = torch.tensor([4, -7, 0, 3, 5]).to(dtype)
    t = cg.from_dlpack(x)
    if number is True and name == "sub":
        with pytest.raises(RuntimeError):
            torch.sub(x, True)  # a bool is no number for PyTorch; it is one here
        return
    check(getattr(cg, name)(t, number), BINARY[name](x, number), exact=name not in INEXACT)


@pytest.mark.parametrize("mode", ["trunc", "floor"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_quotients_are_rounded(dtype, mode):
    x, y = pair(dtype, "floor_divide")
    got = cg.div(cg.from_dlpack(x), cg.from_dlpack(y), rounding_mode=mode)
    check(got, torch.div(x, y, rounding_mode=mode), exact=True)


@pytest.mark.parametrize("count", [2, 5, 8, 10, 33])
@pytest.mark.parametrize("dtype", [cg.int64, cg.int32])
def test_integers_are_divided_by_what_is_known_at_compile_time(dtype, count):
    """As by the sizes of windows at the edges; the divisor of the lane behind the last is 0."""
    place = np.arange(count)
    sizes = np.minimum(place + 1, count - 1) - np.maximum(place - 1, 0)
    x = np.arange(count) * 7 - 11
    ours = cg.arange(0, count, dtype=dtype)
    known = cg.minimum(ours + 1, count - 1) - cg.maximum(ours - 1, 0)
    t = cg.tensor(x).cast(dtype)
    quotients = np.trunc(x / sizes).astype(np.int64)
    assert cg.div(t, known, rounding_mode="trunc").tolist() == quotients.tolist()
    assert cg.fmod(t, known).tolist() == (x - quotients * sizes).tolist()
    assert cg.floor_divide(t, known).tolist() == (x // sizes).tolist()


def test_an_unknown_rounding_mode_is_refused():
    with pytest.raises(ValueError, match="rounding mode must be 'trunc' or 'floor', got 'up'"):
        cg.div(cg.ones([2]), 2, rounding_mode="up")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_clamp_by_tensors(dtype):
    x, low = pair(dtype, "clamp")
    high = torch.tensor(2, dtype=dtype)
    ours = [cg.from_dlpack(v) for v in (x, low, high)]
    check(cg.clamp(*ours), torch.clamp(x, low, high), exact=True, signs=False)
    check(cg.clamp(ours[0], ours[1]), torch.clamp(x, low), exact=True, signs=False)
    check(cg.clamp(ours[0], None, ours[1]), torch.clamp(x, None, low), exact=True, signs=False)


def gradients(function, *arrays):
    """Ours and PyTorch's gradients of the sum; the library comes first."""
    leaves = [torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in arrays]
    function(torch, *leaves).sum().backward()
    ours = cg.grad(lambda *t: function(cg, *t).sum(), list(range(len(arrays))))(
        *(cg.tensor(np.asarray(a, np.float64)) for a in arrays)
    )
    return [theirs_of(g) for g in ours], [leaf.grad for leaf in leaves]


KINKS = {
    "clamp at its bounds": (lambda m, x: m.clamp(x, -1.0, 1.0), [[-2.0, -1, 0, 1, 2]]),
    "clamp by crossing bounds": (lambda m, x: m.clamp(x, 1.0, -1.0), [[-2.0, -1, 0, 1, 2]]),
    "maximum of equals": (lambda m, x, y: m.maximum(x, y), [[1.0, 2, 3], [1.0, 3, 2]]),
    "remainder": (lambda m, x, y: m.remainder(x, y), [[7.0, -7, 5.5], [2.0, 2, -3]]),
    "fmod": (lambda m, x, y: m.fmod(x, y), [[7.0, -7, 5.5], [2.0, 2, -3]]),
    "hypot": (lambda m, x, y: m.hypot(x, y), [[3.0, 0, -5], [4.0, 2, 0]]),
    "xlogy at 0": (lambda m, x, y: m.xlogy(x, y), [[0.0, 2, 0], [3.0, 4, 1]]),
    "logaddexp of equals": (lambda m, x, y: m.logaddexp(x, y), [[1.0, -3], [1.0, 4]]),
    "lerp": (lambda m, x, y, w: m.lerp(x, y, w), [[1.0, 2, 3], [3.0, 1, 3], [0.2, 0.5, 0.9]]),
    "rounded quotients": (
        lambda m, x, y: m.div(x, y, rounding_mode="floor") + x * y,
        [[7.0, -7], [2.0, 3]],
    ),
    "where": (lambda m, x, y: m.where(x > 0, m.log(m.abs(x)), y), [[1.0, -2, 3], [3.0, 1, 3]]),
}  # fmt: skip


@pytest.mark.parametrize("name", KINKS)
def test_gradients_at_kinks(name):
    ours, theirs = gradients(*[KINKS[name][0]], *KINKS[name][1])
    for got, want in zip(ours, theirs, strict=True):
        torch.testing.assert_close(got, want, equal_nan=True)


def test_a_masked_value_keeps_the_dtype_or_is_refused():
    x = torch.arange(4)
    mask = x > 1
    t, m = cg.from_dlpack(x), cg.from_dlpack(mask)
    check(t.masked_fill(m, 7), x.masked_fill(mask, 7), exact=True)
    check(t.masked_fill(m, cg.tensor(7)), x.masked_fill(mask, torch.tensor(7)), exact=True)
    with pytest.raises(cg.DTypeError, match="masked_fill: the value must be of the input's"):
        t.masked_fill(m, 2.5)
    with pytest.raises(cg.DTypeError, match="masked_fill: the mask must be bool"):
        t.masked_fill(t, 2)


def test_where_promotes_numbers_as_pytorch():
    c = torch.tensor([True, False])
    ours = cg.from_dlpack(c)
    for a, b in ((1, 2), (1, 2.5), (torch.ones(2, dtype=torch.float16), 2.5),
                 (torch.tensor(1.5, dtype=torch.float16), 2.5), (torch.ones(2), 2)):  # fmt: skip
        mine = [cg.from_dlpack(v) if isinstance(v, torch.Tensor) else v for v in (a, b)]
        check(cg.where(ours, *mine), torch.where(c, a, b), exact=True)


JOINS = {
    "empty vectors": ([torch.zeros(0), torch.ones(2, 3), torch.ones(1, 3)], 0),
    "dtypes": ([torch.ones(2), torch.arange(3), torch.ones(1, dtype=torch.float64)], 0),
    "narrow": ([torch.ones(2, dtype=torch.bfloat16), torch.arange(3)], 0),
    "negative": ([torch.ones(2, 1), torch.ones(2, 4)], -1),
}


@pytest.mark.parametrize("name", JOINS)
def test_cat(name):
    parts, dim = JOINS[name]
    check(cg.cat([cg.from_dlpack(p) for p in parts], dim), torch.cat(parts, dim), exact=True)


MOVES = {
    "roll": [((2,), {}), ((2, 1), {}), (((1, -5), (0, 1)), {})],
    "flip": [(((0,),), {}), (((0, -1),), {})],
    "transpose": [((0, -1), {})],
    "permute": [(((1, 0),), {})],
    "tril": [((), {}), ((-1,), {})],
    "triu": [((), {}), ((1,), {})],
    "diagonal": [((), {}), ((1,), {}), ((-1, 1, 0), {}), ((9,), {})],
    "tile": [(((2, 2),), {}), (((2, 1, 3),), {}), (((0, 2),), {})],
}


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (1, 1)], ids=str)
@pytest.mark.parametrize("name", MOVES)
def test_moves(name, shape):
    x = torch.arange(float(np.prod(shape))).reshape(shape)
    for args, options in MOVES[name]:
        got = getattr(cg, name)(cg.from_dlpack(x), *args, **options)
        check(got, getattr(torch, name)(x, *args, **options), exact=True)


def test_a_scalar_may_be_transposed_and_rolled():
    t = cg.tensor(2.5)
    assert t.transpose(0, -1).item() == t.roll(1, 0).item() == t.flip([0]).item() == 2.5
    values, places = t.topk(1)
    assert (values.item(), places.item()) == (2.5, 0)


POOLS = {
    "equal elements": torch.tensor([[[1.0, 1, 0, 0, 0, 0, 2, 2]]]),
    "several NaN": torch.tensor([[[1.0, NAN, 0, NAN, 0, 5, 2, 2]]]),
    "nothing but -inf": torch.full((1, 1, 8), -INF),
}


@pytest.mark.parametrize("kernel", [3, 18])  # one kernel compares places one by one
@pytest.mark.parametrize("name", POOLS)
def test_max_pool_names_pytorchs_places(name, kernel):
    x = POOLS[name].repeat(1, 2, 5)
    options = {"stride": 2, "padding": 1, "return_indices": True}
    values, places = torch.nn.functional.max_pool1d(x, kernel, **options)
    ours = cg.nn.functional.max_pool1d(cg.from_dlpack(x), kernel, **options)
    check(ours[0], values, exact=True)
    check(ours[1], places, exact=True)
    leaf = x.clone().requires_grad_()
    torch.nn.functional.max_pool1d(leaf, kernel, stride=2).sum().backward()
    slope = cg.grad(lambda t: cg.nn.functional.max_pool1d(t, kernel, stride=2).sum())
    torch.testing.assert_close(theirs_of(slope(cg.from_dlpack(x))), leaf.grad)


def test_ranges_have_pytorchs_values_and_dtypes():
    for args in ((5,), (2, 7), (0, 1, 0.25), (3.5,), (3, 0, -1), (0.0, 3.0), (0, 10, 3)):
        got, wanted = cg.arange(*args), torch.arange(*args)
        assert f"torch.{got.dtype.name}" == str(wanted.dtype)
        assert got.tolist() == wanted.tolist()
    assert cg.arange(3, dtype=cg.uint8).dtype == cg.uint8
    for steps in (0, -1):
        with pytest.raises(cg.ValueError, match="no steps"):
            cg.arange(0, 3, steps)
    assert cg.arange(2**60, 2**60 + 3).tolist() == [2**60, 2**60 + 1, 2**60 + 2]
    with pytest.raises(cg.ValueError, match="up to 2"):
        cg.arange(2.0**60, 2.0**60 + 3000, 1000, dtype=cg.int64)
