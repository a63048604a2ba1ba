"""Fourier transforms of tensors against PyTorch: complex numbers are pairs of real tensors."""

import numpy as np
import pytest
import torch
from test_tensor_functional import TOLERANCE, Case, normal, run_ours, run_theirs

import coregrad as cg


def pair(name: str, operands, ours, theirs) -> Case:
    """Complex results as real and imaginary parts."""
    return Case(
        name,
        operands,
        {},
        lambda *x: cg.stack(list(ours(*x))),
        lambda *x: torch.view_as_real(theirs(*x)).movedim(-1, 0),
    )


LENGTHS = [1, 2, 7, 12, 60]
TRANSFORMS = [
    *(pair("rfft", [normal(2, n)], lambda x: cg.fft_r2c(x, 1), torch.fft.rfft) for n in LENGTHS),
    pair("rfftn", [normal(3, 4, 5)], lambda x: cg.fft_r2c(x, [0, 2], 1),
         lambda x: torch.fft.rfftn(x, dim=(0, 2), norm="ortho")),
    pair("fft", [normal(3, 5)], lambda x: cg.fft_r2c(x, -1, 2, False),
         lambda x: torch.fft.fft(x, norm="forward")),
    *(
        pair("fft", [normal(2, n), normal(3, 2, n)[0]], lambda x, y: cg.fft_c2c(x, y, 1),
             lambda x, y: torch.fft.fft(torch.complex(x, y)))
        for n in LENGTHS
    ),
    pair("ifft2", [normal(3, 4), normal(2, 3, 4)[0]],
         lambda x, y: cg.fft_c2c(x, y, [1, 0], 2, False),
         lambda x, y: torch.fft.ifft2(torch.complex(x, y))),
    *(
        Case("irfft", [normal(2, n // 2 + 1), normal(3, 2, n // 2 + 1)[0]], {},
             lambda x, y, n=n: cg.fft_c2r(x, y, 1, 2, n),
             lambda x, y, n=n: torch.fft.irfft(torch.complex(x, y), n=n))
        for n in LENGTHS
    ),
    Case("irfft2", [normal(4, 3), normal(2, 4, 3)[0]], {},
         lambda x, y: cg.fft_c2r(x, y, [0, 1], 1, 5),
         lambda x, y: torch.fft.irfft2(torch.complex(x, y), s=(4, 5), norm="ortho")),
]  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("case", TRANSFORMS, ids=str)
def test_values_and_gradients_are_pytorchs(case, dtype):
    for got, want in zip(run_ours(case, dtype), run_theirs(case, dtype), strict=True):
        assert got.dtype == dtype
        assert got.shape == want.shape
        bound = TOLERANCE[dtype] * max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound)


def test_a_batch_may_be_empty():
    assert cg.fft_r2c(cg.ones((0, 4)), 1)[0].shape == (0, 3)
    assert cg.fft_c2r(cg.ones((0, 3)), cg.ones((0, 3)), 1, 0, 4).shape == (0, 4)


def test_narrow_floats_are_rounded_once():
    for narrow in (torch.float16, torch.bfloat16):
        a = torch.from_numpy(normal(4, 4)).to(narrow)
        re, im = cg.fft_r2c(cg.from_dlpack(a), 1)
        want = torch.fft.rfft(a.double())
        for ours, theirs in ((re, want.real), (im, want.imag)):
            torch.testing.assert_close(torch.from_dlpack(ours.realize()), theirs.to(narrow))


def test_whole_numbers_are_transformed_as_float32():
    re, im = cg.fft_r2c(cg.tensor([1, 2, 3, 4]), 0)
    assert (re.dtype, im.dtype) == (cg.float32, cg.float32)
    assert re.tolist() == [10, -2, -2]


BAD = [
    (lambda: cg.fft_r2c(cg.ones((3, 0)), 1), cg.ShapeError, "fft_r2c: .* elements"),
    (lambda: cg.fft_r2c(cg.ones((211,)), 0), cg.UnsupportedError, "fft_r2c: .* 128 .*got 211"),
    (lambda: cg.fft_r2c(cg.ones((3,)), 1), cg.IndexError, "fft_r2c"),
    (lambda: cg.fft_r2c(cg.ones((3,)), 0, 3), cg.ValueError, "fft_r2c: the normalization"),
    (lambda: cg.fft_c2c(cg.ones((3,)), cg.ones((4,)), 0), cg.ShapeError, "fft_c2c: real"),
    (lambda: cg.fft_c2c(cg.ones((3,)), cg.ones((3,)), [0, -1]), cg.ValueError, "fft_c2c: .* once"),
    (lambda: cg.fft_c2r(cg.ones((3,)), cg.ones((3,)), 0, 0, 7), cg.ShapeError, "fft_c2r: .* 4"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_bad_input_raises_the_typed_error_when_the_call_is_made(call, error, message):
    with pytest.raises(error, match=message):
        call()
