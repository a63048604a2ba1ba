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
