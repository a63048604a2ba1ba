"""Dense linear algebra of small matrices in graphs: values, gradients and errors as in PyTorch."""

import pytest
import torch

import coregrad.torch
from coregrad.torch.parity.judge import compare_all, cotangents

pytestmark = pytest.mark.usefixtures("fresh_torch")
NATIVE = {"fallback": "error"}


def positive(x):
    return x @ x.mT + 2 * torch.eye(x.shape[-1], dtype=x.dtype)


FUNCTIONS = {
    "inverse": torch.linalg.inv,
    "determinant": torch.linalg.det,
    "log of the determinant": lambda x: torch.linalg.slogdet(x)[1],
    "solution": lambda x: torch.linalg.solve(x, x.mT + 1),
    "solution from the right": lambda x: torch.linalg.solve(x, x.mT + 1, left=False),
    "solution for a vector": lambda x: torch.linalg.solve(x, x[..., 0].contiguous()),
    "cholesky": lambda x: torch.linalg.cholesky(positive(x)),
    "solution by cholesky": lambda x: torch.cholesky_solve(x, torch.linalg.cholesky(positive(x))),
    "qr": lambda x: torch.linalg.qr(x)[1],
    "lu": lambda x: torch.linalg.lu(x)[2],
    "solution by lu": lambda x: torch.linalg.lu_solve(*torch.linalg.lu_factor(x), x),
    "power": lambda x: torch.linalg.matrix_power(x, -2),
    "triangular": lambda x: torch.linalg.solve_triangular(x + 5 * torch.eye(4), x, upper=True),
    "cdist": lambda x: torch.cdist(x, x.flip(-1) + 1),
}


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 4, 4)])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_gradients_equal_those_of_pytorch(name, shape):
    function = FUNCTIONS[name]
    base = torch.randn(shape) + 2 * torch.eye(4).roll(1, 0)

    def run(f, dtype):
        x = base.to(dtype).requires_grad_()
        y = f(x)
        return [y.detach(), *torch.autograd.grad(y, x, cotangents([y]))]

    got = run(torch.compile(function, backend="coregrad", options=NATIVE), torch.float32)
    message = compare_all(got, run(function, torch.float32), run(function, torch.float64))
    assert message is None, message


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (torch.linalg.inv, "singular"),
        (lambda x: torch.linalg.solve(x, x), "singular"),
        (lambda x: torch.linalg.cholesky(x - 2), "not positive-definite"),
    ],
)
def test_a_singular_matrix_raises_the_error_of_pytorch(function, message):
    compiled = torch.compile(function, backend="coregrad", options=NATIVE)
    compiled(2 * torch.eye(3) + 2 if function is not torch.linalg.inv else torch.eye(3))
    with pytest.raises(torch.linalg.LinAlgError, match=message):
        function(torch.ones(3, 3))
    with pytest.raises(torch.linalg.LinAlgError, match=message):
        compiled(torch.ones(3, 3))


def test_larger_matrices_run_in_pytorch_with_a_reason():
    x = torch.randn(17, 17) + 9 * torch.eye(17)
    got = torch.compile(torch.linalg.inv, backend="coregrad")(x)
    torch.testing.assert_close(got, torch.linalg.inv(x))
    (graph,) = coregrad.torch.report().graphs
    assert "more than 16" in graph.fallbacks["aten.linalg_inv_ex.default"][0]
