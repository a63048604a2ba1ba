"""Cases of special functions and rare arithmetic (see lowering_cases.py)."""

import torch
from lowering_cases import call, case, f, i, m, n, p

NAN, INFINITY = float("nan"), float("inf")


def edges():
    """Values where branches meet, with NaN, infinities and both zeros."""
    return torch.tensor(
        [NAN, INFINITY, -INFINITY, 0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 5.0, 8.0, 10.0, -3.0, 0.5, 40.0]
    )


def strided():
    return (f(5, 6) * 6).t()[1:]


for _name in [
    *("erfc", "special_erfcx", "lgamma", "digamma", "asinh", "acosh", "atanh", "i0"),
    *("special_i0e", "special_i1", "special_i1e", "special_bessel_j0", "special_bessel_j1"),
    *("special_bessel_y0", "special_bessel_y1", "special_modified_bessel_i0"),
    *("special_modified_bessel_i1", "special_modified_bessel_k0", "special_modified_bessel_k1"),
    *("special_scaled_modified_bessel_k0", "special_scaled_modified_bessel_k1"),
    *("special_spherical_bessel_j0", "special_erfc", "special_log_ndtr", "erfinv"),
]:
    case(
        f"aten.{_name}.default",
        lambda: call(edges()),
        lambda: call(strided()),
        lambda: call(torch.linspace(-30, 30, 241, dtype=torch.float64)),
        lambda: call(torch.linspace(-1, 1, 81, dtype=torch.float64)),
        lambda: call(i(5)),
        lambda: call(m(5)),
        lambda: call(f(0, 3)),
        lambda: call(torch.tensor(0.25)),
    )
for _order in range(5):
    case(
        "aten.polygamma.default",
        lambda o=_order: call(o, strided()),
        lambda o=_order: call(o, torch.linspace(-9.9, 30, 97, dtype=torch.float64)),
        lambda o=_order: call(o, n(5)),
        lambda o=_order: call(o, torch.tensor([0.0, 1.0, -2.0, 0.25, 100.0])),
    )
for _name in ("fmax", "fmin", "hypot"):
    case(f"aten.{_name}.default", lambda: call(f(3, 1), f(4)), lambda: call(edges(), f(15)))
    case(f"aten.{_name}.default", lambda: call(f(15), edges()), lambda: call(edges(), edges()))
for _name in ("fmax", "fmin"):
    case(f"aten.{_name}.default", lambda: call(i(4), f(3, 4)), lambda: call(m(4), m(4)))
case("aten.signbit.default", lambda: call(i(9)), lambda: call(m(4)))
case("aten.angle.default", lambda: call(edges()), lambda: call(i(9)), lambda: call(m(4)))
case("aten.ldexp.Tensor", lambda: call(f(3, 4), i(4)), lambda: call(i(4), f(3, 4)))
case("aten.ldexp.Tensor", lambda: call(f(4).double(), i(4)), lambda: call(m(4), n(4)))
for _decimals in (-3, -1, 0, 2):
    case("aten.round.decimals", lambda d=_decimals: call(strided() * 100, decimals=d))
case("aten.addmv.default", lambda: call(f(3), f(4, 3).t(), f(4), beta=0.5, alpha=2))
case("aten.addmv.default", lambda: call(i(3), i(3, 4), i(4)), lambda: call(f(3), f(3, 0), f(0)))
case("aten.addbmm.default", lambda: call(f(5), f(2, 3, 4), f(2, 4, 5), beta=0.5, alpha=2))
case("aten.addbmm.default", lambda: call(i(3, 5), i(2, 3, 4), i(2, 4, 5)))
case("aten._trilinear.default", lambda: _trilinear(f), lambda: _trilinear(p))


def _trilinear(make):
    return call(make(3, 4), make(6, 4, 5), make(3, 5), [1, 3], [0], [1, 2], [2, 3])


for _p in (0, 1, 2, 3, 0.5, INFINITY, -INFINITY):
    case("aten.dist.default", lambda p=_p: call(f(3, 4), f(4), p))
case(
    "aten.special_ndtri.default",
    lambda: call(torch.tensor([NAN, -1.0, 0, 1, 2, 1e-14, 1e-30, 0.999])),
)
case("aten.special_ndtri.default", lambda: call(p(4, 5)), lambda: call(m(4)), lambda: call(i(5)))
for _name in ("default", "other_scalar", "self_scalar"):
    _s = (lambda: 2.5) if _name == "self_scalar" else lambda: p(4, 1) * 9 + 1
    _q = (lambda: 3) if _name == "other_scalar" else lambda: p(5) * 20
    case(f"aten.special_zeta.{_name}", lambda s=_s, q=_q: call(s(), q()))
case("aten.special_zeta.default", lambda: call(n(4, 1) + 1, f(5) * 9), lambda: call(i(9, 1), i(9)))
case("aten.special_zeta.default", lambda: call(torch.tensor([300.0, 0.5, 1, 2]), p(4) * 3))
case("aten.frexp.Tensor", lambda: call(f(4, 5) * 99), lambda: call(edges()[1:]))
case("aten.frexp.Tensor", lambda: call(torch.ldexp(torch.tensor(1.0), torch.arange(-14, 16))))
case("aten.frexp.Tensor", lambda: call(torch.tensor([1e-310, 5e-324, 1.7e308, 2.0**1023]).double()))
case("aten.nextafter.default", lambda: call(edges(), f(15)), lambda: call(f(4, 1), f(5)))
case("aten.nextafter.default", lambda: call(edges().double(), edges().double().flip(0)))
case("aten.nextafter.default", lambda: call(torch.tensor([0.0, 1e-45, 3.4e38]), torch.tensor(-9.0)))
case("aten.nextafter.default", lambda: call(2.0 ** torch.arange(-20, 20), f(40) * 9))
