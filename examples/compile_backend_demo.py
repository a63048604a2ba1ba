"""torch.compile(backend="coregrad") in a few lines: a matmul with activation, then a training loop."""

import argparse

import torch
from torch import nn

import coregrad.torch


def matmul_and_activation(size: int) -> float:
    """Largest difference between compiled and eager relu(x @ y + b)."""

    def f(x, y, b):
        return torch.relu(x @ y + b)

    x, y, b = torch.randn(size, size), torch.randn(size, size), torch.randn(size)
    return (torch.compile(f, backend="coregrad")(x, y, b) - f(x, y, b)).abs().max().item()


def train(steps: int) -> list[float]:
    """Losses of a small network that learns the parity of the signs of two numbers."""
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
    compiled = torch.compile(model, backend="coregrad")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x = torch.randn(256, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(compiled(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="rows and columns of the matrices")
    parser.add_argument("--steps", type=int, default=100, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    error = matmul_and_activation(args.size)
    print(f"relu(x @ y + b), {args.size}x{args.size}: largest difference from eager {error:.2e}")
    losses = train(args.steps)
    print(f"training: loss {losses[0]:.4f} -> {losses[-1]:.4f} in {len(losses)} steps")
    print(coregrad.torch.report())


if __name__ == "__main__":
    main()
