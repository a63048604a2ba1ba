"""int8, uint8 and int16 in graphs and as their results: int32 inside, wrapped where it counts."""

import pytest
import torch

import coregrad.torch

SMALL = (torch.uint8, torch.int8, torch.int16)
NATIVE = {"fallback": "error"}


def compiled(function):
    return torch.compile(function, backend="coregrad", options=NATIVE, dynamic=False)


def integers(dtype, *shape):
    info = torch.iinfo(dtype)
    return torch.randint(info.min, info.max + 1, shape, dtype=dtype)


def check(function, *args):
    got, want = compiled(function)(*args), function(*args)
    for g, w in zip(got, want, strict=True):
        assert (g.dtype, g.shape, g.stride()) == (w.dtype, w.shape, w.stride())
        torch.testing.assert_close(g, w)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", SMALL)
def test_small_integers_wrap_as_in_pytorch(dtype):
    def arithmetic(x, y):
        return (
            *(x + y, x - y, x * y, -x, x + 100, x * 7, ~x, x & y, x ^ 5, x.abs()),
            *(x.sum(dtype=dtype), (x.int() * 3).to(dtype), x.remainder(7), torch.cat([x, y + 1])),
        )

    check(arithmetic, integers(dtype, 5, 4), integers(dtype, 5, 4))


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", SMALL)
def test_small_integers_become_other_numbers_and_come_back(dtype):
    def casts(x):
        return (
            x.float() / 255,
            x.long(),
            x > 3,
            x.double().sum(),
            x.t(),
            (x.float() * 0.5).to(dtype),
        )

    for x in (integers(dtype, 5, 4), integers(dtype, 4, 5).t(), integers(dtype, 9, 4)[::2]):
        got, want = compiled(casts)(x), casts(x)
        for g, w in zip(got, want, strict=True):
            assert g.dtype == w.dtype
            torch.testing.assert_close(g, w)


@pytest.mark.usefixtures("fresh_torch")
def test_an_image_of_bytes_trains_a_network():
    image, target = integers(torch.uint8, 2, 3, 8, 8), torch.tensor([1, 0])
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))

    def loss(image):
        return torch.nn.functional.cross_entropy(net(image.float() / 255 - 0.5), target)

    expected = torch.autograd.grad(loss(image), list(net.parameters()))
    got = torch.autograd.grad(compiled(loss)(image), list(net.parameters()))
    torch.testing.assert_close(got, expected)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: x == 300,
        lambda x: x.pow(2),
        lambda x: x.float().index_fill(1, x[0, :1].long() % 3, 7).byte().pow(2),
    ],
)
def test_what_has_no_row_for_small_integers_is_right_and_has_a_reason(function):
    x = integers(torch.uint8, 5, 4)
    got = torch.compile(function, backend="coregrad")(x)
    assert torch.equal(got, function(x))
    (graph,) = coregrad.torch.report().graphs
    assert graph.rejected is None
    (reasons,) = graph.fallbacks.values()
    assert "torch.uint8" in reasons[0]


@pytest.mark.usefixtures("fresh_torch")
def test_a_small_integer_input_that_is_written_to_is_written_to():
    x = integers(torch.uint8, 5, 4)
    twin = x.clone()

    def step(x):
        x.add_(200)
        return x.float() * 2

    torch.testing.assert_close(torch.compile(step, backend="coregrad")(x), step(twin))
    assert torch.equal(x, twin)
