"""Lazy tensors of float16 and bfloat16: exchange, promotion, and one rounding an operation."""

import numpy as np
import pytest
import torch

import coregrad as cg

NARROW = [cg.float16, cg.bfloat16]
TORCH = {cg.float16: torch.float16, cg.bfloat16: torch.bfloat16}


def torch_of(tensor):
    """The same bits in PyTorch."""
    bits = torch.from_numpy(tensor.bits().astype(np.int16))
    return bits.view(TORCH[tensor.dtype])


def sample(dtype, *shape):
    torch.manual_seed(0)
    x = torch.randn(shape).to(TORCH[dtype])
    return cg.from_dlpack(x), x


@pytest.mark.parametrize("dtype", NARROW)
def test_narrow_tensors_go_to_torch_and_come_back(dtype):
    t, x = sample(dtype, 3, 5)
    assert t.dtype == dtype
    assert torch.equal(torch_of(t), x)
    back = torch.from_dlpack(t + 0)
    assert back.dtype == x.dtype
    assert torch.equal(back, x)
    assert torch.equal(torch.tensor(t.tolist()), x.float())
    assert np.array_equal(np.asarray(t).astype(np.float32), x.float().numpy())
    transposed = cg.from_dlpack(x.t())
    assert torch.equal(torch_of(transposed + 0), x.t())


def test_bits_are_the_memory_of_narrow_tensors():
    bits = np.array([0x3F80, 0xC000, 0x7F80], np.uint16)
    t = cg.from_bits(bits, cg.bfloat16)
    assert t.tolist() == [1.0, -2.0, float("inf")]
    assert np.array_equal((t + 0).bits(), bits)
    half = np.array([1.5, -2.25], np.float16)
    assert cg.tensor(half).dtype == cg.float16
    assert np.array_equal(cg.tensor(half).numpy(), half)
    assert "bfloat16" in repr(t)
    assert float(t[0]) == 1.0
    with pytest.raises(cg.DTypeError, match="NumPy has no bfloat16"):
        t.numpy()
    with pytest.raises(cg.DTypeError, match="bits"):
        cg.tensor([1.0]).bits()
    with pytest.raises(cg.DTypeError, match="from_bits"):
        cg.from_bits(bits, cg.float32)


@pytest.mark.parametrize("dtype", NARROW)
def test_results_have_the_dtype_that_pytorch_promotes_to(dtype):
    t, _ = sample(dtype, 4)
    other = cg.bfloat16 if dtype == cg.float16 else cg.float16
    assert (t * 2).dtype == (t * 0.1).dtype == (t / 3).dtype == dtype
    assert (t + cg.arange(0, 4)).dtype == dtype
    assert (t + cg.tensor(1.0)).dtype == dtype  # without dimensions
    assert (t + cg.ones([4])).dtype == cg.float32
    assert (t + cg.ones([4], other)).dtype == cg.float32
    assert (t + cg.ones([4], cg.float64)).dtype == cg.float64
    assert t.softmax(0).dtype == t.sum().dtype == dtype
    assert (t < 0.5).dtype == cg.bool_
    assert t.cast(cg.float32).dtype == cg.float32


@pytest.mark.parametrize("dtype", NARROW)
def test_numbers_are_rounded_to_be_compared_and_exact_to_compute_with(dtype):
    x = torch.tensor([0.1, 0.3]).to(TORCH[dtype])
    t = cg.from_dlpack(x)
    assert (t == 0.1).tolist() == (x == 0.1).tolist() == [True, False]
    assert (t <= 0.1).tolist() == (x <= 0.1).tolist()
    many, values = sample(dtype, 1000)
    exact = (values.double() * 0.1).to(TORCH[dtype])
    assert torch.equal(torch_of(many * 0.1), exact)


ONCE = {
    "gelu": (cg.gelu, torch.nn.functional.gelu),
    "silu": (cg.silu, torch.nn.functional.silu),
    "softplus": (cg.softplus, torch.nn.functional.softplus),
    "softmax": (lambda x: x.softmax(1), lambda x: x.softmax(1)),
    "log_softmax": (lambda x: x.log_softmax(1), lambda x: x.log_softmax(1)),
    "mean": (lambda x: x.mean(1), lambda x: x.mean(1)),
    "logaddexp": (lambda x: cg.logaddexp(x, x), lambda x: torch.logaddexp(x, x)),
    "matmul": (lambda x: cg.matmul(x, x.T), lambda x: x @ x.T),
    "linear": (
        lambda x: cg.linear(x, x, x[:, 0]),
        lambda x: torch.nn.functional.linear(x, x, x[:, 0]),
    ),
}


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("name", ONCE)
def test_an_operation_of_many_steps_rounds_once(name, dtype):
    ours, theirs = ONCE[name]
    t, x = sample(dtype, 60, 50)
    got, exact = torch_of(ours(t)), theirs(x.double())
    assert got.dtype == x.dtype
    # Half a unit in the last place, and what float32 adds.
    unit = 2.0 ** (-11 if dtype == cg.float16 else -8)
    limit = exact.abs() * unit * 1.01 + (2e-5 if name in ("matmul", "linear") else 1e-6)
    assert ((got.double() - exact).abs() <= limit).all()


def test_the_mean_of_many_numbers_does_not_overflow():
    assert cg.full([100000], 60.0, cg.float16).mean().item() == 60.0
    assert cg.full([300, 300], 60.0, cg.float16).var([0, 1]).item() == 0.0


@pytest.mark.parametrize("dtype", NARROW)
def test_gradients_have_the_dtype_of_what_they_belong_to(dtype):
    t, x = sample(dtype, 8, 6)
    w, v = sample(dtype, 6, 4)

    def loss(a, b):
        return cg.gelu(cg.matmul(a, b)).cast(cg.float32).square().mean()

    _, (da, dw) = cg.value_and_grad(loss, [0, 1])(t, w)
    a, b = x.double().requires_grad_(), v.double().requires_grad_()
    torch.nn.functional.gelu(a @ b).square().mean().backward()
    assert da.dtype == dw.dtype == dtype
    for got, exact in ((da, a.grad), (dw, b.grad)):
        assert (torch_of(got).double() - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize("dtype", NARROW)
def test_random_numbers_are_below_one_and_normal(dtype):
    cg.manual_seed(3)
    u = torch_of(cg.rand([100000], dtype)).double()
    assert 0 <= u.min() <= u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    n = torch_of(cg.randn([100000], dtype)).double()
    assert abs(n.mean()) < 0.02
    assert abs(n.std() - 1) < 0.02


@pytest.mark.parametrize(
    "make", [lambda p: cg.optim.SGD(p, lr=0.05, momentum=0.9), lambda p: cg.optim.Adam(p, lr=0.05)]
)
@pytest.mark.parametrize("dtype", NARROW)
def test_optimizers_train_narrow_parameters(dtype, make):
    torch.manual_seed(1)
    x = torch.randn(64, 8)
    y = x @ torch.randn(8, 1)
    data, target = (cg.from_dlpack(v.to(TORCH[dtype])) for v in (x, y))
    w = cg.zeros([8, 1], dtype).realize()
    w.requires_grad = True
    optimizer = make([w])
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (cg.matmul(data, w) - target).square().mean().realize()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert w.dtype == dtype
    assert losses[-1] < 1e-3 * losses[0]


@pytest.mark.parametrize("dtype", NARROW)
def test_views_and_indexing_move_narrow_elements(dtype):
    t, x = sample(dtype, 6, 5)
    index = torch.tensor([3, 0, 3])
    pairs = [
        (t.T, x.T),
        (t[1:5:2, 2:], x[1:5:2, 2:]),
        (t.reshape([5, 6]), x.reshape(5, 6)),
        (cg.concat([t, t], 1), torch.cat([x, x], 1)),
        (cg.stack([t, t]), torch.stack([x, x])),
        (t.index_select(0, cg.from_dlpack(index)), x.index_select(0, index)),
        (cg.where(t > 0, t, 0.1), torch.where(x > 0, x, 0.1)),
        (cg.eye(3, 3, dtype=dtype), torch.eye(3, dtype=TORCH[dtype])),
        (
            cg.linspace(0, 1, 7, dtype),
            torch.linspace(0, 1, 7, dtype=torch.float64).to(TORCH[dtype]),
        ),
    ]
    for got, expected in pairs:
        assert torch.equal(torch_of(got + 0), expected)
