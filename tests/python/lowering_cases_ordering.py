"""Cases of medians, modes, segments, samples of grids and whole numbers (see lowering_cases.py)."""

import torch
from lowering_cases import at, call, case, f, i, m, n, p

NAN, INFINITY = float("nan"), float("inf")


def distinct(*shape):
    """Floats of which no two are equal, in half precision either."""
    count = torch.Size(shape).numel()
    return ((torch.randperm(count) - count // 2) * 0.25).reshape(shape)


def holed():
    return torch.tensor([[NAN, 2.0, 1], [3, NAN, NAN], [NAN] * 3, [5, 4, 3]])


# Order

for _k in (1, 3, 5):
    case("aten.kthvalue.default", lambda k=_k: call(distinct(4, 5), k, 1))
    case("aten.kthvalue.default", lambda k=_k: call(torch.randperm(20).reshape(5, 4), k, 0, True))
case("aten.kthvalue.default", lambda: call(torch.tensor([NAN, 1, 0]), 3), lambda: call(f(), 1))
for _name in ("median", "nanmedian"):
    case(f"aten.{_name}.default", lambda: call(f(4, 5)), lambda: call(i(9)), lambda: call(f()))
    case(f"aten.{_name}.default", lambda: call(torch.tensor([NAN, 1, 0, 5])))
    case(
        f"aten.{_name}.dim", lambda: call(distinct(4, 5), 1), lambda: call(distinct(6, 2), 0, True)
    )
    case(f"aten.{_name}.dim", lambda: call(holed(), 1), lambda: call(torch.randperm(7), 0))
    case(f"aten.{_name}.dim", lambda: call(f(), 0))
case("aten.mode.default", lambda: call(i(4, 9)), lambda: call(f(5).round(), 0, True))
case("aten.mode.default", lambda: call(m(9)), lambda: call(distinct(3, 4), 0), lambda: call(i()))

# Whole numbers

for _name in ("gcd", "lcm"):
    case(f"aten.{_name}.default", lambda: call(i(9, 1) * 6, i(9) * 4))
    case(f"aten.{_name}.default", lambda: call(i(9).int() * 10, n(9)))
case(
    "aten.gcd.default", lambda: call(torch.tensor([6557470319842, 0]), torch.tensor(10610209857723))
)

# Parts of a dimension

for _reduce in ("sum", "mean", "prod", "max", "min"):
    for _initial in (None, 2.0):
        case(
            "aten.segment_reduce.default",
            lambda r=_reduce, s=_initial: call(
                f(7, 2), r, lengths=torch.tensor([3, 0, 4]), initial=s
            ),
            lambda r=_reduce, s=_initial: call(
                f(2, 6), r, offsets=torch.tensor([[0, 2, 6], [0, 6, 6]]), axis=1, initial=s
            ),
        )
        case(
            "aten._segment_reduce_backward.default",
            lambda r=_reduce, s=_initial: _segment_backward(distinct(7, 2), r, s),
            lambda r=_reduce, s=_initial: _segment_backward(i(7, 2) * 1.0, r, s),
        )


def _segment_backward(x, reduce, initial):
    lengths = torch.tensor([3, 1, 3])
    out = torch.segment_reduce(x, reduce, lengths=lengths, initial=initial)
    return call(f(3, 2), out, x, reduce, lengths=lengths, initial=initial)


# Samples at the places of a grid, and windows at random places

for _mode in (0, 1, 2):
    for _padding in (0, 1, 2):
        for _corners in (False, True):
            _modes = (_mode, _padding, _corners)
            case("aten.grid_sampler_2d.default", lambda o=_modes: call(f(2, 3, 4, 5), _grid(2), *o))
            case(
                "aten.grid_sampler_2d_backward.default",
                lambda o=_modes: call(f(2, 3, 3, 4), f(2, 3, 4, 5), _grid(2), *o, [True, True]),
            )
            if _mode == 2:
                continue
            case(
                "aten.grid_sampler_3d.default",
                lambda o=_modes: call(f(2, 3, 4, 5, 3), _grid(3), *o),
            )
            case(
                "aten.grid_sampler_3d_backward.default",
                lambda o=_modes: call(
                    f(2, 3, 3, 4, 2), f(2, 3, 4, 5, 3), _grid(3), *o, [True, True]
                ),
            )


def _grid(rank):
    """Places in and out of the image, none between two pixels or at the border, also in bfloat16."""
    places = torch.randint(-12, 13, (2, *(3, 4, 2)[:rank], rank))
    return places / 8 + 0.0234375


case("aten.fractional_max_pool2d.default", lambda: call(f(2, 3, 7, 8), [2, 3], [3, 4], p(2, 3, 2)))
case("aten.fractional_max_pool2d.default", lambda: call(f(3, 7, 8), [2, 3], [1, 4], p(1, 3, 2)))
case(
    "aten.fractional_max_pool3d.default",
    lambda: call(f(2, 3, 5, 7, 8), [2, 2, 3], [2, 3, 4], p(2, 3, 3)),
)
case(
    "aten.fractional_max_pool3d.default", lambda: call(f(3, 5, 7, 8), [2] * 3, [2] * 3, p(5, 3, 3))
)
case(
    "aten.fractional_max_pool2d_backward.default",
    lambda: call(f(2, 3, 2, 2), f(2, 3, 5, 6), [2, 2], [2, 2], at(30, 2, 3, 2, 2)),
)
case(
    "aten.fractional_max_pool3d_backward.default",
    lambda: call(f(2, 2, 2, 2), f(2, 3, 5, 6), [2, 2, 2], [2, 2, 2], at(90, 2, 2, 2, 2)),
)

# Masks as indices

for _value in (f(), f(1), f(1, 4)):
    case("aten.index_put.default", lambda v=_value: call(f(3, 4), [m(3)], v))
case("aten.index_put.default", lambda: call(f(3, 4, 2), [None, m(4)], f(3, 1, 2), True))
case("aten.index_put.default", lambda: call(i(3, 4), [m(3, 4)], torch.tensor(7)))
case("aten.index_put.default", lambda: call(f(3, 5), [None, torch.arange(5) % 2 > 0], f(3, 2)))
