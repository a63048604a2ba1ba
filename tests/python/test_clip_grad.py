"""Clipping of gradients and averages of parameters, against PyTorch's."""

import doctest
import math

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn, get_swa_multi_avg_fn

import coregrad as cg
from coregrad import nn, optim
from coregrad.optim import averages as averages_module

GRADIENTS = [
    np.array([[3.0, -4.0], [0.5, 1.0]]),
    None,
    np.array([12.0]),
    np.array([-0.25, 2.0, 0.0]),
]


def leaves(library, dtype, scale=1.0):
    """Parameters with gradients; the second one has none."""
    tensor = torch.tensor if library is torch else cg.tensor
    parameters = []
    for gradient in GRADIENTS:
        shape = (2,) if gradient is None else gradient.shape
        p = tensor(np.ones(shape, dtype), requires_grad=True)
        if gradient is not None:
            p.grad = tensor((gradient * scale).astype(dtype))
        parameters.append(p)
    return parameters


def assert_same_gradients(ours, theirs, rtol):
    for one, other in zip(ours, theirs, strict=True):
        if other.grad is None:
            assert one.grad is None
        else:
            assert one.grad.dtype == one.dtype
            np.testing.assert_allclose(one.grad.numpy(), other.grad.numpy(), rtol=rtol)


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, math.inf, -math.inf, 0.5])
@pytest.mark.parametrize("max_norm", [1.0, 5, 100.0, 0.0])
def test_norms_are_limited_as_pytorch_does(dtype, rtol, norm_type, max_norm):
    ours, theirs = leaves(cg, dtype), leaves(torch, dtype)
    want = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    total = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    assert not total.is_realized
    assert total.item() == pytest.approx(want.item(), rel=rtol)
    assert_same_gradients(ours, theirs, rtol)


@pytest.mark.parametrize("limit", [0.75, 3, 0.0])
def test_elements_are_limited_as_pytorch_does(limit):
    ours, theirs = leaves(cg, np.float32), leaves(torch, np.float32)
    torch.nn.utils.clip_grad_value_(theirs, limit)
    nn.utils.clip_grad_value_(ours, limit)
    assert_same_gradients(ours, theirs, 0)


def test_one_tensor_is_a_list_of_one():
    ours, theirs = leaves(cg, np.float32)[0], leaves(torch, np.float32)[0]
    torch.nn.utils.clip_grad_norm_(theirs, 1.0)
    nn.utils.clip_grad_norm_(ours, 1.0)
    assert_same_gradients([ours], [theirs], 1e-6)


def test_norm_and_scaling_may_be_apart():
    ours, theirs = leaves(cg, np.float64), leaves(torch, np.float64)
    total = nn.utils.get_total_norm(p.grad for p in ours if p.grad is not None)
    want = torch.nn.utils.get_total_norm([p.grad for p in theirs if p.grad is not None])
    assert total.item() == pytest.approx(want.item(), rel=1e-12)
    torch.nn.utils.clip_grads_with_norm_(theirs, 2.0, want)
    nn.utils.clip_grads_with_norm_(ours, 2.0, total)
    assert_same_gradients(ours, theirs, 1e-12)
    assert nn.utils.clip_grad_norm_([ours[1]], 1.0).item() == 0


@pytest.mark.parametrize("dtype", [cg.float16, cg.bfloat16])
def test_narrow_gradients_are_rounded_once(dtype):
    parameters = []
    for gradient in GRADIENTS:
        if gradient is None:
            continue
        p = cg.ones(gradient.shape, dtype).realize()
        p.requires_grad = True
        p.grad = cg.tensor(gradient.astype(np.float32) * 1000).cast(
            dtype
        )  # squares overflow float16
        parameters.append(p)
    wide = [p.grad.cast(cg.float32).numpy() for p in parameters]
    total = nn.utils.clip_grad_norm_(parameters, 1.0)
    want = math.sqrt(sum((w.astype(np.float64) ** 2).sum() for w in wide))
    assert total.dtype == cg.float32
    assert total.item() == pytest.approx(want, rel=1e-6)
    for p, w in zip(parameters, wide, strict=True):
        rounded = cg.tensor((w * np.float32(1 / (want + 1e-6))).astype(np.float32)).cast(dtype)
        np.testing.assert_allclose(
            p.grad.cast(cg.float32).numpy(), rounded.cast(cg.float32).numpy(), rtol=2**-7
        )


def test_clipping_refuses_what_makes_no_sense():
    w = leaves(cg, np.float32)
    with pytest.raises(cg.ValueError, match="clip_grad_norm_: max_norm must be at least 0, got -1"):
        nn.utils.clip_grad_norm_(w, -1.0)
    with pytest.raises(
        cg.ValueError, match="clip_grad_value_: clip_value must be at least 0, got nan"
    ):
        nn.utils.clip_grad_value_(w, math.nan)
    with pytest.raises(cg.ValueError, match="norm_type must be a number, got nan"):
        nn.utils.clip_grad_norm_(w, 1.0, math.nan)
    endless = leaves(cg, np.float32, math.inf)
    with pytest.raises(cg.ValueError, match=r"the norm of order 2\.0 of the gradients is nan"):
        nn.utils.clip_grad_norm_(endless, 1.0, error_if_nonfinite=True)
    assert endless[2].grad.item() == math.inf  # and nothing was changed
    assert math.isnan(nn.utils.clip_grad_norm_(endless, 1.0).item())


def test_a_compiled_step_clips_and_averages():
    def run(compiled):
        w = cg.tensor(np.array([1.0, -2.0, 3.0]), requires_grad=True)
        optimizer = optim.AdamW([w], lr=0.1)
        averages = optim.ParameterAverages([w], decay=0.9)

        def step(x):
            optimizer.zero_grad()
            loss = ((w * x) ** 2).sum().realize()
            loss.backward()
            norm = nn.utils.clip_grad_norm_([w], 0.5)
            optimizer.step()
            averages.update()
            return loss, norm

        step = cg.compile(step) if compiled else step
        seen = []
        for k in range(6):
            loss, norm = step(cg.tensor(np.array([1.0, 0.5, 0.25]) * (k + 1)))
            seen += [loss.item(), norm.item()]
        if compiled:
            assert [row.calls for row in step.report()] == [6]
        assert averages.n_averaged == 6
        return [*seen, *w.tolist(), *averages.averages()[0].tolist()]

    assert run(True) == pytest.approx(run(False), rel=1e-12)


@pytest.fixture
def float64_by_default():
    # PyTorch computes the weight of a mean in its default dtype.
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-12), (np.float32, 1e-6)])
@pytest.mark.parametrize("decay", [0.9, 0.0, 1.0, None])
def test_averages_are_pytorchs(decay, dtype, rtol):
    rng = np.random.default_rng(0)
    values = [rng.standard_normal((2, 3)).astype(dtype) for _ in range(12)]
    model = torch.nn.Linear(3, 2, bias=False, dtype=torch.tensor(values[0]).dtype)
    average = get_swa_multi_avg_fn() if decay is None else get_ema_multi_avg_fn(decay)
    theirs = AveragedModel(model, multi_avg_fn=average)
    w = cg.tensor(values[0].copy(), requires_grad=True)
    ours = optim.ParameterAverages([w], decay)
    np.testing.assert_array_equal(ours.averages()[0].numpy(), values[0])
    for step, value in enumerate(values):
        with torch.no_grad():
            model.weight.copy_(torch.tensor(value))
        theirs.update_parameters(model)
        w.assign(cg.tensor(value))
        ours.update()
        if step == 5:  # and goes on from what it saved
            saved = ours.state_dict()
            ours.update()
            ours = optim.ParameterAverages([w], decay)
            ours.load_state_dict(saved)
        want = next(theirs.module.parameters()).detach().numpy()
        np.testing.assert_allclose(ours.averages()[0].numpy(), want, rtol=rtol, atol=rtol)
    assert ours.n_averaged == theirs.n_averaged.item() == 12


def test_averages_are_applied_and_taken_back():
    narrow = cg.ones((2,), cg.bfloat16).realize()
    narrow.requires_grad = True
    averages = optim.ParameterAverages([narrow], decay=0.5)
    averages.update()
    narrow.assign(cg.tensor(np.array([1.0078125, 3.0], np.float32)).cast(cg.bfloat16))
    averages.update()
    assert averages.averages()[0].tolist() == [1.00390625, 2.0]  # more digits than bfloat16 has
    with averages.applied():
        assert narrow.cast(cg.float32).tolist() == [1.0, 2.0]
    assert narrow.cast(cg.float32).tolist() == [1.0078125, 3.0]
    assert averages.averages()[0].tolist() == [1.00390625, 2.0]
    assert narrow.requires_grad


def test_averages_refuse_what_makes_no_sense():
    w = cg.tensor([1.0, 2.0])
    with pytest.raises(cg.ValueError, match=r"decay must be in \[0, 1\], got 1.5"):
        optim.ParameterAverages([w], 1.5)
    with pytest.raises(cg.ValueError, match="there are no parameters"):
        optim.ParameterAverages([])
    with pytest.raises(cg.DTypeError, match=r"parameters must be floating, got i64\[1\]"):
        optim.ParameterAverages([cg.tensor([1])])
    averages = optim.ParameterAverages([w])
    with pytest.raises(cg.ShapeError, match=r"load: expected f32\[2\], got f32\[3\]"):
        averages.load_state_dict({"n_averaged": 1, "averages": [cg.zeros((3,))]})
    with pytest.raises(cg.ValueError, match="load: expected 1 averages, got 0, of 1 updates"):
        averages.load_state_dict({"n_averaged": 1, "averages": []})


@pytest.mark.parametrize("module", [nn.utils, averages_module])
def test_examples_in_the_documentation_run(module):
    assert doctest.testmod(module).failed == 0
