"""Gradients that are derived from formulas, of operands that construction looks through: a reshape of
a reshape is one of what lies below, and the product with a negated operand one with its operand.
"""

import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.usefixtures("fresh_torch")

WEIGHT1, WEIGHT2 = torch.randn(6, 3, 3), torch.randn(6, 3, 2, 3)
FUNCTIONS = {
    "leaky_relu": lambda x: F.leaky_relu(x, 0.3),
    "relu6": F.relu6,
    "elu": F.elu,
    "celu": F.celu,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "softplus": F.softplus,
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "logsigmoid": F.logsigmoid,
    "glu": lambda x: F.glu(x, 1),
    "mse_loss": lambda x: F.mse_loss(x, x.detach() * 0.5),
    "smooth_l1_loss": lambda x: F.smooth_l1_loss(x, x.detach() * 0.5),
    "huber_loss": lambda x: F.huber_loss(x, x.detach() * 0.5),
    "avg_pool2d": lambda x: F.avg_pool2d(x, 3, 1, 1),
    "avg_pool1d": lambda x: F.avg_pool1d(x.flatten(0, 1), 2),
    "avg_pool3d": lambda x: F.avg_pool3d(x.unsqueeze(1), 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.flatten(0, 1), 4),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x, (2, 3)),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x.unsqueeze(1), 2),
    "conv1d": lambda x: F.conv1d(x.flatten(2), WEIGHT1, groups=2),
    "conv2d": lambda x: F.conv2d(x, WEIGHT2, groups=2),
    "conv2d of itself": lambda x: F.conv2d(x, x),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x, WEIGHT2, stride=2, groups=2),
    "replication_pad2d": lambda x: F.pad(x, (1, 2, 0, 1), mode="replicate"),
    "grid_sample": lambda x: F.grid_sample(x, torch.linspace(-1, 1, 48).reshape(2, 3, 4, 2)),
}
SHAPE = (2, 6, 4, 6)
WAYS = {
    "reshaped": lambda x: x.reshape(-1).reshape(SHAPE),
    "negated": lambda x: -x,
    "unsqueezed": lambda x: x.unsqueeze(0).squeeze(0) * 1.0,
    "turned": lambda x: x.transpose(2, 3).reshape(SHAPE),
    "expanded": lambda x: x[:, :1].expand(SHAPE),
    "added": lambda x: x + 0.0,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_reach_what_construction_looks_through(name, way):
    torch.manual_seed(0)
    values = torch.randn(SHAPE)

    def step(x):
        return FUNCTIONS[name](WAYS[way](x))

    def gradient(run, of):
        x = of.clone().requires_grad_()
        y = run(x)
        y.backward(torch.linspace(-1, 1, y.numel()).to(y.dtype).reshape(y.shape))
        return x.grad

    got = gradient(torch.compile(step, backend="coregrad", options={"fallback": "error"}), values)
    exact = gradient(step, values)
    torch.testing.assert_close(got, exact, rtol=1e-4, atol=1e-5)


ZEROS = {
    "relu": F.relu,
    "relu6": F.relu6,
    "hardtanh": F.hardtanh,
    "hardtanh from 0": lambda x: F.hardtanh(x, 0, 1),
    "hardtanh from -0": lambda x: F.hardtanh(x, -0.0, 1),
    "hardtanh to 0": lambda x: F.hardtanh(x, -1, 0),
    "hardsigmoid": lambda x: F.hardsigmoid(x - 3),
    "hardswish": F.hardswish,
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "hardshrink": F.hardshrink,
    "clamp": lambda x: x.clamp(0, 1),
    "clamp_min": lambda x: x.clamp_min(0),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", ZEROS)
def test_zeros_keep_their_sign(name, dtype):
    """The value's sign, and the slope on either side; 35 elements are vectors and a tail."""
    values = torch.tensor([0.0, -0.0, 1.0, -0.0, 0.0] * 7, dtype=dtype)

    def value_and_slope(run):
        x = values.clone().requires_grad_()
        y = run(x)
        y.sum().backward()
        return y.detach(), x.grad

    got = value_and_slope(
        torch.compile(ZEROS[name], backend="coregrad", options={"fallback": "error"})
    )
    exact = value_and_slope(ZEROS[name])
    torch.testing.assert_close(got, exact)
    assert torch.equal(got[0].signbit(), exact[0].signbit())
