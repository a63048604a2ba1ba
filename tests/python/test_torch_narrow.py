"""Models in float16 and bfloat16 through torch.compile: cast as a whole, and under autocast.

Results may miss float64 by little more than eager's own error: `TIMES` of it and a few roundings.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

pytestmark = pytest.mark.usefixtures("fresh_torch")

NARROW = [torch.float16, torch.bfloat16]
TIMES = 3


def compiled(function, fallback="error"):
    return torch.compile(function, backend="coregrad", options={"fallback": fallback})


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.norm = nn.Linear(32, 96), nn.Linear(32, 32), nn.LayerNorm(32)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(y.transpose(1, 2).flatten(2))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(20, 64), nn.GELU(), nn.Linear(64, 8)), (16, 20)),
    "conv": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3, stride=2), nn.Flatten(), nn.Linear(72, 8),
        ),
        (4, 3, 16, 16),
    ),
    "attention": (lambda: nn.Sequential(Attention(), Attention()), (2, 12, 32)),
    "lstm": (lambda: nn.LSTM(10, 12, batch_first=True), (3, 7, 10)),
    "gru": (lambda: nn.GRU(10, 12, batch_first=True), (3, 7, 10)),
    "rnn": (lambda: nn.RNN(10, 12, batch_first=True), (3, 7, 10)),
}  # fmt: skip


def outcome(run, model, x):
    """Output, loss and gradients of one training step, in float64."""
    y = run(x)
    y = y[0] if isinstance(y, tuple) else y
    loss = y.float().square().mean() if y.dtype in NARROW else y.square().mean()
    loss.backward()
    buffers = [b for b in model.buffers() if b.dtype.is_floating_point]
    return [v.detach().double() for v in (y, *(p.grad for p in model.parameters()), *buffers)]


def require_as_exact(got, eager, exact, dtype):
    unit = torch.finfo(dtype).eps
    for number, (g, e, x) in enumerate(zip(got, eager, exact, strict=True)):
        own = (e - x).abs().max()
        allowed = TIMES * own + 2 * unit * x.abs().max()
        assert (g - x).abs().max() <= allowed, f"result {number}: eager misses by {own}"


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_cast_to_a_narrow_dtype_trains_natively(name, dtype):
    make, shape = MODELS[name]
    model, x = make(), torch.randn(shape)
    ours, theirs = copy.deepcopy(model).to(dtype), copy.deepcopy(model).to(dtype)
    exact = copy.deepcopy(ours).double()
    wide = x.to(dtype).double()
    got = outcome(compiled(ours), ours, x.to(dtype))
    eager, exact = outcome(theirs, theirs, x.to(dtype)), outcome(exact, exact, wide)
    require_as_exact(got, eager, exact, dtype)
    assert all(p.grad.dtype == dtype for p in ours.parameters())


#: PyTorch itself has no such kernel ("could not create a primitive descriptor").
WITHOUT_EAGER = ("lstm", torch.float16)


@pytest.mark.parametrize(
    ("name", "dtype"), [(n, d) for n in MODELS for d in NARROW if (n, d) != WITHOUT_EAGER]
)
def test_autocast_trains_natively(name, dtype):
    make, shape = MODELS[name]
    model, x = make(), torch.randn(shape)
    ours, theirs, exact = (copy.deepcopy(model) for _ in range(3))

    def under_autocast(model):
        def run(x):
            with torch.autocast("cpu", dtype=dtype):
                return model(x)

        return run

    got = outcome(compiled(under_autocast(ours)), ours, x)
    try:
        eager = outcome(under_autocast(theirs), theirs, x)
    except RuntimeError:
        # oneDNN has no narrow LSTM for this processor; layers without it are as exact.
        assert name == "lstm"
        theirs = theirs.to(dtype)
        eager = outcome(theirs, theirs, x.to(dtype))
    require_as_exact(got, eager, outcome(exact.double(), exact, x.double()), dtype)
    assert all(p.grad.dtype == torch.float32 for p in ours.parameters())


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", MODELS)
def test_inference_gives_what_eager_gives(name, dtype):
    make, shape = MODELS[name]
    model, x = make().eval(), torch.randn(shape)

    def first(y):
        return y[0] if isinstance(y, tuple) else y

    exact = first(copy.deepcopy(model).to(dtype).double()(x.to(dtype).double()))
    for autocast in (False, True):
        ours = model if autocast else copy.deepcopy(model).to(dtype)
        argument = x if autocast else x.to(dtype)
        with torch.no_grad(), torch.autocast("cpu", dtype=dtype, enabled=autocast):
            got = first(compiled(ours)(argument))
            try:
                eager = first(ours(argument))
            except RuntimeError:  # oneDNN has no narrow LSTM for this processor
                assert name == "lstm"
                eager = exact.to(dtype)
        assert (got.dtype, got.shape) == (eager.dtype, eager.shape)
        require_as_exact([got.double()], [eager.double()], [exact], dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_operators_without_a_lowering_get_narrow_operands_and_results(dtype):
    x = torch.rand(6, 5).to(dtype)

    def function(x):
        return torch.special.airy_ai(x.float()).to(dtype) + torch.mode(x * 2, 1).values[:, None]

    got = compiled(function, fallback="eager")(x)
    torch.testing.assert_close(got, function(x))


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_inputs_are_read_with_their_strides_and_written_in_place(dtype):
    base = torch.randn(8, 12).to(dtype)

    def function(x, y):
        y.mul_(2)
        return (x.t() @ y).sum(0), x + 1

    x, y, z = base[::2, 1::3], base[4:, :5].clone(), base[4:, :5].clone()
    got, expected = compiled(function)(x, y), function(x, z)
    assert torch.equal(y, z)
    for g, e in zip(got, expected):
        torch.testing.assert_close(g, e)


def test_numbers_are_rounded_before_they_are_compared():
    x = torch.tensor([0.1, 0.3]).bfloat16()
    assert compiled(lambda x: (x == 0.1, x <= 0.3, x > 0.1))(x)[0].tolist() == [True, False]
    for g, e in zip(compiled(lambda x: (x < 0.1, x >= 0.3))(x), (x < 0.1, x >= 0.3)):
        assert torch.equal(g, e)


def test_a_mean_of_many_float16_numbers_does_not_overflow():
    x = torch.full((300, 400), 60.0, dtype=torch.float16)
    assert compiled(lambda x: x.mean())(x).item() == 60
    assert compiled(lambda x: x.sum())(x).item() == float("inf")


PRODUCTS = {
    "linear": (lambda x, w, b: F.linear(x, w, b), ((50, 70), (90, 70), (90,))),
    "gelu of a linear": (lambda x, w, b: F.gelu(F.linear(x, w, b)), ((3, 33, 65), (257, 65), (257,))),
    "transposed": (lambda x, w: x.T @ w.T, ((129, 40), (70, 129))),
    "batch": (lambda x, y: x @ y.mT, ((2, 3, 65, 40), (2, 3, 50, 40))),
    "batch of one matrix": (lambda x, y: x @ y, ((3, 40, 64), (64, 48))),
    "heads": (
        lambda q, k: torch.einsum("bthd,bshd->bhts", q, k), ((2, 40, 4, 16), (2, 37, 4, 16)),
    ),
    "convolution": (lambda x, w: F.conv2d(x, w, stride=2, padding=1), ((2, 20, 19, 18), (33, 20, 3, 3))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_and_their_gradients_are_as_exact_as_eager_s(name, dtype):
    """Large enough for tile registers, where the machine has them."""
    function, shapes = PRODUCTS[name]
    operands = [torch.randn(shape).to(dtype) for shape in shapes]

    def results(run, of):
        leaves = [t.clone().requires_grad_() for t in of]
        y = run(*leaves)
        y.backward(torch.linspace(-1, 1, y.numel()).to(dtype).to(y.dtype).reshape(y.shape))
        return [v.detach().double() for v in (y, *(leaf.grad for leaf in leaves))]

    got, eager = results(compiled(function), operands), results(function, operands)
    exact = results(function, [t.double() for t in operands])
    require_as_exact(got, eager, exact, dtype)


@pytest.mark.parametrize("dtype", NARROW)
def test_choices_between_scalars_that_are_minima(dtype):
    """LLVM makes them calls of fminf and fmaxf."""

    def limited(x):
        low = x < 0.5
        least = torch.where(low, x, 0.5)
        high = x > 0.25
        most = torch.where(high, x, 0.25)
        return torch.where(low, least, x + least), torch.where(high, most, x - most)

    for value in (0.3, 0.75, -1.0):
        x = torch.tensor(value).to(dtype)
        assert [v.item() for v in compiled(limited)(x)] == [v.item() for v in limited(x)]
