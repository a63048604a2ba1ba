"""A small training that runs under PyTorch's optimisers and ours, and sets of options for them."""

import numpy as np
import torch

import coregrad as cg

STEPS = 100
#: Relative, against PyTorch in the same dtype after STEPS steps.
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-5}

CASES = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 1e-4, "momentum": 0.5, "maximize": True}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "betas": (0.7, 0.9)}),
    ("Adam", {"lr": 0.02, "decoupled_weight_decay": True, "weight_decay": 0.2, "maximize": True}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.01, "centered": True, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.005, "centered": True, "momentum": 0.9, "alpha": 0.8, "eps": 1e-2}),
    ("Adagrad", {"lr": 0.1}),
    (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.1, "initial_accumulator_value": 0.5},
    ),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.02, "betas": (0.8, 0.95), "momentum_decay": 0.05, "weight_decay": 0.1}),
    ("NAdam", {"lr": 0.02, "decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.05, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "decoupled_weight_decay": True, "weight_decay": 0.1}),
]
SETS = [
    *CASES,
    ("Lion", {"lr": 0.003}),
    ("Lion", {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.2}),
]


def ids(cases):
    return ["-".join([name, *options]) for name, options in cases]


def start(dtype):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(s).astype(dtype) for s in ((4, 3), (3,), (2, 2))]


def batch(step, dtype):
    rng = np.random.default_rng(100 + step)
    return [rng.standard_normal(s).astype(dtype) for s in ((8, 4), (8, 3))]


def loss_of(parameters, x, y, step):
    """Of a linear model; the last parameter has a gradient in two of three steps."""
    weight, bias, sometimes = parameters
    loss = ((x @ weight + bias - y) ** 2).mean()
    return loss if step % 3 == 1 else loss + ((sometimes - 0.5) ** 2).sum()


def train_torch(make, dtype, steps=STEPS):
    parameters = [torch.tensor(p, requires_grad=True) for p in start(dtype)]
    optimizer = make(parameters)
    for step in range(steps):
        optimizer.zero_grad()
        x, y = (torch.tensor(v) for v in batch(step, dtype))
        loss_of(parameters, x, y, step).backward()
        optimizer.step()
    return [p.detach().numpy() for p in parameters]


class Training:
    """The same here, step by step."""

    def __init__(self, make, dtype):
        self.dtype = dtype
        self.parameters = [cg.tensor(p.copy(), requires_grad=True) for p in start(dtype)]
        self.optimizer = make(self.parameters)
        self.recordings = 0
        self.compiled = cg.compile(self.record)

    def record(self, x, y, step):
        self.recordings += 1
        self.optimizer.zero_grad()
        loss = loss_of(self.parameters, x, y, step).realize()
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, steps, compiled=False):
        for step in steps:
            data = [cg.tensor(v) for v in batch(step, self.dtype)]
            # What differs between steps but the data is whether the last parameter takes part.
            (self.compiled if compiled else self.record)(*data, 1 if step % 3 == 1 else 0)
        return [p.numpy() for p in self.parameters]


def assert_close(got, want, tolerance):
    for one, other in zip(got, want, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
