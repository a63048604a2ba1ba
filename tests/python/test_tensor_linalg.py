"""Linear algebra of tensors against PyTorch: values, gradients, what is empty, singular, too large."""

import numpy as np
import pytest
import torch
from test_tensor_functional import TOLERANCE, Case, normal, run_ours, run_theirs

import coregrad as cg


def well(*shape: int) -> np.ndarray:
    """Matrices far from singular that need row exchanges."""
    return normal(*shape) + 3 * np.roll(np.eye(*shape[-2:]), 1, -1) * (min(shape[-2:]) > 1)


def definite(*shape: int) -> np.ndarray:
    x = normal(*shape)
    return x @ x.swapaxes(-1, -2) + np.eye(shape[-1])


def triangle(*shape: int, upper: bool) -> np.ndarray:
    x = normal(*shape) + 3 * np.eye(shape[-1])
    return np.triu(x) if upper else np.tril(x)


def part(name: str, number: int, *operands, **options) -> Case:
    """One of a function's results."""
    return Case(
        f"{name} {number}",
        list(operands),
        options,
        lambda *x, **o: getattr(cg, name)(*x, **o)[number],
        lambda *x, **o: getattr(torch.linalg, name)(*x, **o)[number],
    )


def same(name: str, *operands, **options) -> Case:
    theirs = getattr(torch.linalg, name, None) or getattr(torch, name)
    return Case(name, list(operands), options, getattr(cg, name), theirs)


SINGULAR = [
    [[0, 1, 2], [0, 3, 4], [0, 5, 7]],
    [[1, 0, 2], [3, 0, 4], [5, 0, 7]],
    [[1, 2, 3], [2, 4, 6], [1, 0, 1]],
    [[1, 2, 0], [3, 4, 0], [5, 6, 0]],
    [[1, 1, 1], [1, 1, 1], [1, 1, 1]],  # no slope is left
    [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
]
SQUARE = [well(4, 4), well(2, 3, 5, 5), well(1, 1), well(2, 4, 4).swapaxes(-1, -2)]
ANY = [*SQUARE[:2], well(5, 3), well(2, 3, 5)]
ELIMINATIONS = [
    *(part("lu", number, x) for x in ANY for number in (1, 2)),
    *(part("lu_factor", 0, x) for x in ANY),
    *(same("inv", x) for x in SQUARE),
    *(same("det", x) for x in SQUARE),
    *(part("slogdet", 1, x) for x in SQUARE),
    *(same("solve", well(4, 4), x) for x in (normal(4, 2), normal(4))),
    same("solve", well(2, 4, 4), normal(2, 4)),  # vectors
    same("solve", well(2, 4, 4), normal(3, 1, 4, 2)),
    same("solve", well(2, 4, 4), normal(3, 4), left=False),
    *(
        Case(
            f"lu_solve {left} {adjoint}",
            [well(2, 4, 4), x],
            {},
            lambda a, y, o=(left, adjoint): cg.lu_solve(*cg.lu_factor(a), y, *o),
            lambda a, y, k=left, t=adjoint: torch.linalg.lu_solve(
                *torch.linalg.lu_factor(a), y, left=k, adjoint=t
            ),
        )
        for left, x in ((True, normal(4, 3)), (False, normal(3, 2, 3, 4)))
        for adjoint in (False, True)
    ),
    *(
        Case(
            "lu_unpack",
            [x],
            {},
            lambda a, i=number: cg.lu_unpack(*cg.lu_factor(a))[i],
            lambda a, i=number: torch.lu_unpack(*torch.linalg.lu_factor(a))[i],
        )
        for x in ANY
        for number in (1, 2)
    ),
]
TRIANGLES = [
    *(
        same(
            "solve_triangular",
            triangle(2, 4, 4, upper=upper),
            normal(4, 4),
            upper=upper,
            left=left,
            unitriangular=unit,
        )
        for upper in (False, True)
        for left in (False, True)
        for unit in (False, True)
    ),
    *(
        same("cholesky", x, upper=u)
        for x in (definite(4, 4), definite(2, 5, 5))
        for u in (False, True)
    ),
    *(
        Case(
            f"cholesky_solve {upper}",
            [y, definite(4, 4)],
            {},
            lambda y, a, u=upper: cg.cholesky_solve(y, cg.cholesky(a, u), u),
            lambda y, a, u=upper: torch.cholesky_solve(y, torch.linalg.cholesky(a, upper=u), u),
        )
        for y in (normal(4, 2), normal(3, 4, 1))
        for upper in (False, True)
    ),
    *(
        Case(
            f"cholesky_inverse {upper}",
            [definite(4, 4)],
            {},
            lambda a, u=upper: cg.cholesky_inverse(cg.cholesky(a, u), u),
            lambda a, u=upper: torch.cholesky_inverse(torch.linalg.cholesky(a, upper=u), u),
        )
        for upper in (False, True)
    ),
]
REFLECTIONS = [
    *(part("qr", number, x) for x in ANY for number in (0, 1)),
    *(part("qr", number, well(4, 4), mode="complete") for number in (0, 1)),
    Case(
        "householder_product",
        [normal(5, 3), normal(2)],
        {},
        cg.householder_product,
        torch.linalg.householder_product,
    ),
]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("case", [*ELIMINATIONS, *TRIANGLES, *REFLECTIONS], ids=str)
def test_values_and_gradients_are_pytorchs(case, dtype):
    for number, (got, want) in enumerate(zip(run_ours(case, dtype), run_theirs(case, dtype))):
        assert got.dtype == dtype
        assert got.shape == want.shape
        bound = TOLERANCE[dtype] * max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=f"result {number}")


def arrays(results) -> list[np.ndarray]:
    results = results if isinstance(results, (tuple, list)) else [results]
    return [np.asarray(r.numpy()) for r in results]


def agree(ours, theirs, tolerance=1e-11) -> None:
    for got, want in zip(arrays(ours), arrays(theirs), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, tolerance, tolerance)


@pytest.mark.parametrize("x", [*ANY, np.ones((3, 3)), np.zeros((2, 2, 3))], ids=np.shape)
def test_pivots_permutations_and_failures_are_pytorchs(x):
    a, b = cg.tensor(x), torch.from_numpy(x)
    agree(cg.lu_factor_ex(a), torch.linalg.lu_factor_ex(b))
    agree(a.lu(), torch.linalg.lu(b))
    agree(cg.lu_unpack(*cg.lu_factor(a)), torch.lu_unpack(*torch.linalg.lu_factor_ex(b)[:2]))
    only = cg.lu_unpack(*cg.lu_factor(a), unpack_pivots=False)
    agree(only, torch.lu_unpack(*torch.linalg.lu_factor_ex(b)[:2], unpack_pivots=False))


@pytest.mark.parametrize("x", [*ANY, np.zeros((3, 2)), np.eye(3)], ids=np.shape)
def test_reflections_are_pytorchs(x):
    a, b = cg.tensor(x), torch.from_numpy(x)
    packed, factors = a.geqrf()
    agree((packed, factors), torch.geqrf(b))
    for mode in ("reduced", "complete", "r"):
        agree(cg.qr(a, mode), torch.linalg.qr(b, mode))
    for left in (True, False):
        for turned in (True, False):
            other = normal(*x.shape[:-2], x.shape[-2], x.shape[-2])
            got = cg.ormqr(packed, factors, cg.tensor(other), left, turned)
            agree(got, torch.ormqr(*torch.geqrf(b), torch.from_numpy(other), left, turned))


def test_only_one_triangle_is_read():
    x = definite(4, 4)
    for upper in (False, True):
        spoiled = np.where(np.tri(4, k=-1).T > 0, [[np.nan, np.inf, -1, np.nan]], x)
        spoiled = cg.tensor(spoiled.T if upper else spoiled)
        agree(spoiled.cholesky(upper), torch.linalg.cholesky(torch.from_numpy(x), upper=upper))
        slope = cg.grad(lambda a, u=upper: a.cholesky(u).sum())(spoiled)
        assert np.isfinite(slope.numpy()).all()


def test_matrices_that_are_not_definite_are_told():
    x = np.stack([np.eye(3), np.diag([1.0, -1, 1]), -np.eye(3)])
    factor, failed = cg.cholesky_ex(cg.tensor(x))
    assert failed.dtype == cg.int32
    assert failed.tolist() == torch.linalg.cholesky_ex(torch.from_numpy(x))[1].tolist()
    agree(factor[0], torch.eye(3, dtype=torch.float64))
    assert np.isnan(factor.numpy()[1:]).any((1, 2)).all()


def test_singular_matrices_have_no_inverse_and_the_determinant_0():
    x = cg.tensor(np.array(SINGULAR, float))
    assert cg.det(x).tolist() == [0] * len(SINGULAR)
    sign, size = cg.slogdet(x)
    assert sign.tolist() == [0] * len(SINGULAR)
    assert (size.numpy() == -np.inf).all()
    assert not np.isfinite(cg.inv(x).numpy()).all((1, 2)).any()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
def test_slopes_of_determinants_are_cofactors_at_singular_matrices_too(dtype):
    for values in SINGULAR:
        x = np.array(values, dtype)
        rest = [[np.delete(np.delete(x, i, 0), j, 1) for j in range(3)] for i in range(3)]
        cofactors = np.linalg.det(np.array(rest)) * [[1, -1, 1], [-1, 1, -1], [1, -1, 1]]
        slope = cg.grad(cg.det)(cg.tensor(x)).numpy()
        np.testing.assert_allclose(slope, cofactors, 1e-5, 1e-5)


def test_second_derivatives_are_pytorchs():
    for name in ("inv", "det", "cholesky"):
        x = definite(3, 3)
        ours, theirs = getattr(cg, name), getattr(torch.linalg, name)
        got = cg.grad(lambda a, f=ours: (cg.grad(lambda t: f(t).sum())(a) ** 2).sum())(cg.tensor(x))

        def outer(a, f=theirs):
            (slope,) = torch.autograd.grad(f(a).sum(), a, create_graph=True)
            return (slope**2).sum()

        leaf = torch.from_numpy(x).requires_grad_()
        agree(got, torch.autograd.grad(outer(leaf), leaf), 1e-9)


EMPTY = [(0, 0), (2, 0, 0), (0, 3, 3)]


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_nothing_gives_what_pytorch_gives(shape):
    x = np.zeros(shape)
    a, b = cg.tensor(x), torch.from_numpy(x)
    for name in ("lu_factor_ex", "lu", "inv", "det", "slogdet", "cholesky_ex", "qr"):
        agree(getattr(cg, name)(a), getattr(torch.linalg, name)(b))
    agree(cg.solve(a, a), torch.linalg.solve(b, b))
    agree(cg.solve_triangular(a, a, True), torch.linalg.solve_triangular(b, b, upper=True))
    agree(cg.cholesky_solve(a, a), torch.cholesky_solve(b, b))
    agree(cg.lu_solve(*cg.lu_factor(a), a), torch.linalg.lu_solve(*torch.linalg.lu_factor(b), b))
    agree(cg.lu_unpack(*cg.lu_factor(a)), torch.lu_unpack(*torch.linalg.lu_factor(b)))
    agree(cg.geqrf(a), torch.geqrf(b))


def test_sides_of_an_equation_may_be_empty():
    for a, b in (((3, 3), (3, 0)), ((0, 0), (0, 2)), ((0, 0), (0,)), ((0, 3, 3), (3, 2))):
        x, y = np.ones(a) + np.eye(a[-1]), np.ones(b)
        want = torch.linalg.solve(torch.from_numpy(x), torch.from_numpy(y))
        agree(cg.solve(cg.tensor(x), cg.tensor(y)), want)
    for shape, mode in (((3, 0), "complete"), ((0, 3), "complete"), ((3, 0), "reduced")):
        agree(cg.qr(cg.ones(shape), mode), torch.linalg.qr(torch.ones(shape), mode))


def test_narrow_floats_are_rounded_once():
    x = torch.from_numpy(well(4, 4))
    for narrow in (torch.float16, torch.bfloat16):
        a = x.to(narrow)
        for name in ("inv", "det", "lu_factor", "slogdet"):
            got = getattr(cg, name)(cg.from_dlpack(a))
            want = getattr(torch.linalg, name)(a.double())
            for ours, theirs in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, want))):
                dtype = narrow if theirs.is_floating_point() else theirs.dtype
                torch.testing.assert_close(torch.from_dlpack(ours.realize()), theirs.to(dtype))


BAD = [
    (lambda: cg.inv(cg.ones((17, 17))), cg.UnsupportedError, r"inv: .* 16 .*f32\[17,17\]"),
    (lambda: cg.qr(cg.ones((20, 2))), cg.UnsupportedError, "qr: .* 16"),
    (lambda: cg.solve(cg.ones((2, 17, 17)), cg.ones((17,))), cg.UnsupportedError, "solve: .* 16"),
    (lambda: cg.inv(cg.ones((3, 4))), cg.ShapeError, "inv: .* square"),
    (lambda: cg.det(cg.ones((3,))), cg.ShapeError, "det: .* two dimensions"),
    (lambda: cg.det(cg.tensor([[1, 2], [3, 4]])), cg.DTypeError, "det: .* floating"),
    (lambda: cg.solve(cg.ones((3, 3)), cg.ones((4, 2))), cg.ShapeError, "solve: extents"),
    (lambda: cg.solve(cg.ones((2, 3, 3)), cg.ones((4, 3, 1))), cg.ShapeError, "solve: "),
    (lambda: cg.solve(cg.ones((3, 3)), cg.tensor(1.0)), cg.ShapeError, "solve: "),
    (lambda: cg.cholesky_solve(cg.ones((4, 2)), cg.ones((3, 3))), cg.ShapeError, "cholesky_solve"),
    (lambda: cg.lu_solve(cg.ones((3, 3)), cg.ones((3,)), cg.ones((3, 1))),
     cg.DTypeError, "lu_solve: pivots"),
    (lambda: cg.lu_unpack(cg.ones((3, 3)), cg.tensor([1, 2])), cg.ShapeError, "lu_unpack: pivots"),
    (lambda: cg.qr(cg.ones((3, 3)), "full"), cg.ValueError, "qr: .* 'full'"),
    (lambda: cg.householder_product(cg.ones((3, 2)), cg.ones((3,))),
     cg.ShapeError, "householder_product"),
    (lambda: cg.ormqr(cg.ones((3, 2)), cg.ones((2,)), cg.ones((2, 3))), cg.ShapeError, "ormqr"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_bad_input_raises_the_typed_error_when_the_call_is_made(call, error, message):
    with pytest.raises(error, match=message):
        call()
