"""Programs on lazy tensors against the same in eager PyTorch, in turns, medians.

Each program runs as it is written (operations are recorded at each call, plans found again) and
through `coregrad.compile` (nothing is recorded after the first call), with new tensors for arguments at
each call. Columns: microseconds of a call, and how many times as fast as eager PyTorch.

Examples:
    python bench/python/bench_tensors.py
    python bench/python/bench_tensors.py --filter train --rounds 30
    python bench/python/bench_tensors.py --json out/bench_tensors.json
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from results import geometric_mean, write_json

import coregrad as cg


@dataclass
class Program:
    name: str
    eager: Callable[[], object]
    function: Callable[..., cg.Tensor]
    arguments: list[np.ndarray]

    def given(self) -> list[cg.Tensor]:
        """Tensors that no call has seen, as a loop over batches has them."""
        return [cg.from_numpy(a) for a in self.arguments]


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(s) / np.sqrt(s[-1])).astype(np.float32) for s in shapes]


def layers(batch: int, widths: list[int]) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    weights = arrays(*[(b, a) for a, b in itertools.pairwise(widths)])
    x, y = arrays((batch, widths[0]), (batch, widths[-1]))
    return weights, x, y


def training(name: str, batch: int, widths: list[int], adam: bool) -> Program:
    weights, x, y = layers(batch, widths)
    theirs = [torch.tensor(w, requires_grad=True) for w in weights]
    ours = [cg.tensor(w.copy(), requires_grad=True) for w in weights]
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    their_optimizer = torch.optim.Adam(theirs, 1e-3) if adam else torch.optim.SGD(theirs, 1e-3)
    our_optimizer = cg.optim.Adam(ours, 1e-3) if adam else cg.optim.SGD(ours, 1e-3)

    def eager() -> torch.Tensor:
        their_optimizer.zero_grad()
        h = tx
        for w in theirs[:-1]:
            h = torch.relu(torch.nn.functional.linear(h, w))
        loss = torch.nn.functional.mse_loss(torch.nn.functional.linear(h, theirs[-1]), ty)
        loss.backward()
        their_optimizer.step()
        return loss

    def step(x: cg.Tensor, y: cg.Tensor) -> cg.Tensor:
        our_optimizer.zero_grad()
        h = x
        for w in ours[:-1]:
            h = cg.relu(cg.linear(h, w))
        loss = cg.mse_loss(cg.linear(h, ours[-1]), y).realize()
        loss.backward()
        our_optimizer.step()
        our_optimizer.zero_grad()
        return loss

    return Program(name, eager, step, [x, y])


def inference(name: str, batch: int, widths: list[int]) -> Program:
    weights, x, _ = layers(batch, widths)
    theirs = [torch.from_numpy(w) for w in weights]
    ours = [cg.tensor(w.copy()) for w in weights]
    tx = torch.from_numpy(x)

    def eager() -> torch.Tensor:
        h = tx
        for w in theirs:
            h = torch.relu(torch.nn.functional.linear(h, w))
        return torch.softmax(h, -1)

    def forward(x: cg.Tensor) -> cg.Tensor:
        h = x
        for w in ours:
            h = cg.relu(cg.linear(h, w))
        return cg.softmax(h, -1)

    return Program(name, eager, forward, [x])


def elementwise(name: str, n: int) -> Program:
    (x,) = arrays((n,))
    tx = torch.from_numpy(x)
    return Program(
        name,
        lambda: torch.tanh(tx * 2 + 1) * tx,
        lambda x: cg.tanh(x * 2.0 + 1.0) * x,
        [x],
    )


def programs() -> list[Program]:
    return [
        elementwise("tanh(2x+1)x of 1,000", 1000),
        elementwise("tanh(2x+1)x of 1,000,000", 1_000_000),
        inference("perceptron 1 row, 3x32", 1, [32, 32, 32, 32]),
        inference("perceptron 32 rows, 4x64", 32, [64] * 5),
        training("train 32 rows, 4x64, SGD", 32, [64] * 5, False),
        training("train 32 rows, 4x64, Adam", 32, [64] * 5, True),
        training("train 128 rows, 784-256-10, Adam", 128, [784, 256, 10], True),
    ]


def measure(program: Program, rounds: int, seconds: float) -> dict:
    compiled = cg.compile(program.function)
    contenders = {
        "eager": program.eager,
        "recorded": lambda: program.function(*program.given()).realize(),
        "compiled": lambda: compiled(*program.given()),
    }
    counts = {}
    for name, call in contenders.items():
        for _ in range(5):
            call()
        start = time.perf_counter()
        call()
        counts[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            times[name].append((time.perf_counter() - start) / counts[name])
    us = {name: statistics.median(t) * 1e6 for name, t in times.items()}
    return {"name": program.name, "us": us, "vs_eager": us["eager"] / us["compiled"]}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--filter", default="", help="only programs whose name contains this")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.05, help="of a round of a contender")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'program':34} {'eager us':>10} {'recorded':>10} {'compiled':>10} {'x eager':>8}")
    rows = []
    for program in programs():
        if options.filter not in program.name:
            continue
        row = measure(program, options.rounds, options.seconds)
        rows.append(row)
        us = row["us"]
        print(
            f"{row['name']:34} {us['eager']:10.1f} {us['recorded']:10.1f} {us['compiled']:10.1f}"
            f" {row['vs_eager']:8.2f}",
            flush=True,
        )
    if rows:
        mean = geometric_mean(r["vs_eager"] for r in rows)
        print(f"{len(rows)} programs: compiled runs {mean:.2f} times as fast as eager")
    write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
