"""Special functions of tensors and their kin: values against PyTorch, where branches meet, at infinities
and NaN, and of nothing. Gradients are compared by test_tensor_functional.py.
"""

import numpy as np
import pytest
import torch

import coregrad as cg

EDGES = [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 0.5, -0.5, 2, 5, 8, 10, -3, 1e-300, -1e-30, 1e200]
POINTS = np.concatenate([EDGES, np.linspace(-12.3, 31, 80)])
UNIT = np.concatenate([EDGES, np.linspace(-1, 1, 41), [1e-20, 0.999, 1e-10]])

UNARY = {
    **dict.fromkeys(
        ("erfc", "erfcx", "log_ndtr", "lgamma", "digamma", "asinh", "acosh", "i0"), POINTS
    ),
    **dict.fromkeys(
        ("i0e", "i1", "i1e", "bessel_j0", "bessel_j1", "bessel_y0", "bessel_y1"), POINTS
    ),
    **dict.fromkeys(("modified_bessel_k0", "modified_bessel_k1", "spherical_bessel_j0"), POINTS),
    **dict.fromkeys(("scaled_modified_bessel_k0", "scaled_modified_bessel_k1"), POINTS),
    **dict.fromkeys(("atanh", "erfinv", "ndtri"), UNIT),
}
POLYNOMIALS = (
    *(f"{p}chebyshev_polynomial_{k}" for p in ("", "shifted_") for k in "tuvw"),
    *("hermite_polynomial_h", "hermite_polynomial_he", "laguerre_polynomial_l"),
    "legendre_polynomial_p",
)
TOLERANCE = {np.float32: 1e-6, np.float64: 1e-11}


def theirs(name):
    return getattr(torch, name, None) or getattr(torch.special, name)


def agrees(name, arrays, dtype, **options):
    """Values of our function in a precision are PyTorch's in float64."""
    arrays = [a.astype(dtype) if a.dtype == np.float64 else a for a in arrays]
    got = getattr(cg, name)(*map(cg.tensor, arrays), **options)
    wide = [torch.from_numpy(a.astype(np.float64) if a.dtype == dtype else a) for a in arrays]
    want = theirs(name)(*wide, **options).numpy()
    assert got.dtype == cg.tensor(np.zeros(0, dtype)).dtype
    with np.errstate(over="ignore"):
        want = want.astype(dtype)
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_operand_are_pytorchs(name, dtype):
    with np.errstate(over="ignore", under="ignore"):
        agrees(name, [UNARY[name]], dtype)
    for shape in ((), (0, 3)):
        agrees(name, [np.full(shape, 0.25)], dtype)
    whole = getattr(cg, name)(cg.tensor([0, 1], dtype=cg.int32))
    np.testing.assert_allclose(whole.numpy(), theirs(name)(torch.tensor([0, 1])), 1e-6, 1e-14)
    assert whole.dtype == cg.float32


@pytest.mark.parametrize("order", [0, 1, 2, 3, 4, 20])
def test_polygamma_is_pytorchs(order):
    x = np.concatenate([[0, 1, -2, np.inf, np.nan], np.linspace(-9.9, 30, 97)])
    got = cg.polygamma(cg.tensor(x), order).numpy()
    want = torch.polygamma(order, torch.from_numpy(x)).numpy()
    # At its poles PyTorch's sine is not 0.
    np.testing.assert_allclose(got, want, rtol=1e-9)
    with pytest.raises(cg.ValueError, match="order"):
        cg.tensor(x).polygamma(21)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
def test_zeta_is_pytorchs(dtype):
    s, q = np.array([[1], [1.5], [2], [3], [30], [0.5]]), np.linspace(-3.25, 9, 8)
    agrees("zeta", [s, q], dtype)
    agrees("zeta", [s, np.array([0.0, -1, 1, np.inf, np.nan])], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("name", POLYNOMIALS)
def test_polynomials_of_degrees_known_at_run_time_are_pytorchs(name, dtype):
    x = np.array([-1.5, -1, -0.7, 0, 0.2, 0.5, 1, 1.25])
    degrees = np.array([[-1], [0], [1], [2], [7]]).astype(np.float64)
    agrees(name, [x, degrees], dtype)
    agrees(name, [x[:0], degrees], dtype)
    agrees(name, [np.array(0.3), np.array(4.0)], dtype)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
def test_signs_and_powers_of_two_are_pytorchs(dtype):
    x, y = np.array([EDGES]).T, np.array(EDGES)
    for name in ("fmax", "fmin", "hypot"):
        agrees(name, [x[:16], y[:16]], dtype)
    agrees("copysign", [y, np.roll(y, 1)[np.newaxis]], dtype)
    agrees("ldexp", [np.array([0.75, -3, 0, np.inf]), np.array([[3.0], [-20]])], dtype)
    agrees("angle", [y], dtype)
    for decimals in (-2, 0, 1, 3):
        agrees("round", [np.linspace(-999, 999, 37)], dtype, decimals=decimals)
    finite = cg.signbit(cg.tensor(y[np.isfinite(y)].astype(dtype)))
    assert finite.tolist() == np.signbit(y[np.isfinite(y)]).tolist()


def test_functions_of_whole_numbers_are_pytorchs():
    x = np.random.default_rng(3).integers(-60, 61, (9, 1))
    y = np.arange(-12, 13)
    for dtype in (np.int32, np.int64):
        ours, reference = (
            [cg.tensor(v.astype(dtype)) for v in (x, y)],
            [x.astype(dtype), y.astype(dtype)],
        )
        for name in ("gcd", "lcm", "fmax", "fmin"):
            got = getattr(cg, name)(*ours)
            want = getattr(torch, name)(*map(torch.from_numpy, reference))
            np.testing.assert_array_equal(got.numpy(), want, err_msg=name)
            assert got.dtype == ours[0].dtype
    assert cg.copysign(cg.tensor([1, 2]), cg.tensor([-1, 1])).dtype == cg.float32
    assert cg.ldexp(cg.tensor([1, 2]), cg.tensor([3, 4])).tolist() == [8, 32]
    assert cg.signbit(cg.tensor([-1, 2])).tolist() == [True, False]
    with pytest.raises(cg.DTypeError, match="integers"):
        cg.gcd(cg.ones((2,)), cg.ones((2,)))


@pytest.mark.parametrize("right", [False, True])
def test_searches_are_pytorchs(right):
    row = np.array([-1.0, 0, 0, 2, np.inf])
    values = np.array([[-5, 0, 1], [2, np.inf, np.nan]])
    rows = np.sort(np.random.default_rng(0).random((2, 7)), 1)
    for sequence, wanted in (
        (row, values),
        (rows, values / 4),
        (row[:0], values),
        (row, values[:0]),
    ):
        got = cg.searchsorted(cg.tensor(sequence), cg.tensor(wanted), right)
        want = torch.searchsorted(torch.from_numpy(sequence), torch.from_numpy(wanted), right=right)
        assert got.dtype == cg.int64
        np.testing.assert_array_equal(got.numpy(), want)
    got = cg.bucketize(cg.tensor(values), cg.tensor(row), right=right)
    want = torch.bucketize(torch.from_numpy(values), torch.from_numpy(row), right=right)
    np.testing.assert_array_equal(got.numpy(), want)
    assert cg.searchsorted(cg.tensor([1, 3]), cg.tensor(2)).item() == 1
    with pytest.raises(cg.ShapeError, match="searchsorted"):
        cg.searchsorted(cg.tensor(rows), cg.tensor(row))


def test_distances_in_no_norm_are_counts():
    x, y = np.array([[1.0, 2, 3], [0, 2, 1]]), np.array([[1.0, 2, 0]])
    agrees("cdist", [x, y], np.float64, p=0.0)
    agrees("dist", [x, y], np.float64, p=0.0)
    agrees("cdist", [x[:0], y], np.float64)
    assert cg.grad(lambda x: cg.pdist(x).sum())(cg.zeros([0, 4])).shape == (0, 4)
    agrees("cdist", [x[:, :0], y[:, :0]], np.float64, p=np.inf)


@pytest.mark.parametrize(
    "counted",
    [
        lambda x: cg.norm(x, p=0.0),
        lambda x: cg.cdist(x, x * 2, p=0.0).sum(),
        lambda x: cg.dist(x, x * 2, 0.0),
    ],
)
def test_counts_have_slope_zero(counted):
    x = cg.tensor(np.array([[1.0, 0.0, -3.0], [np.inf, -0.0, 2.0]]))
    _, slope = cg.value_and_grad(counted)(x)
    np.testing.assert_array_equal(slope.numpy()[:, 1:], 0)


def test_the_norm_that_counts_counts_nan():
    x = np.array([0.0, -0.0, np.nan, np.inf, -2.0])
    assert cg.norm(cg.tensor(x), p=0.0).item() == 3
    assert torch.linalg.vector_norm(torch.from_numpy(x), 0.0).item() == 3
