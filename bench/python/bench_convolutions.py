"""Convolutions with few channels: eager PyTorch and CoreGrad in turns in this process, medians.

Every direction (forward, both gradients, transposed) in 1 to 3 dimensions, strides 1 and 2, small and
middle-sized images, one thread. A line is marked where CoreGrad is slower.

Examples:
    python bench/python/bench_convolutions.py
    python bench/python/bench_convolutions.py --filter "transposed 2d" --json out/convolutions.json
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from results import geometric_mean, write_json

import coregrad.torch  # noqa: F401 (registers the backend)

CHANNELS = ((1, 1), (1, 16), (16, 1), (2, 16), (16, 2), (3, 32), (32, 3), (4, 64), (64, 4), (3, 3))
SIZES = {1: (256, 8192), 2: (16, 96), 3: (8, 24)}
KERNEL, PADDING = 3, 1
DIRECTIONS = ("forward", "input gradient", "weight gradient", "transposed")
SECONDS = 0.12  # of measuring a case
LEAST_ROUNDS = 15


def make_case(direction: str, rank: int, channels: tuple[int, int], size: int, stride: int):
    """A function and its operands."""
    inputs, outputs = channels
    transposed = direction == "transposed"
    spatial = [size] * rank
    x = torch.randn(2, inputs, *spatial)
    pair = (inputs, outputs) if transposed else (outputs, inputs)
    w = torch.randn(*pair, *[KERNEL] * rank)
    rest = ([stride] * rank, [PADDING] * rank, [1] * rank, transposed)
    extra = [stride - 1 if transposed else 0] * rank

    def forward(x, w):
        return torch.ops.aten.convolution(x, w, None, *rest, extra, 1)

    if direction in ("forward", "transposed"):
        return forward, (x, w)
    mask = [direction == "input gradient", direction == "weight gradient", False]

    def gradient(g, x, w):
        results = torch.ops.aten.convolution_backward(g, x, w, None, *rest, extra, 1, mask)
        return results[0] if mask[0] else results[1]

    return gradient, (torch.randn_like(forward(x, w)), x, w)


def compare(function: Callable, operands: tuple) -> tuple[float, float, float]:
    """Milliseconds of eager and compiled, and the larger of their relative errors' ratio to eager's."""
    torch._dynamo.reset()
    compiled = torch.compile(function, backend="coregrad", dynamic=False)
    exact = function(*(t.double() for t in operands))
    scale = float(exact.abs().max()) or 1.0
    error = float((compiled(*operands).double() - exact).abs().max()) / scale
    eager_error = float((function(*operands).double() - exact).abs().max()) / scale
    times: dict[Callable, list[float]] = {function: [], compiled: []}
    start = time.perf_counter()
    while len(times[function]) < LEAST_ROUNDS or time.perf_counter() - start < SECONDS:
        for contender, taken in times.items():
            begin = time.perf_counter()
            contender(*operands)
            taken.append(1e3 * (time.perf_counter() - begin))
    eager, ours = (statistics.median(t[3:]) for t in times.values())
    return eager, ours, error / max(eager_error, 1e-7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", help="only cases whose name contains this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    rows = []
    with torch.no_grad():
        for direction, rank in itertools.product(DIRECTIONS, SIZES):
            for channels, size, stride in itertools.product(CHANNELS, SIZES[rank], (1, 2)):
                name = f"{direction} {rank}d {channels[0]} to {channels[1]} size {size} stride {stride}"
                if options.filter not in name:
                    continue
                eager, ours, error = compare(*make_case(direction, rank, channels, size, stride))
                ratio = ours / eager
                rows.append({"case": name, "eager_ms": eager, "coregrad_ms": ours, "error": error})
                mark = (" slower" if ratio > 1 else "") + (" WRONG" if error > 20 else "")
                print(
                    f"{name:52s} {eager:9.4f} {ours:9.4f} ms  ratio {ratio:5.2f}{mark}", flush=True
                )
    ratios = [r["coregrad_ms"] / r["eager_ms"] for r in rows]
    if ratios:
        mean = geometric_mean(ratios)
        slower = sum(r > 1 for r in ratios)
        print(f"{len(ratios)} cases: {slower} slower, ratio {mean:.2f} in the geometric mean")
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
