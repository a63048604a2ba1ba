"""Train a small CNN on handwritten digits without PyTorch, save it, and load it again.

Everything here is CoreGrad's own: modules, loader, optimiser, the compiled step and the checkpoint. The
data are scikit-learn's 1,797 digits of 8x8 pixels.

Examples:
    python examples/native_digits.py
    python examples/native_digits.py --epochs 20 --checkpoint digits.rtch
    python examples/native_digits.py --json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from tqdm import tqdm

import coregrad as cg
from coregrad import nn
from coregrad.data import DataLoader, TensorDataset, random_split


def model() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.25), nn.Linear(32 * 16, 10),
    )  # fmt: skip


def accuracy(net: nn.Module, loader: DataLoader) -> float:
    net.eval()
    with cg.no_grad():
        right = [(net(x).argmax(1) == y).sum().item() for x, y in loader]
    return sum(right) / len(loader.dataset)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--checkpoint", type=Path, help="save the model here, and test what it loads"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()

    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    dataset = TensorDataset(images, digits.target.astype(np.int64))
    train, test = random_split(dataset, [0.8, 0.2], seed=options.seed)
    loader = DataLoader(train, options.batch_size, shuffle=True, seed=options.seed, num_workers=1)
    tests = DataLoader(test, 256)

    cg.manual_seed(options.seed)
    net = model()
    optimizer = cg.optim.Adam(net.parameters(), lr=options.lr)

    @cg.compile
    def step(x: cg.Tensor, y: cg.Tensor) -> cg.Tensor:
        optimizer.zero_grad()
        loss = cg.cross_entropy(net(x), y).realize()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    start = time.perf_counter()
    losses: list[float] = []
    epochs = tqdm(range(options.epochs), unit="epoch", disable=options.json or None)
    for _ in epochs:
        net.train()
        losses = [step(x, y).item() for x, y in loader]
        epochs.set_postfix(loss=f"{np.mean(losses):.4f}")
    seconds = time.perf_counter() - start
    result = {
        "accuracy": accuracy(net, tests),
        "loss": float(np.mean(losses)),
        "seconds": seconds,
        "recordings": len(step.report()),
    }
    if options.checkpoint:
        cg.save({"model": net.state_dict(), "loader": loader.state_dict()}, options.checkpoint)
        again = model()
        again.load_state_dict(cg.load(options.checkpoint)["model"])
        result["accuracy_of_saved"] = accuracy(again, tests)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:18} {value:.4f}" if isinstance(value, float) else f"{name:18} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
