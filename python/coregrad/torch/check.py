"""Smoke test: `python -m coregrad.torch.check` prints what is installed and runs one graph and one
training step, compared with eager. Exit code 0 if all is well.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import entry_points

import torch
from torch import nn

import coregrad
import coregrad.torch
from coregrad.torch.options import Options

TOLERANCE = 1e-5


def _graph_error() -> float:
    def f(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.softmax(torch.relu(x @ y) + 1, 1)

    x, y = torch.randn(8, 16), torch.randn(16, 4)
    return (torch.compile(f, backend="coregrad")(x, y) - f(x, y)).abs().max().item()


def _training_error() -> float:
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
    x, y = torch.randn(5, 8), torch.randint(0, 3, (5,))
    gradients = []
    for call in (model, torch.compile(model, backend="coregrad")):
        model.zero_grad()
        nn.functional.cross_entropy(call(x), y).backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    return max((a - b).abs().max().item() for a, b in zip(*gradients))


def main() -> int:
    names = [e.name for e in entry_points(group="torch_dynamo_backends")]
    print(
        f"coregrad {coregrad.__version__}, torch {torch.__version__}, "
        f"Python {platform.python_version()} on {platform.machine()}"
    )
    print(f"entry points of torch_dynamo_backends: {', '.join(names) or 'none'}")
    print(f"backends: {', '.join(torch._dynamo.list_backends())}")
    print(
        f"lowered ATen overloads: {len(coregrad.torch.lowering.ROWS)}; "
        f"executor: {Options.make(None).executor}; "
        f"CPU capability of torch: {torch.backends.cpu.get_cpu_capability()}"
    )
    torch.manual_seed(0)
    failed = False
    for what, check in (("graph", _graph_error), ("training step", _training_error)):
        error = check()
        good = error <= TOLERANCE
        failed |= not good
        print(f"{what}: largest difference from eager {error:.2e}: {'ok' if good else 'WRONG'}")
    print(coregrad.torch.report())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
