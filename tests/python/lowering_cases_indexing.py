"""Cases of bags of rows, searches, scatters, scans, orthogonal polynomials (see lowering_cases.py)."""

import torch
from lowering_cases import at, call, case, f, i, m, n, p

# Copies of views

case("aten.view_copy.default", lambda: call(f(3, 4), [2, 6]))
case("aten.narrow_copy.default", lambda: call(f(3, 5), 1, 1, 3), lambda: call(i(5), 0, -2, 2))
case("prims.copy_strided.default", lambda: call(f(3, 4), [4, 1]))
for _kind, _dims in {"default": (), "dim": (1,), "dims": ([0, 1],)}.items():
    case(f"aten.squeeze_copy.{_kind}", lambda d=_dims: call(f(1, 1, 3), *d))
case("aten.unsqueeze_copy.default", lambda: call(f(3, 4), 1))
case("aten.split_copy.Tensor", lambda: call(f(5, 3), 2))
case("aten.split_with_sizes_copy.default", lambda: call(f(5, 3), [2, 3]))
case("aten.as_strided_scatter.default", lambda: call(f(4, 5), f(2, 3), [2, 3], [7, 2], 1))
case("aten.as_strided_scatter.default", lambda: call(f(4, 5).t(), f(3), [3], [5], 2))
case("aten.resize.default", lambda: call(f(4, 5), [2, 10]), lambda: call(i(4, 5), [3, 2]))
case("aten._efficientzerotensor.default", lambda: call([2, 3]))

# Scatters

for _reduce in ("add", "multiply"):
    case("aten.scatter.reduce", lambda r=_reduce: call(f(3, 5), 1, at(5, 3, 9), f(3, 9), reduce=r))
    case("aten.scatter.value_reduce", lambda r=_reduce: call(i(5), 0, at(5, 9), 2, reduce=r))
for _reduce in ("prod", "mean", "amax", "amin"):
    for _self in (True, False):
        case(
            "aten.index_reduce.default",
            lambda r=_reduce, s=_self: call(f(3, 4), 1, at(4, 6), f(3, 6), r, include_self=s),
            lambda r=_reduce, s=_self: call(i(4), 0, at(4, 9), i(9), r, include_self=s),
        )
for _self in (True, False):
    case(
        "aten.scatter_reduce.two",
        lambda s=_self: call(f(3, 5), 1, at(4, 3, 9), f(3, 9), "mean", include_self=s),
        lambda s=_self: call(i(5), 0, at(4, 9), i(9), "mean", include_self=s),
    )
case("aten.put.default", lambda: call(f(3, 4), torch.tensor([0, -1, 5]), f(3)))
case("aten.put.default", lambda: call(i(3, 4), at(12, 2, 9) - 12, i(2, 9), True))
case("aten.masked_scatter.default", lambda: call(f(3, 4), m(4), f(12)))
case("aten.masked_scatter.default", lambda: call(i(3, 4), m(3, 4), i(20)))
case("aten.masked_scatter_backward.default", lambda: call(f(3, 4), m(3, 4), [4, 5]))
case("aten.masked_scatter_backward.default", lambda: call(f(3, 4), torch.ones(3, 4) > 0, [14]))
case("aten.nonzero_static.default", lambda: call(m(3, 4), size=5), lambda: call(i(9), size=12))
case("aten.nonzero_static.default", lambda: call(f(2, 3), size=0), lambda: call(m(0), size=2))

# Searches

NAN = float("nan")
for _right in (False, True):
    case(
        "aten.searchsorted.Tensor",
        lambda r=_right: call(i(9).sort().values, i(3, 4), right=r),
        lambda r=_right: call(f(3, 7).sort().values, f(3, 4), right=r, out_int32=True),
        lambda r=_right: call(torch.tensor([-1.0, 2, NAN]), torch.tensor([NAN, 0.0, 9]), right=r),
        lambda r=_right: call(f(0), f(3), right=r),
    )
    case("aten.bucketize.Tensor", lambda r=_right: call(i(3, 4), i(5).sort().values, right=r))
    case("aten.bucketize.Scalar", lambda r=_right: call(1, i(5).sort().values, right=r))
    case("aten.searchsorted.Scalar", lambda r=_right: call(i(8).sort().values, 1, right=r))


def _with_sorter():
    x = f(2, 9)
    return call(x, f(2, 3), side="right", sorter=x.argsort())


case("aten.searchsorted.Tensor", _with_sorter)
case(
    "aten.repeat_interleave.Tensor",
    lambda: call(torch.tensor([2, 0, 3]), output_size=5),
    lambda: call(torch.tensor([0, 0, 4, 1], dtype=torch.int32), output_size=5),
)
case("aten.histc.default", lambda: call(f(50), 7, -1, 1), lambda: call(f(5, 9), 4))
case("aten.histc.default", lambda: call(torch.full((3,), 2.0), 5))
case("aten.histc.default", lambda: call(f(0), 5))

# Scans

for _name in ("cummax", "cummin"):
    case(
        f"aten.{_name}.default",
        lambda: call(i(3, 20), 1),
        lambda: call(m(9), 0),
        lambda: call(torch.tensor([1.0, NAN, 3, NAN, -5]), 0),
        lambda: call(f(7, 2), 0),
        lambda: call(f(), 0),
    )
case(
    "aten.logcumsumexp.default",
    lambda: call(f(3, 20) * 30, 1),
    lambda: call(torch.tensor([-float("inf"), 2, float("inf"), 1]), 0),
)
case("aten.cumsum.default", lambda: call(i(9), 0, dtype=torch.int32))
case("aten.prod.dim_int", lambda: call(m(3, 4), 1, dtype=torch.bool))
case("aten.native_dropout_backward.default", lambda: call(i(9), m(9), 1.5))

# Orthogonal polynomials

for _kind in "tuvw":
    for _prefix in ("", "shifted_"):
        _name = f"aten.special_{_prefix}chebyshev_polynomial_{_kind}"
        case(
            f"{_name}.default",
            lambda: call(f(4, 1) * 3, torch.arange(-2, 12)),
            lambda: call(torch.linspace(-1, 1, 21).view(-1, 1), torch.arange(0, 40, 3)),
            lambda: call(torch.tensor([-1.0, 0, 1, NAN]).view(-1, 1), torch.arange(-1, 8)),
            lambda: call(i(9), f(9) * 3),
        )
        case(f"{_name}.n_scalar", lambda: call(p(9), 3))
        case(f"{_name}.x_scalar", lambda: call(0.3, n(9)))
for _name in (
    "hermite_polynomial_h",
    "hermite_polynomial_he",
    "laguerre_polynomial_l",
    "legendre_polynomial_p",
):
    for _degree in (-1, 0, 1, 2, 5, 9):
        case(f"aten.special_{_name}.n_scalar", lambda d=_degree: call(f(9), d))
for _name in ("hermite_polynomial_h", "hermite_polynomial_he"):
    case(f"aten.special_{_name}.x_scalar", lambda: call(0.3, n(9)))
    case(
        f"aten.special_{_name}.default", lambda: call(p(9, 1), torch.tensor([-1, 0, 1, 2, 7, 129]))
    )

# Bags of rows

BAGS = torch.tensor([0, 3, 3, 6])  # of nine indices; one is empty
for _name in ("_embedding_bag", "_embedding_bag_forward_only"):
    for _mode in (1, 2):  # of a sum PyTorch leaves what only gradients read as it is
        case(
            f"aten.{_name}.default",
            lambda m=_mode: call(f(7, 5), at(7, 9), BAGS, False, m, False, None, False, 2),
            lambda m=_mode, n=_name: call(
                f(7, 5), at(7, 9), BAGS, False, m, False, None, "only" not in n
            ),  # traced without the kernel's rule
        )


def bag_gradient(mode, factors=None, padding_idx=-1):
    """A call of embedding_bag's gradient, with what the forward pass saved."""
    weight, index = f(7, 5), at(7, 9)
    args = (False, mode, False, factors, False, padding_idx)
    out, *saved = torch.ops.aten._embedding_bag(weight, index, BAGS, *args)
    grad, rest = f(*out.shape), (7, False, mode, False, factors, padding_idx)
    return call(grad, index, BAGS, *saved, *rest)


def bag_weights_gradient(padding_idx=-1):
    weight, index, factors = f(7, 5), at(7, 9), f(9)
    bag = torch.ops.aten._embedding_bag(weight, index, BAGS, False, 0, False, factors)[1]
    return call(f(4, 5), weight, index, BAGS, bag, 0, padding_idx)


case("aten._embedding_bag_backward.default", lambda: bag_gradient(0), lambda: bag_gradient(1))
case(
    "aten._embedding_bag_backward.default",
    lambda: bag_gradient(2),
    lambda: bag_gradient(2, None, 2),
)
case("aten._embedding_bag_backward.default", lambda: bag_gradient(0, f(9), 3))
case(
    "aten._embedding_bag_per_sample_weights_backward.default",
    lambda: bag_weights_gradient(),
    lambda: bag_weights_gradient(1),
)
