"""Max pooling through torch.compile(backend="coregrad"): values and indices equal torch's."""

import pytest
import torch
import torch.nn.functional as F

import coregrad.torch

INPUTS = {
    "random": lambda: torch.randn(2, 3, 8, 8),
    "ties": lambda: torch.randint(0, 2, (2, 3, 8, 8)).float(),
    "all_minus_infinity": lambda: torch.full((1, 2, 8, 8), -float("inf")),
    "some_nan": lambda: torch.randn(1, 2, 8, 8).masked_fill(
        torch.rand(1, 2, 8, 8) < 0.2, float("nan")
    ),
    "transposed": lambda: torch.randn(1, 2, 8, 8).transpose(2, 3),
}


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 1, 1), (3, 2, 1)])
@pytest.mark.parametrize("name", INPUTS)
def test_max_pool_values_and_indices_equal_those_of_torch(name, window):
    torch._dynamo.reset()
    coregrad.torch.reset()
    torch.manual_seed(0)
    size, stride, padding = window
    x = INPUTS[name]()

    def pool(x):
        return F.max_pool2d(x, size, stride, padding, return_indices=True)

    options = {"fallback": "error"}
    compiled = torch.compile(pool, backend="coregrad", options=options)
    values, indices = compiled(x)
    expected_values, expected_indices = pool(x)
    torch.testing.assert_close(values, expected_values, rtol=0, atol=0, equal_nan=True)
    assert torch.equal(indices, expected_indices)
