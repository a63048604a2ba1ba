"""Complex numbers inside of graphs and as their results: pairs of real values."""

import pytest
import torch

import coregrad.torch
from coregrad.torch.parity.judge import compare_all

NATIVE = {"fallback": "error"}


def turn(x, angle):
    """Rotary positions: neighbours as complex numbers, turned."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)


def arithmetic(x, y):
    z = torch.complex(x, y)
    w = torch.cat([z * 2.0 + y, (z - x).conj() / 4.0], 1) * (1 + 2j)
    return w, w.abs(), w.angle(), torch.exp(z).real, (-z).imag, z.sum(1)


def transforms(x, y):
    z = torch.fft.fft(x, norm="ortho")
    w = torch.fft.rfft2(x)
    return (
        *(z, w, torch.fft.irfft(w, n=x.shape[-1]), torch.fft.ifft(z * y)),
        *(torch.fft.hfft(z, n=x.shape[-1]), torch.fft.ihfft(x, norm="forward")),
    )


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("extent", [2, 3, 7, 16, 60, 127, 360])
def test_fourier_transforms_equal_those_of_pytorch(extent, dtype):
    x, y = torch.randn(3, extent, dtype=dtype), torch.randn(3, extent, dtype=dtype)
    got = torch.compile(transforms, backend="coregrad", options=NATIVE)(x, y)
    message = compare_all(got, transforms(x, y), transforms(x.double(), y.double()))
    assert message is None, message


@pytest.mark.usefixtures("fresh_torch")
def test_complex_arithmetic_equals_that_of_pytorch():
    x, y = torch.randn(3, 5), torch.randn(3, 5)
    got = torch.compile(arithmetic, backend="coregrad", options=NATIVE)(x, y)
    message = compare_all(got, arithmetic(x, y))
    assert message is None, message
    assert [g.is_complex() for g in got] == [True, False, False, False, False, True]


@pytest.mark.usefixtures("fresh_torch")
def test_gradients_flow_through_complex_values():
    x, angle = torch.randn(2, 3, 8, requires_grad=True), torch.randn(3, 4)

    def loss(x):
        return (turn(x, angle) ** 3).sum() + torch.fft.irfft(torch.fft.rfft(x) * 2.0).pow(3).sum()

    expected = torch.autograd.grad(loss(x), x)[0]
    got = torch.autograd.grad(torch.compile(loss, backend="coregrad", options=NATIVE)(x), x)[0]
    torch.testing.assert_close(got, expected)


@pytest.mark.usefixtures("fresh_torch")
def test_complex_inputs_are_read_with_their_strides_and_conjugation():
    z, w = (torch.randn(4, 3, dtype=torch.complex64) for _ in range(2))

    def product(z, w):
        return z * w + 1j, z

    compiled = torch.compile(product, backend="coregrad", options=NATIVE, dynamic=False)
    for a, b in ((z, w), (z, w.conj()), (z.mT.contiguous().mT, w), (z[1:], w.flip(0)[1:])):
        got = compiled(a, b)
        torch.testing.assert_close(got[0], a * b + 1j)
        assert torch.equal(got[1], a)


@pytest.mark.usefixtures("fresh_torch")
def test_gradients_of_complex_parameters_equal_those_of_pytorch():
    z = torch.randn(4, dtype=torch.complex64, requires_grad=True)
    x = torch.randn(4)

    def loss(z):
        return (z * torch.complex(x, x * 2)).abs().sum() + torch.fft.fft(z).real.pow(2).sum()

    expected = torch.autograd.grad(loss(z), z)[0]
    got = torch.autograd.grad(torch.compile(loss, backend="coregrad")(z), z)[0]
    torch.testing.assert_close(got, expected)


@pytest.mark.usefixtures("fresh_torch")
def test_a_complex_view_of_an_input_is_such_a_view():
    x = torch.randn(3, 4, 2)
    z = torch.compile(torch.view_as_complex, backend="coregrad", options=NATIVE)(x)
    z.mul_(2)
    assert torch.equal(torch.view_as_real(z), x)


@pytest.mark.usefixtures("fresh_torch")
def test_a_complex_result_keeps_its_strides_and_may_be_written_to():
    x = torch.randn(3, 4)
    compiled = torch.compile(lambda x: torch.fft.fft(x, dim=0).t().clone() * 2, backend="coregrad")
    z, expected = compiled(x), torch.fft.fft(x, dim=0).t() * 2
    assert z.stride() == (torch.fft.fft(x, dim=0).t().clone() * 2).stride()
    torch.testing.assert_close(z.add_(1), expected + 1)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.fft.fft(x.new_ones(4, 211)),  # 211 is a prime number
        lambda x: torch.linalg.eigvals(x[:3, :3]),
        lambda x: torch.complex(x, x) / torch.complex(x + 1, x),
        lambda x: torch.complex(x, x) == torch.complex(x, -x),
    ],
)
def test_what_has_no_complex_lowering_runs_in_pytorch_with_a_reason(function):
    x = torch.rand(3, 5)
    got = torch.compile(function, backend="coregrad")(x)
    torch.testing.assert_close(got, function(x))
    (graph,) = coregrad.torch.report().graphs
    assert graph.rejected is None
    (reasons,) = graph.fallbacks.values()
    assert "torch.complex64" in reasons[0]
