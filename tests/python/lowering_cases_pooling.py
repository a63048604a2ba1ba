"""Cases of pooling in 3-d, adaptive pooling and replicated padding (see lowering_cases.py)."""

import torch
from lowering_cases import at, call, case, f


def odd(*shape):
    """Ties, NaN and -inf."""
    x = torch.randint(0, 3, shape).float()
    return x.masked_fill(x == 0, -float("inf")).masked_fill(torch.rand(shape) < 0.1, float("nan"))


case(
    "aten.max_pool3d_with_indices.default",
    lambda: call(f(2, 3, 5, 6, 7), [2], [2]),
    lambda: call(f(2, 3, 7, 6, 5).transpose(2, 4), [3, 2, 3], [2], [1], [1], True),
    lambda: call(odd(3, 5, 6, 7), [2, 3, 2], [1, 2, 2], [1, 1, 0], [1, 1, 2]),
    lambda: call(torch.full((1, 4, 5, 5), -float("inf")), [3], [1], [1], [2]),
)
case(
    "aten.max_pool3d_with_indices_backward.default",
    lambda: call(
        *(f(2, 3, 2, 2, 2), f(2, 3, 4, 4, 4), [2], [2], [0], [1], False),
        at(64, 2, 3, 2, 2, 2),
    ),
)
for _include, _divisor in ((True, None), (False, None), (True, 5)):
    case(
        "aten.avg_pool3d.default",
        lambda i=_include, d=_divisor: call(f(2, 3, 5, 6, 7), [3, 2, 3], [2], [1], True, i, d),
        lambda i=_include, d=_divisor: call(
            f(3, 7, 6, 5).transpose(1, 3), [2], [], [0], False, i, d
        ),
    )
    case(
        "aten.avg_pool3d_backward.default",
        lambda i=_include, d=_divisor: call(
            f(2, 3, 3, 4, 4), f(2, 3, 5, 6, 7), [3, 2, 3], [2], [1], False, i, d
        ),
    )
case("aten._adaptive_avg_pool3d.default", lambda: call(f(2, 3, 5, 6, 7), [3, 4, 1]))
case("aten._adaptive_avg_pool3d.default", lambda: call(f(3, 7, 6, 5).transpose(1, 3), [2, 8, 3]))
case("aten._adaptive_avg_pool3d_backward.default", lambda: call(f(2, 3, 3, 4, 2), f(2, 3, 5, 6, 7)))
# An infinite element belongs to the windows that cover it, and to no other.
for _size in ([3, 5], [2, 4], [1, 1], [7, 3]):
    case("aten._adaptive_avg_pool2d.default", lambda s=_size: call(odd(2, 6, 8), s))
    case(
        "aten._adaptive_avg_pool2d_backward.default",
        lambda s=_size: call(odd(2, *s), f(2, 6, 8)),
    )
case("aten._adaptive_avg_pool3d.default", lambda: call(odd(2, 3, 5, 6, 8), [2, 6, 4]))
case("aten._adaptive_avg_pool3d.default", lambda: call(f(2, 3, 4, 6, 8), [2, 6, 4]))
case("aten._adaptive_avg_pool3d_backward.default", lambda: call(f(2, 3, 2, 3, 4), f(2, 3, 4, 6, 8)))
case("aten._adaptive_avg_pool2d.default", lambda: call(f(0, 3, 6, 8), [3, 5]))
for _make in (f, odd):
    case("aten.adaptive_max_pool2d.default", lambda m=_make: call(m(2, 3, 7, 8), [3, 5]))
    case("aten.adaptive_max_pool2d.default", lambda m=_make: call(m(3, 8, 7).mT, [9, 1]))
    case("aten.adaptive_max_pool3d.default", lambda m=_make: call(m(2, 3, 5, 6, 7), [3, 4, 2]))
for _rank, _places, _shape in ((2, (2, 3), (5, 6)), (3, (2, 3, 2), (4, 5, 6))):
    case(
        f"aten.adaptive_max_pool{_rank}d_backward.default",
        lambda p=_places, s=_shape: call(f(2, 3, *p), f(2, 3, *s), at(30, 2, 3, *p)),
    )
case("aten.replication_pad1d_backward.default", lambda: call(f(2, 3, 8), f(2, 3, 5), [1, 2]))
case("aten.replication_pad1d_backward.default", lambda: call(f(3, 5), f(3, 5), [-1, 1]))
case(
    "aten.replication_pad2d_backward.default",
    lambda: call(f(2, 3, 7, 5), f(2, 3, 4, 5), [1, -1, 0, 3]),
)
case(
    "aten.replication_pad3d_backward.default",
    lambda: call(f(2, 3, 6, 7, 5), f(2, 3, 3, 4, 5), [0, 0, 1, 2, 3, 0]),
)

for _name in ("_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"):
    for _size in ([3, 4], [9, 11], [5, 7]):
        for _corners in (False, True):
            case(
                f"aten.{_name}.default",
                lambda s=_size, c=_corners: call(f(2, 3, 7, 8), s, c, None, None),
            )
            case(
                f"aten.{_name}_backward.default",
                lambda s=_size, c=_corners: call(f(2, 3, *s), s, [2, 3, 7, 8], c, None, None),
            )
case("aten._upsample_bilinear2d_aa.default", lambda: call(f(2, 3, 7, 8), [3, 5], False, 0.5, 0.7))
