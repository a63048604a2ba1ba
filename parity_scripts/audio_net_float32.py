"""aten._adaptive_avg_pool2d_backward.default (_adaptive_avg_pool2d_backward of the backward graph), together with aten.unsqueeze.default: too far from the exact value: 0.0 for 0.01782325841486454 at [0, 6, 0, 12], 576 of 576 (eager's own largest error 0)."""

import sys
from math import inf, nan  # noqa: F401

import torch
from torch import device  # noqa: F401
from torch.testing import make_tensor  # noqa: F401

import coregrad.torch
from coregrad.torch.parity.script import reproduce, unpack  # noqa: F401

torch.manual_seed(0)
inputs = [
    torch.randn([3, 12, 16], dtype=torch.float32),  # relu_1
    torch.randn([3, 12, 1, 4], dtype=torch.float32),  # unsqueeze_2
]


def function(relu_1, unsqueeze_2):
    unsqueeze_1 = torch.ops.aten.unsqueeze.default(relu_1, -2);  relu_1 = None
    _adaptive_avg_pool2d_backward = torch.ops.aten._adaptive_avg_pool2d_backward.default(unsqueeze_2, unsqueeze_1);  unsqueeze_2 = unsqueeze_1 = None
    return (_adaptive_avg_pool2d_backward,)


sys.exit(reproduce(function, inputs, (4e-06, 8e-06)))
