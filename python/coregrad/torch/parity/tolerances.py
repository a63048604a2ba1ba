"""THE table of tolerances: what a result may miss beyond twice the error of PyTorch's own kernels."""

import torch

#: dtype -> (absolute, relative to the element), added to twice eager's own largest error.
SLACK = {
    torch.float16: (1e-3, 2e-3),
    torch.bfloat16: (8e-3, 1.6e-2),
    torch.float32: (4e-6, 8e-6),
    torch.float64: (1e-12, 1e-11),
}
