"""Overloads of special functions whose arguments are not those of the operators."""

from __future__ import annotations

from .table import lower


@lower("aten.polygamma.default")
def polygamma(b, n, x):
    return b.node(b.g.polygamma(b.node(x, b.dtype), n), b.dtype)


def _hermite(name):
    def row(b, x, n):
        if b.dtype == b.core_float64:
            b.unsupported("Hermite's polynomials of degrees known at run time, in this precision")
        return getattr(b.g, name)(b.node(x, b.dtype), b.node(n, b.dtype))

    return row


for _name in ("hermite_polynomial_h", "hermite_polynomial_he"):
    lower(f"aten.special_{_name}.default", f"aten.special_{_name}.x_scalar")(_hermite(_name))
