"""Small integers in graphs and as their results: stored and moved as they are, computed in a wider
integer and wrapped once.
"""

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
@pytest.mark.parametrize("function", [lambda x: x == 300, lambda x: x.clamp(-1, 300)])
def test_numbers_that_small_integers_cannot_hold_are_pytorchs_business(function):
    x = integers(torch.uint8, 5, 4)
    try:
        expected = function(x)
    except RuntimeError as error:
        with pytest.raises(RuntimeError, match=str(error)[:20]):
            torch.compile(function, backend="coregrad")(x)
        return
    assert torch.equal(torch.compile(function, backend="coregrad")(x), expected)
    (graph,) = coregrad.torch.report().graphs
    assert graph.rejected is None
    (reasons,) = graph.fallbacks.values()
    assert "cannot hold" in reasons[0]


#: Results that are computed in another way than by arithmetic that wraps anyway.
COMPUTED = {
    "quotients": lambda x, y: (x // 7, x % 7, x.fmod(7), torch.div(x, 7, rounding_mode="trunc")),
    "quotients of tensors": lambda x, y: (x // (y | 1), x % (y | 1), x / (y | 1)),
    "powers": lambda x, y: (x.pow(2), x.pow(3), x.square()),
    "shifts": lambda x, y: (x << 3, x >> 2, x << (y & 7), x >> (y & 15)),
    "extremes": lambda x, y: (
        *(torch.maximum(x, y), x.amin(0), x.argmax(1), x.clamp(3, 90), x.clamp_min(5)),
        *(x.max(1).indices, x.min(0).values, x.relu(), *x.aminmax()),
    ),
    "orders": lambda x, y: (*x.sort(1), *x.topk(2), x.argsort(dim=0, stable=True)),
    "sums": lambda x, y: (x.sum(1), x.prod(0), x.cumsum(1), x.cumprod(0), x.sum(dtype=x.dtype)),
    "products": lambda x, y: (x.float() @ y.t().float(), torch.outer(x[0], y[0]), x * y + x),
    "choices": lambda x, y: (
        *(
            torch.where(x > y, x, y),
            x.masked_fill(y > 3, 9),
            x[:, [2, 0]],
            x.gather(1, (y & 1).long()),
        ),
        *(
            x.scatter(1, (y & 1).long(), y),
            x.scatter_add(1, (y & 1).long(), y),
            x.tril(),
            x.roll(1),
        ),
        *(
            torch.nn.functional.pad(x, (1, 2), value=4),
            x.flip(0),
            x.repeat(2, 1),
            torch.stack([x, y]),
        ),
    ),
    "comparisons": lambda x, y: (x == y, x < y, x >= 5, x != 3, x.logical_and(y), x.bool()),
    "made": lambda x, y: (
        *(
            torch.full_like(x, 7),
            torch.arange(9, dtype=x.dtype),
            torch.zeros_like(x),
            x.new_ones(3),
        ),
        torch.eye(3, dtype=x.dtype),
    ),
    "bits": lambda x, y: (x & y, x | 3, x ^ y, ~x),
    "others": lambda x, y: (
        *(x.gcd(y), x.sign(), x.abs(), x.neg(), torch.addcmul(x, x, y, value=2), x.diff()),
        *(torch.add(x, y, alpha=3), x.count_nonzero(), x.any(), x.all(1), x.float().mean()),
    ),
}


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", SMALL)
@pytest.mark.parametrize("name", COMPUTED)
def test_operators_of_small_integers_are_native_and_right(dtype, name):
    x, y = integers(dtype, 6, 4), integers(dtype, 6, 4)
    check(COMPUTED[name], x, y)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_images_of_bytes_are_resized_as_pytorch_does(mode):
    def resize(image):
        return torch.nn.functional.interpolate(image, (7, 5), mode=mode, antialias=True)

    image = integers(torch.uint8, 2, 3, 11, 9)
    assert torch.equal(torch.compile(resize, backend="coregrad")(image), resize(image))


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint32])
def test_what_pytorch_does_with_larger_unsigned_integers_is_native(dtype):
    def moves(x, y):
        return (
            *(
                x.t(),
                torch.cat([x, y]),
                x.float(),
                x.long() + 1,
                x == y,
                x.view(-1)[3:9],
                x.clone(),
            ),
            *(
                torch.stack([x, y]),
                x[1:, ::2],
                x.expand(2, 6, 4).contiguous(),
                x.bool(),
                x.double(),
            ),
        )

    check(moves, integers(dtype, 6, 4), integers(dtype, 6, 4))


@pytest.mark.usefixtures("fresh_torch")
def test_a_small_integer_input_that_is_written_to_is_written_to():
    x = integers(torch.uint8, 5, 4)
    twin = x.clone()

    def step(x):
        x.add_(200)
        return x.float() * 2

    torch.testing.assert_close(torch.compile(step, backend="coregrad")(x), step(twin))
    assert torch.equal(x, twin)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", [*SMALL, torch.bool, torch.int32])
@pytest.mark.parametrize("rows", [1, 8, 70])
def test_a_product_reads_weights_that_are_cast_as_they_are(dtype, rows):
    def linear(x, w, scale):
        return x @ w.t().to(x.dtype) * scale

    whole = torch.randint(0, 2, (48, 130)).bool() if dtype is torch.bool else None
    if whole is None:
        whole = torch.randint(0 if dtype is torch.uint8 else -100, 100, (48, 130), dtype=dtype)
    x, scale = torch.randn(rows, 65), torch.rand(24)
    for w in (whole[:24, :65].contiguous(), whole[::2, ::2], whole[:24, 1:66]):
        got, want = compiled(linear)(x, w, scale), linear(x, w, scale)
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-3)
        assert coregrad.torch.report().graphs[-1].plan["steps"] == 1


@pytest.mark.usefixtures("fresh_torch")
def test_casts_in_front_of_products_round_as_eager_does():
    def products(x, image, kernel, large):
        return (
            x.double() @ x.double().t(),
            torch.nn.functional.conv2d(image.float(), kernel.float(), padding=1, stride=2),
            large.float().double() @ x.double().t(),
            large.float() @ x.t(),
            (x > 0).float() @ x.t(),
        )

    args = (torch.randn(5, 9), integers(torch.uint8, 2, 3, 11, 7), integers(torch.int8, 4, 3, 3, 3))
    args = (*args, torch.randint(-(2**31), 2**31, (4, 9)).int())
    for got, want in zip(compiled(products)(*args), products(*args), strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5 * float(want.abs().max()))


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", SMALL)
def test_small_integers_in_memory_of_any_strides_are_read_moved_and_written(dtype):
    def moves(x, y, table, index):
        y.copy_(x.flip(0) + 1)
        return (
            *(x.t(), x + y, torch.cat([x, y], 1), table.index_select(0, index), x.amax(), x.sum()),
            *(x.view(-1)[3:9], x.argmax(), x.sort(1).values, x.clone(), table.float()[index] * 2),
        )

    x, table, index = integers(dtype, 6, 5), integers(dtype, 9, 4), torch.tensor([3, 0, 8])
    wide = integers(dtype, 6, 10)
    ours, theirs = wide.clone(), wide.clone()
    got, want = (
        f(x, y[:, ::2], table, index) for f, y in ((compiled(moves), ours), (moves, theirs))
    )
    for g, w in zip(got, want, strict=True):
        assert (g.dtype, g.shape) == (w.dtype, w.shape)
        torch.testing.assert_close(g, w)
    assert torch.equal(ours, theirs)
