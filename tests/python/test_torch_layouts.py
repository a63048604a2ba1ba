"""Results have the strides that eager PyTorch gives them, also where its tracing says otherwise."""

import functools

import pytest
import torch
import torch.nn.functional as F

import coregrad.torch  # noqa: F401


def reversed_order(x):
    """Equal elements whose first dimension lies innermost."""
    dims = list(range(x.ndim))[::-1]
    return x.permute(dims).contiguous().permute(dims)


def channels_last(x):
    return x.contiguous(
        memory_format={4: torch.channels_last, 5: torch.channels_last_3d}.get(
            x.ndim, torch.contiguous_format
        )
    )


def same(x):
    return x


LAYOUTS = {
    "reversed": (reversed_order, reversed_order),
    "first reversed": (reversed_order, same),
    "second reversed": (same, reversed_order),
    "channels last": (channels_last, channels_last),
    "first channels last": (channels_last, same),
}

BINARY = {
    "copysign": torch.copysign,
    "floor_divide": torch.floor_divide,
    "div floor": functools.partial(torch.div, rounding_mode="floor"),
    "heaviside": torch.heaviside,
    "ldexp": torch.ldexp,
    "logaddexp": torch.logaddexp,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "xlogy": torch.xlogy,
    "xlog1py": torch.special.xlog1py,
    "pow of a number": lambda _, y: torch.pow(2.0, y),
    "float_power": torch.float_power,
    "nextafter": torch.nextafter,
    "remainder": torch.remainder,
}
SAME_SHAPE = {
    "binary_cross_entropy": functools.partial(F.binary_cross_entropy, reduction="none"),
    "dropout backward": lambda g, m: torch.ops.aten.native_dropout_backward(g, m > 0.5, 2.0),
    "batch_norm": lambda x, _: F.batch_norm(x, None, None, training=True),
    "batch_norm of statistics": lambda x, y: F.batch_norm(
        x, y.flatten()[: x.shape[1]], y.flatten()[: x.shape[1]]
    ),
    "logsigmoid": lambda x, _: F.logsigmoid(x),
    "roll": lambda x, _: torch.roll(x, 1, 0),
    "roll by nothing": lambda x, _: torch.roll(x, 0, 0),
    "roll of dimensions": lambda x, _: torch.roll(x, (1, 2), (0, 2)),
    "roll of all": lambda x, _: torch.roll(x, 3),
    "fftshift": lambda x, _: torch.fft.fftshift(x),
    "channel_shuffle": lambda x, _: F.channel_shuffle(x, 2),
    "max_unpool2d": lambda x, y: F.max_unpool2d(x, (reversed_order(y) * 0).long(), 2),
}


def check(function, *operands):
    torch._dynamo.reset()
    expected = function(*operands)
    got = torch.compile(function, backend="coregrad")(*operands)
    torch.testing.assert_close(got, expected)
    significant = [d for d, n in enumerate(expected.shape) if n > 1]
    assert [got.stride(d) for d in significant] == [expected.stride(d) for d in significant]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", BINARY)
def test_binary_results_are_laid_out_as_their_operands(name, layout):
    first, second = LAYOUTS[layout]
    for shape, other in [((2, 3, 4, 5), (2, 3, 4, 5)), ((4, 3, 5), (3, 5)), ((3, 5), (4, 3, 1))]:
        check(BINARY[name], first(torch.rand(shape)), second(torch.rand(other)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SAME_SHAPE)
def test_results_are_laid_out_as_the_kernels_do(name, layout):
    first, second = LAYOUTS[layout]
    x, y = torch.rand(2, 4, 6, 5), torch.rand(2, 4, 6, 5)
    check(SAME_SHAPE[name], first(x), second(y))


@pytest.mark.parametrize("dynamic", [False, True])
def test_what_reads_memory_by_strides_reads_the_memory_that_eager_has(dynamic):
    def rolled(x):
        return torch.roll(x, 1, 0).as_strided((6, 7), (5, 1), 2)

    def divided(x):
        return torch.floor_divide(x.mT, 3).as_strided((4,), (2,)) * 1

    for function in (rolled, divided):
        torch._dynamo.reset()
        compiled = torch.compile(function, backend="coregrad", dynamic=dynamic)
        for rows in (2, 5):
            x = channels_last(torch.arange(48.0 * rows).reshape(rows, 4, 3, 4))
            expected, got = function(x), compiled(x)
            assert torch.equal(got, expected)
            assert got.stride() == expected.stride()


def test_elements_that_share_a_place_keep_it():
    def function(x):
        return (x * 2).expand(1000, 3), (x + 1).as_strided((2, 2), (1, 1))

    wide, overlapping = torch.compile(function, backend="coregrad")(torch.arange(3.0))
    assert wide.stride() == (0, 1)
    assert wide.untyped_storage().nbytes() < 100
    assert torch.equal(wide, (torch.arange(3.0) * 2).expand(1000, 3))
    assert overlapping.stride() == (1, 1)
    assert overlapping.tolist() == [[1, 2], [2, 3]]
