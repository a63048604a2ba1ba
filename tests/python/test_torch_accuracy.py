"""Sums of products are as exact as eager's, however many products: errors do not grow with a chain.

The judge is float64. `SLACK` is room for luck, in eager's own error and in units of the last place.
"""

import pytest
import torch
import torch.nn.functional as F

LENGTHS = (
    *(1, 2, 3, 7, 16, 33, 100, 127, 128, 129, 192, 255, 256, 257, 500, 777, 1000, 1023, 1024, 1025),
    *(1281, 2047, 3000, 5001, 10_007, 40_000, 100_003, 1_000_003),
)
SLACK = 1.15, 0.5

#: Functions of operands, and their shapes for a summed length.
PRODUCTS = {
    "matrices": (lambda a, b: a @ b, lambda k: ((24, k), (k, 24))),
    "rows by rows": (lambda a, b: a @ b.t(), lambda k: ((24, k), (24, k))),
    "columns by columns": (lambda a, b: a.t() @ b, lambda k: ((k, 24), (k, 17))),
    "few rows": (lambda a, b: a @ b.t(), lambda k: ((3, k), (2, k))),
    "a matrix and a vector": (lambda a, b: a @ b, lambda k: ((40, k), (k,))),
    "a vector and a matrix": (lambda a, b: a @ b, lambda k: ((k,), (k, 40))),
    "batches": (lambda a, b: a @ b, lambda k: ((3, 5, k), (3, k, 9))),
    "a signal's windows": (
        lambda a, b: torch.ops.aten.convolution_backward(
            a, b, b.new_zeros(4, 3, 5), None, [1], [2], [1], False, [0], 1, [False, True, False]
        )[1],
        lambda k: ((1, 4, k), (1, 3, k)),
    ),
    "an image's windows": (
        lambda a, b: torch.ops.aten.convolution_backward(
            a, b, b.new_zeros(4, 3, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1,
            [False, True, False],
        )[1],
        lambda k: ((1, 4, 8, -(-k // 8)), (1, 3, 8, -(-k // 8))),
    ),
}  # fmt: skip


def error(got, exact):
    return (got.double() - exact).square().mean().sqrt().item()


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("make", [torch.rand, torch.randn], ids=["positive", "signed"])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_of_any_length_is_as_exact_as_eagers(name, make):
    function, shapes = PRODUCTS[name]
    for k in LENGTHS:
        torch._dynamo.reset()
        operands = [make(shape) for shape in shapes(k)]
        exact = function(*(x.double() for x in operands))
        eager = error(function(*operands), exact)
        ours = error(torch.compile(function, backend="coregrad")(*operands), exact)
        unit = torch.finfo(torch.float32).eps * exact.square().mean().sqrt().item()
        factor, units = SLACK
        assert ours <= factor * eager + units * unit, (
            f"k = {k}: {ours / unit:.2f} units of the last place, eager's {eager / unit:.2f}"
        )


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("k", [1_000_000, 2_000_000])
def test_a_long_chain_of_ones_is_counted(k):
    """A single float32 accumulator stays at 2**24."""
    ones = torch.ones(2, 20 * k)
    got = torch.compile(F.linear, backend="coregrad")(ones, ones)
    assert (got / (20 * k) - 1).abs().max() < 1e-6


#: Normalisations, and the shape of what they take.
NORMS = {
    "layer": (lambda x: F.layer_norm(x, x.shape[-1:]), (5, 300)),
    "group": (lambda x: F.group_norm(x, 2), (3, 6, 70)),
    "batch": (lambda x: F.batch_norm(x, None, None, training=True), (2, 7)),
    "instance": (F.instance_norm, (2, 3, 50)),
}


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("offset", [1e2, 1e4, 1e6])
def test_values_that_are_nearly_equal_are_normalised_exactly(name, offset):
    """What is left of a mean that was rounded is as large as what the values differ by."""
    norm, shape = NORMS[name]
    x = torch.randn(shape) + offset
    exact = norm(x.double())
    got = torch.compile(norm, backend="coregrad")(x)
    # 1 / sqrt(variance + eps) of float32: of few values, the variance itself is rounded.
    torch.testing.assert_close(got.double(), exact, rtol=3e-5, atol=3e-6)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("value", [0.8414709, -3.3e7, 1e-20])
def test_equal_values_are_normalised_to_zero(name, value):
    norm, shape = NORMS[name]
    assert torch.compile(norm, backend="coregrad")(torch.full(shape, value)).count_nonzero() == 0


#: Functions with kinks at the given places.
KINKS = {
    "hardsigmoid": (F.hardsigmoid, (-3, 3)),
    "hardswish": (F.hardswish, (-3, 3)),
    "hardtanh": (F.hardtanh, (-1, 1)),
    "relu6": (F.relu6, (0, 6)),
    "hardshrink": (F.hardshrink, (-0.5, 0.5)),
    "softshrink": (F.softshrink, (-0.5, 0.5)),
    "elu": (F.elu, (0,)),
    "smooth_l1": (lambda x: F.smooth_l1_loss(x, x * 0, reduction="none"), (-1, 1)),
    "huber": (lambda x: F.huber_loss(x, x * 0, reduction="none", delta=3.0), (-3, 3)),
}


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("name", KINKS)
def test_slopes_next_to_a_kink_are_eagers(name):
    function, places = KINKS[name]
    at = torch.tensor(places, dtype=torch.float32)
    inf = torch.tensor(torch.inf)
    x = torch.cat([at, at.nextafter(inf), at.nextafter(-inf), torch.tensor([1e-45, 40.0, -40.0])])
    if name == "hardsigmoid":  # the others' at NaN depend on the place in a vector
        x = torch.cat([x, torch.tensor([torch.nan])])
    slopes = []
    for f in (function, torch.compile(function, backend="coregrad")):
        leaf = x.clone().requires_grad_()
        f(leaf).sum().backward()
        slopes.append(leaf.grad)
    torch.testing.assert_close(*slopes, rtol=2e-6, atol=1e-6)


@pytest.mark.usefixtures("fresh_torch")
@pytest.mark.parametrize("loss", [F.smooth_l1_loss, F.huber_loss])
def test_an_infinite_difference_has_a_finite_slope(loss):
    x = torch.tensor([torch.inf, -torch.inf, 0.5], requires_grad=True)
    torch.compile(loss, backend="coregrad")(x, torch.zeros(3), reduction="sum").backward()
    assert x.grad.tolist() == [1.0, -1.0, 0.5]
