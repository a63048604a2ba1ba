"""What CoreGrad has no row for costs one step in PyTorch, never the whole graph."""

import pytest
import torch

import coregrad.torch

pytestmark = pytest.mark.usefixtures("fresh_torch")

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)


def compiled(function, **kwargs):
    return torch.compile(function, backend="coregrad", **kwargs)


def fallbacks():
    """How often each operator ran in PyTorch; fails if a whole graph did."""
    for graph in coregrad.torch.report().graphs:
        assert graph.rejected is None, graph.to_text()
    return coregrad.torch.report().to_dict()["fallbacks"]


def assert_same(got, want):
    got = got if isinstance(got, (tuple, list)) else (got,)
    want = want if isinstance(want, (tuple, list)) else (want,)
    for g, w in zip(got, want, strict=True):
        assert (g.dtype, g.layout, g.shape) == (w.dtype, w.layout, w.shape)
        if w.layout != torch.strided:
            g, w = g.to_dense(), w.to_dense()
        assert g.stride() == w.stride()
        if w.dtype in FLOAT8:
            g, w = g.float(), w.float()
        elif w.dtype in UNSIGNED:
            g, w = g.long(), w.long()
        torch.testing.assert_close(g, w, equal_nan=True)


def check(function, *args, **options):
    """The compiled function against eager, twice; what ran in PyTorch."""
    call = compiled(function, **options)
    for _ in range(2):
        assert_same(call(*args), function(*args))
    return fallbacks()


@pytest.mark.parametrize("dtype", [*FLOAT8, torch.uint64])
def test_a_dtype_that_programs_do_not_have_passes_through_them(dtype):
    def f(x, y):
        z = (x * 8 + 8).to(dtype)
        return torch.sin(x) + z.float(), z.reshape(-1)[3:], y.t().contiguous(), y.to(x.dtype) * x

    x, y = torch.rand(4, 4), (torch.rand(4, 4) * 9).to(dtype)
    found = check(f, x, y)
    assert found["aten._to_copy.default"] == 3
    assert sum(g.num_native for g in coregrad.torch.report().graphs) >= 4


def test_an_operator_without_a_row_for_a_dtype_is_one_step():
    def f(x, y):
        z = torch.sigmoid(y * 2)
        w = (torch.pow(x * 2, 3) + 1).sum(0)
        return z, w, x * 3, w.real * z[0]

    x = torch.arange(12).reshape(3, 4).to(torch.complex64)
    found = check(f, x, torch.randn(3, 4))
    assert list(found) == ["aten.pow.Tensor_Scalar"]


def test_results_of_steps_reach_other_steps_as_they_are():
    def f(x):
        values, vectors = torch.linalg.eig(x)
        again = vectors @ torch.diag(values) @ torch.linalg.inv(vectors)
        return again.real * 2, values.abs().sort()[0]

    x = torch.randn(5, 5, dtype=torch.float64)
    assert "aten._linalg_eig.default" in check(f, x) or "aten.linalg_eig.default" in fallbacks()


def test_gradients_flow_through_steps_of_complex_values():
    def f(x):
        z = torch.fft.fft(x[:, :7]) / (torch.complex(x[:, :7], x[:, 7:]) + 3)
        return (z.abs() * torch.sigmoid(x[:, :7])).sum()

    x = torch.randn(3, 14, dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad(f(x), x)
    (got,) = torch.autograd.grad(compiled(f)(x), x)
    torch.testing.assert_close(got, want)
    assert fallbacks()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.complex64, *FLOAT8, *UNSIGNED])
def test_inputs_of_every_dtype_are_written_to(dtype):
    def f(x, y):
        old = x.clone()
        x.copy_((y * 2).to(dtype))
        return old.reshape(-1), torch.exp(y)

    y = torch.rand(4, 3)
    x, twin = (torch.zeros(3, 4, dtype=dtype).t() for _ in range(2))
    version = x._version
    assert_same(compiled(f)(x, y), f(twin, y))
    assert_same(x, twin)
    assert x._version > version
    fallbacks()


def test_inputs_that_trade_values_get_each_other_s():
    def f(x, y):
        z = x.clone()
        x.copy_(y)
        y.copy_(z)
        return x.float() + 1

    x, y = (torch.rand(5).to(torch.float8_e5m2) for _ in range(2))
    twins = x.clone(), y.clone()
    assert_same(compiled(f)(x, y), f(*twins))
    assert_same((x, y), twins)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.complex64, torch.float8_e5m2])
def test_results_that_share_memory_do_so_in_every_dtype(dtype):
    def f(x):
        y = (x + 1).to(dtype)
        return y, y.view(-1)[2:], y[1:2]

    call = compiled(f)
    got, want = call(torch.rand(3, 4)), f(torch.rand(3, 4))
    assert [g.stride() for g in got] == [w.stride() for w in want]
    assert [g.storage_offset() for g in got] == [w.storage_offset() for w in want]
    assert len({g.untyped_storage().data_ptr() for g in got}) == 1
    fallbacks()


def test_results_outlive_the_memory_that_a_program_uses_again():
    def f(x):
        bits = (x * 3).view(torch.uint32)
        return bits, torch.softmax(x, 0) @ x, bits.view(torch.int32) + 1

    x = torch.randn(16, 16)
    call = compiled(f)
    first = call(x)
    kept = first[0].clone()
    for _ in range(3):
        call(x + 1)
    assert_same(first[0], kept)
    assert_same(call(x), f(x))


def test_sparse_tensors_stay_with_pytorch_and_the_rest_does_not():
    def f(s, x):
        return torch.sigmoid(torch.sparse.mm(s, x * 2) + 1)

    s = torch.eye(4).to_sparse()
    check(f, s, torch.randn(4, 3))


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation:UserWarning")
def test_quantised_tensors_which_tracing_takes_for_floats_stay_with_pytorch():
    def quantised(x):
        return torch.quantize_per_tensor(x * 2, 0.1, 3, torch.quint8).relu().reshape(8, 4)

    def f(x):
        return quantised(x).dequantize() + x.sin().reshape(8, 4)

    x = torch.randn(4, 8)
    check(f, x)
    assert_same(compiled(quantised)(x).int_repr(), quantised(x).int_repr())
    assert fallbacks()["aten.quantize_per_tensor.default"] == 2
    assert coregrad.torch.report().graphs[0].num_native == 4


def test_higher_order_operators_are_steps():
    def f(x, y):
        z = torch.cond(x.sum() > 0, lambda a, b: a.sin() @ b, lambda a, b: a.cos() @ b, (x, y))
        return torch.tanh(z) * 2

    x, y = torch.randn(4, 4), torch.randn(4, 4)
    call = compiled(f)
    for sign in (1, -1):
        torch.testing.assert_close(call(x.abs() * sign, y), f(x.abs() * sign, y))
    assert list(fallbacks()) == ["cond"]


def test_constants_of_every_dtype_are_read_and_not_given_away():
    def f(x):
        table = torch.tensor([3, 1, 2], dtype=torch.uint8)
        waves = torch.tensor([1j, 2.0, 3 + 1j])
        return table, x * table, (waves * x).abs()

    call = compiled(f)
    first = call(torch.ones(3))
    first[0].fill_(9)
    assert_same(call(torch.ones(3)), f(torch.ones(3)))
    fallbacks()


def test_threads_and_nested_calls_keep_their_own_tensors():
    import threading

    def f(x):
        return (x.to(torch.float8_e5m2).float() * 2).to(torch.float8_e5m2).float() + 1

    call = compiled(f)
    inputs = [torch.full((64,), float(n)) for n in range(4)]
    wants = [f(x) for x in inputs]
    call(inputs[0])
    wrong = []

    def run(n):
        for _ in range(200):
            if not torch.equal(call(inputs[n]), wants[n]):
                wrong.append(n)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def _packed_int4():
    weights = torch.randint(0, 16, (32, 64), dtype=torch.int32)
    return torch.ops.aten._convert_weight_to_int4pack_for_cpu(weights, 1)


def test_products_with_packed_weights_are_steps():
    packed, scales = _packed_int4(), torch.rand(2, 32, 2)

    def int4(x):
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(torch.relu(x), packed, 32, scales)
        return torch.sigmoid(y) + 1

    weights, scale = torch.randint(-128, 128, (32, 64), dtype=torch.int8), torch.rand(32)

    def int8(x):
        return torch.sigmoid(torch.ops.aten._weight_int8pack_mm(torch.relu(x), weights, scale)) + 1

    def convert(x):
        numbers = (x.abs() * 7).to(torch.int32)[:32].clamp(0, 15)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers, 1)
        return torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, 32, scales) * 2

    x = torch.randn(40, 64)
    for function, names in (
        (int4, ["aten._weight_int4pack_mm_for_cpu.default"]),
        (int8, ["aten._weight_int8pack_mm.default"]),
        (
            convert,
            [
                "aten._convert_weight_to_int4pack_for_cpu.default",
                "aten._weight_int4pack_mm_for_cpu.default",
            ],
        ),
    ):
        torch._dynamo.reset()
        assert sorted(check(function, x)) == names


@pytest.mark.parametrize("k", [1, 7, 32, 1024, 1025, 4100])
def test_products_of_int8_are_native_and_exact_at_the_extremes(k):
    def f(x, y):
        return torch._int_mm(x, y) + 1

    for low, high in ((-128, -127), (127, 128), (-128, 128)):
        x = torch.randint(low, high, (24, k), dtype=torch.int8)
        for y in (
            torch.randint(low, high, (k, 16), dtype=torch.int8),
            torch.randint(low, high, (16, k), dtype=torch.int8).t(),
        ):
            want = (x.long() @ y.long()).int() + 1
            got = compiled(f, options={"fallback": "error"}, dynamic=False)(x, y)
            assert got.dtype == torch.int32
            assert torch.equal(got, want)
