"""Cases of dense linear algebra and distances (see lowering_cases.py)."""

import torch
from lowering_cases import call, case, f

INFINITY = float("inf")


def well(*shape):
    """Matrices far from singular that need row exchanges."""
    n = min(shape[-2:])
    return f(*shape) + 3 * torch.eye(*shape[-2:]).roll(1, -1) * (n > 1)


def positive(*batch, n=4):
    x = f(*batch, n, n)
    return x @ x.mT + torch.eye(n)


def singular():
    return torch.ones(3, 3)


def ldl(*shape):
    """An elimination and its pivots."""
    return torch.linalg.lu_factor(well(*shape))


def triangle(*shape, upper):
    x = f(*shape) + 3 * torch.eye(shape[-1])
    return x.triu() if upper else x.tril()


case("aten.linalg_lu_factor_ex.default", lambda: call(well(5, 5)), lambda: call(well(2, 3, 5)))
case(
    "aten.linalg_lu_factor_ex.default", lambda: call(well(2, 1, 5, 3).mT), lambda: call(singular())
)
case("aten.linalg_lu_factor_ex.default", lambda: call(f(0, 3)), lambda: call(torch.zeros(2, 2)))
for _shape in ((4, 4), (2, 3, 5), (2, 5, 3), (1, 1)):
    case("aten.lu_unpack.default", lambda s=_shape: call(*ldl(*s)))
    case("aten.linalg_lu.default", lambda s=_shape: call(well(*s)))
for _adjoint in (False, True):
    case(
        "aten.linalg_lu_solve.default",
        lambda a=_adjoint: call(*ldl(4, 4), f(4, 2), adjoint=a),
        lambda a=_adjoint: call(*ldl(3, 4, 4), f(2, 1, 2, 4), left=False, adjoint=a),
    )
case("aten.linalg_inv_ex.default", lambda: call(well(2, 5, 5)), lambda: call(f(2, 0, 0)))
for _left in (True, False):
    case(
        "aten._linalg_solve_ex.default",
        lambda k=_left: call(well(4, 4), f(4, 4), left=k),
        lambda k=_left: call(well(2, 4, 4).mT, f(3, 1, 4, 4), left=k),
    )
case("aten._linalg_solve_ex.default", lambda: call(well(4, 4), f(4)))
case(
    "aten._linalg_solve_ex.default", lambda: call(well(4, 4), f(4, 0)), lambda: call(f(0, 0), f(0))
)
case("aten._linalg_solve_ex.default", lambda: call(well(2, 4, 4), f(2, 4)))
for _name in ("det", "slogdet"):
    case(f"aten._linalg_{_name}.default", lambda: call(well(4, 4)), lambda: call(well(2, 5, 5).mT))
    case(f"aten._linalg_{_name}.default", lambda: call(singular()), lambda: call(f(2, 0, 0)))
for _upper in (True, False):
    for _left in (True, False):
        case(
            "aten.linalg_solve_triangular.default",
            lambda u=_upper, k=_left: call(triangle(4, 4, upper=u), f(4, 4), upper=u, left=k),
            lambda u=_upper, k=_left: call(
                triangle(2, 3, 3, upper=u), f(3, 3), upper=u, left=k, unitriangular=True
            ),
        )
    for _turned in (True, False):
        case(
            "aten.triangular_solve.default",
            lambda u=_upper, t=_turned: call(f(4, 2), triangle(4, 4, upper=u), u, t),
        )
    case("aten.linalg_cholesky_ex.default", lambda u=_upper: call(positive(), upper=u))
    case("aten.linalg_cholesky_ex.default", lambda u=_upper: call(positive(2, 3, n=5), upper=u))
    case("aten.cholesky.default", lambda u=_upper: call(positive(2), u))
    case("aten.cholesky_solve.default", lambda u=_upper: call(f(4, 2), _factor(u), u))
    case("aten.cholesky_inverse.default", lambda u=_upper: call(_factor(u), u))


def _factor(upper):
    return torch.linalg.cholesky(positive(), upper=upper)


case("aten.triangular_solve.default", lambda: call(f(0, 2), f(0, 0)))

for _mode in ("reduced", "complete", "r"):
    for _shape in ((4, 4), (2, 5, 3), (3, 5)):
        case("aten.linalg_qr.default", lambda s=_shape, m=_mode: call(f(*s), m))
case("aten.linalg_qr.default", lambda: call(torch.eye(3)), lambda: call(f(0, 2), "complete"))
case("aten.geqrf.default", lambda: call(f(5, 3)), lambda: call(f(2, 3, 4)))
case("aten.linalg_householder_product.default", lambda: call(*torch.geqrf(f(5, 3))))
case("aten.linalg_householder_product.default", lambda: call(*torch.geqrf(f(2, 4, 4))))
for _left in (True, False):
    for _turned in (True, False):
        case(
            "aten.ormqr.default",
            lambda k=_left, t=_turned: call(*torch.geqrf(f(4, 3)), f(4, 4), k, t),
        )

# Distances

for _p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, INFINITY):
    case(
        "aten._cdist_forward.default",
        lambda p=_p: call(f(3, 4), f(5, 4), p, None),
        lambda p=_p: call(f(2, 1, 3, 4), f(2, 2, 5, 4), p, 2),
    )
    case("aten._cdist_backward.default", lambda p=_p: _cdist_backward(f(3, 4), f(5, 4), p))
    case("aten._pdist_forward.default", lambda p=_p: call(f(6, 3), p))
    case("aten._pdist_backward.default", lambda p=_p: _pdist_backward(f(6, 3), p))


def _cdist_backward(x, y, p):
    y[0] = x[0]
    distance = torch.ops.aten._cdist_forward(x, y, p, None)
    return call(torch.randn(distance.shape), x, y, p, distance)


def _pdist_backward(x, p):
    x[1] = x[0]
    distance = torch.ops.aten._pdist_forward(x, p)
    return call(torch.randn(distance.shape), x, p, distance)
