"""What a call costs when the computation is small: CoreGrad against eager and TorchInductor.

All contenders take turns in this process; the figures are medians in microseconds a call.

Examples:
    python bench/python/bench_overhead.py
    python bench/python/bench_overhead.py --contenders coregrad --filter scale
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

import coregrad.torch  # noqa: F401 (registers the backend)

CONTENDERS = ("eager", "coregrad", "inductor")
CALLS = 100  # timed together
WARM_UP = 3  # rounds


def scale(x: torch.Tensor) -> torch.Tensor:
    return x * 2 + 1


def matmul(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


def mlp() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Linear(64, 64), nn.ReLU())]
    return nn.Sequential(*layers)


def forward_and_backward(f: Callable, *args: torch.Tensor) -> Callable[[], None]:
    gradient = torch.ones_like(f(*args))

    def call() -> None:
        f(*args).backward(gradient)

    return call


def cases(compiled: Callable[[Callable], Callable]) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    x, variable = torch.randn(16), torch.randn(16, requires_grad=True)
    batch, a, b = torch.randn(32, 64), torch.randn(64, 64), torch.randn(64, 64)
    model = mlp()
    f, product, network = compiled(scale), compiled(matmul), compiled(model)
    trained = compiled(copy.deepcopy(model))
    return {
        "scale 16, no_grad": lambda: f(x),
        "scale 16, forward with grad": lambda: f(variable),
        "scale 16, forward + backward": forward_and_backward(f, variable),
        "MLP 4x64 batch 32, no_grad": lambda: network(batch),
        "MLP 4x64 batch 32, forward + backward": forward_and_backward(trained, batch),
        "matmul 64, no_grad": lambda: product(a, b),
    }


def microseconds_a_call(call: Callable[[], object], with_grad: bool) -> float:
    with torch.set_grad_enabled(with_grad):
        start = time.perf_counter_ns()
        for _ in range(CALLS):
            call()
        return (time.perf_counter_ns() - start) / CALLS / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--filter", default="", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    calls = {
        name: cases(
            (lambda f: f)
            if name == "eager"
            else (lambda f, name=name: torch.compile(f, backend=name))
        )
        for name in options.contenders
    }
    print(f"{'us a call':40s}" + "".join(f"{name:>12s}" for name in calls))
    for case in next(iter(calls.values())):
        if options.filter not in case:
            continue
        times: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(WARM_UP + options.rounds):
            for name in calls:
                took = microseconds_a_call(calls[name][case], with_grad="no_grad" not in case)
                if turn >= WARM_UP:
                    times[name].append(took)
        print(f"{case:40s}" + "".join(f"{statistics.median(t):12.2f}" for t in times.values()))


if __name__ == "__main__":
    main()
