"""CoreGrad against PyTorch eager and TorchInductor, all in this process, interleaved, medians.

Every result is first compared with a float64 run of eager PyTorch; a contender whose error is far above
eager's own is marked wrong. Times are wall-clock medians over rounds in which the contenders take turns.
The column `floor` is torch.compile with a backend that computes nothing: what Dynamo itself costs before
any backend begins (forward only: a backward pass has its own).

Examples:
    python bench/python/bench_torch.py
    python bench/python/bench_torch.py --filter softmax --rounds 15
    python bench/python/bench_torch.py --json out/bench.json --no-inductor
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch._dynamo
import torch.nn.functional as F
from results import write_json
from torch import nn

import coregrad.torch  # noqa: F401 (registers the backend)
from coregrad.torch.parity.models.images import Residual
from coregrad.torch.parity.models.transformers import GptBlock


@dataclass
class Case:
    """One program: `fn(*args)` is timed; with `train` its sum is differentiated too."""

    name: str
    group: str
    fn: Callable
    args: tuple
    train: bool = False
    eager_goal: float = 1.0  # times faster than eager that the project asks for
    inductor_goal: float = 1.0
    modules: list[nn.Module] = field(default_factory=list)
    fullgraph: bool = True  # False where Dynamo breaks the graph for the others


def selected(cases: list[Case], text: str) -> list[Case]:
    """Those whose name or group contains the text."""
    return [c for c in cases if text in c.name or text in c.group]


def elementwise_cases() -> list[Case]:
    x, y, z = (torch.randn(1 << 20) for _ in range(3))
    big = [torch.randn(1 << 24) for _ in range(2)]
    rows = torch.randn(1024, 1024)
    bias = torch.randn(1024)
    goal = {"eager_goal": 3.0, "inductor_goal": 1.2}
    return [
        Case("gelu(x*y+z) 1M", "elementwise", lambda a, b, c: F.gelu(a * b + c), (x, y, z), **goal),
        Case(
            "tanh chain 1M",
            "elementwise",
            lambda a, b, c: torch.tanh(a * b + c) * torch.sigmoid(a - b) + c,
            (x, y, z),
            **goal,
        ),
        Case(
            "10-op arithmetic 1M",
            "elementwise",
            lambda a, b, c: ((a + b) * c - a * 0.5 + b.abs()) * (a - c).clamp(-1, 1) + b * b - a,
            (x, y, z),
            **goal,
        ),
        Case(
            "bias+relu+scale 1024x1024",
            "elementwise",
            lambda a, b: torch.relu(a + b) * 1.5 - 0.25,
            (rows, bias),
            **goal,
        ),
        Case("a*b+a 16M", "elementwise", lambda a, b: a * b + a, tuple(big), inductor_goal=1.2),
    ]


def row_cases() -> list[Case]:
    x = torch.randn(1024, 1024)
    wide = torch.randn(64, 32768)
    weight, bias = torch.randn(1024), torch.randn(1024)
    large = torch.randn(4096, 4096)
    wide_weight, wide_bias = torch.randn(4096), torch.randn(4096)
    return [
        Case("softmax 4096x4096", "rows", lambda a: torch.softmax(a, -1), (large,)),
        Case(
            "layer_norm 4096x4096",
            "rows",
            lambda a, w, b: F.layer_norm(a, (4096,), w, b),
            (large, wide_weight, wide_bias),
        ),
        Case("row sum 4096x4096", "rows", lambda a: a.sum(1), (large,)),
        Case("column sum 4096x4096", "rows", lambda a: a.sum(0), (large,)),
        Case("full sum 4096x4096", "rows", lambda a: a.sum(), (large,)),
        Case("softmax 1024x1024", "rows", lambda a: torch.softmax(a, -1), (x,)),
        Case("softmax 64x32768", "rows", lambda a: torch.softmax(a, -1), (wide,)),
        Case("log_softmax 1024x1024", "rows", lambda a: torch.log_softmax(a, -1), (x,)),
        Case(
            "layer_norm 1024x1024",
            "rows",
            lambda a, w, b: F.layer_norm(a, (1024,), w, b),
            (x, weight, bias),
        ),
        Case(
            "rms_norm 1024x1024", "rows", lambda a, w: F.rms_norm(a, (1024,), w, 1e-6), (x, weight)
        ),
        Case("row sum 1024x1024", "rows", lambda a: a.sum(1), (x,)),
        Case("column sum 1024x1024", "rows", lambda a: a.sum(0), (x,)),
        Case("full sum 1024x1024", "rows", lambda a: a.sum(), (x,)),
    ]


def matmul_cases() -> list[Case]:
    cases = []
    for n in (64, 256, 512, 1024):
        a, b = torch.randn(n, n), torch.randn(n, n)
        cases.append(
            Case(
                f"matmul {n}",
                "matmul",
                lambda a, b: a @ b,
                (a, b),
                eager_goal=0.9,
                inductor_goal=0.9,
            )
        )
    a, w, bias = torch.randn(128, 784), torch.randn(256, 784), torch.randn(256)
    cases.append(
        Case(
            "linear+relu 128x784x256",
            "matmul",
            lambda a, w, b: torch.relu(F.linear(a, w, b)),
            (a, w, bias),
        )
    )
    a, w = torch.randn(32, 768), torch.randn(3072, 768)
    cases.append(
        Case("linear 32x768x3072", "matmul", lambda a, w: F.linear(a, w), (a, w), eager_goal=0.9)
    )
    return cases


def narrow_cases() -> list[Case]:
    """Memory holds bfloat16; the gelu chain moves half the bytes of its float32 twin."""
    x, y, z = (torch.randn(1 << 20).bfloat16() for _ in range(3))
    a, w = torch.randn(256, 768).bfloat16(), torch.randn(3072, 768).bfloat16()
    bias = torch.randn(3072).bfloat16()
    rows = torch.randn(1024, 1024).bfloat16()
    squares = [
        Case(f"{name} matmul {n}", "narrow", lambda a, b: a @ b, (square, square))
        for name, dtype, sizes in (
            ("bf16", torch.bfloat16, (64, 256, 512, 1024)),
            ("f16", torch.float16, (512,)),
        )
        for n in sizes
        for square in (torch.randn(n, n).to(dtype),)
    ]
    trained = [t.clone().requires_grad_() for t in (a, w, bias)]
    heads = [torch.randn(8, 12, 128, 64).bfloat16() for _ in range(2)]
    few, many = torch.randn(4, 768).bfloat16(), torch.randn(32, 768).bfloat16()
    images, kernel = torch.randn(8, 64, 56, 56).bfloat16(), torch.randn(64, 64, 3, 3).bfloat16()
    mlp = nn.Sequential(nn.Linear(784, 1024), nn.GELU(), nn.Linear(1024, 1024), nn.ReLU())

    def autocast_step(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return mlp(x).float().square().mean()

    return [
        Case("bf16 gelu(x*y+z) 1M", "narrow", lambda a, b, c: F.gelu(a * b + c), (x, y, z)),
        Case("bf16 softmax 1024x1024", "narrow", lambda a: torch.softmax(a, -1), (rows,)),
        *squares,
        Case("bf16 linear 256x768x3072", "narrow", lambda a, w, b: F.linear(a, w, b), (a, w, bias)),
        Case("bf16 linear 32x768x3072", "narrow", lambda a, w: F.linear(a, w), (many, w)),
        Case("bf16 linear 4x768x3072", "narrow", lambda a, w: F.linear(a, w), (few, w)),
        Case(
            "bf16 linear+gelu 256x768x3072",
            "narrow",
            lambda a, w, b: F.gelu(F.linear(a, w, b)),
            (a, w, bias),
        ),
        Case(
            "bf16 linear 256x768x3072 train",
            "narrow",
            lambda a, w, b: F.linear(a, w, b),
            tuple(trained),
            train=True,
        ),
        Case("bf16 scores 96x128x64", "narrow", lambda a, b: a @ b.mT, tuple(heads)),
        Case(
            "bf16 MLP autocast step 256",
            "narrow",
            autocast_step,
            (torch.randn(256, 784),),
            train=True,
            modules=[mlp],
        ),
        Case(
            "bf16 conv 3x3 8x64x56x56",
            "narrow",
            lambda x, w: F.conv2d(x, w, padding=1),
            (images, kernel),
        ),
    ]


def conv_cases() -> list[Case]:
    x, w = torch.randn(32, 64, 56, 56), torch.randn(64, 64, 3, 3)
    xg, wg = x[:8].clone().requires_grad_(), w.clone().requires_grad_()
    depthwise = torch.randn(16, 128, 28, 28).requires_grad_()
    depthwise_w = torch.randn(128, 1, 3, 3).requires_grad_()
    strided_w = torch.randn(128, 64, 3, 3).requires_grad_()
    return [
        Case(
            "conv 3x3 32x64x56x56",
            "conv",
            lambda x, w: F.conv2d(x, w, padding=1),
            (x, w),
            eager_goal=0.9,
        ),
        Case(
            "conv 3x3 8x64x56x56 train",
            "conv",
            lambda x, w: F.conv2d(x, w, padding=1),
            (xg, wg),
            train=True,
            eager_goal=0.9,
        ),
        Case(
            "conv 3x3 stride 2 8x64x56x56 train",
            "conv",
            lambda x, w: F.conv2d(x, w, stride=2, padding=1),
            (xg, strided_w),
            train=True,
            eager_goal=0.9,
        ),
        Case(
            "depthwise 3x3 16x128x28x28 train",
            "conv",
            lambda x, w: F.conv2d(x, w, padding=1, groups=128),
            (depthwise, depthwise_w),
            train=True,
            eager_goal=0.9,
        ),
    ]


class DemoCnn(nn.Module):
    """The CNN of examples/mnist_demo.py in its 8x8 form."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.0),
            nn.Flatten(),
            nn.Linear(64 * 16, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.net(x), y)


class Gpt(nn.Module):
    """Token and position embeddings, blocks, a head over the vocabulary; with targets, the loss."""

    def __init__(self, width: int, heads: int, layers: int, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(512, width)
        self.blocks = nn.Sequential(*(GptBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor | None = None) -> torch.Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        logits = self.head(self.norm(self.blocks(x)))
        if targets is None:
            return logits
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def model_cases() -> list[Case]:
    cnn = DemoCnn()
    gpt, wide_gpt = Gpt(256, 4, 4, 1000), Gpt(768, 12, 2, 5000)
    tokens, targets = torch.randint(0, 1000, (2, 4, 128))
    residual, lstm = Residual(64, 64, 1), nn.LSTM(64, 128, batch_first=True)

    def last_output(x: torch.Tensor) -> torch.Tensor:
        return lstm(x)[0][:, -1]

    maps, sequences = torch.randn(8, 64, 28, 28), torch.randn(32, 40, 64)
    mlp = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
    images, labels = torch.rand(64, 1, 8, 8), torch.randint(0, 10, (64,))
    return [
        Case("demo CNN train step", "model", cnn, (images, labels), train=True, modules=[cnn]),
        Case(
            "MLP 784-256-10 train step",
            "model",
            mlp,
            (torch.randn(128, 784),),
            train=True,
            modules=[mlp],
        ),
        Case("MLP 784-256-10 inference", "model", mlp, (torch.randn(128, 784),), modules=[mlp]),
        Case("GPT 4x256, 4x128 tokens", "model", gpt, (tokens,), modules=[gpt]),
        Case(
            "GPT 4x256, 4x128 tokens train",
            "model",
            gpt,
            (tokens, targets),
            train=True,
            modules=[gpt],
        ),
        Case("GPT 2x768, 1x128 tokens", "model", wide_gpt, (tokens[:1],), modules=[wide_gpt]),
        Case("GPT 2x768, one token", "model", wide_gpt, (tokens[:1, :1],), modules=[wide_gpt]),
        Case("residual block 8x64x28x28", "model", residual, (maps,), modules=[residual]),
        Case(
            "residual block 8x64x28x28 train",
            "model",
            residual,
            (maps,),
            train=True,
            modules=[residual],
        ),
        Case(
            "LSTM 64-128, 32x40",
            "model",
            last_output,
            (sequences,),
            modules=[lstm],
            fullgraph=False,
        ),
        Case(
            "LSTM 64-128, 32x40 train",
            "model",
            last_output,
            (sequences,),
            train=True,
            modules=[lstm],
            fullgraph=False,
        ),
    ]


def run_once(case: Case, fn: Callable, args: tuple) -> list[torch.Tensor]:
    """The case's results: outputs, and gradients when it trains."""
    if not case.train:
        with torch.no_grad():
            out = fn(*args)
        return [out]
    leaves = [a for a in args if a.requires_grad] + [
        p for m in case.modules for p in m.parameters()
    ]
    for leaf in leaves:
        leaf.grad = None
    out = fn(*args)
    (out if out.ndim == 0 else out.sum()).backward()
    return [out.detach(), *(leaf.grad for leaf in leaves)]


def errors(case: Case, results: list[torch.Tensor], truth: list[torch.Tensor]) -> float:
    """Largest relative error over the results."""
    worst = 0.0
    for got, want in zip(results, truth, strict=True):
        scale = want.abs().max().clamp_min(1e-30)
        worst = max(worst, ((got.double() - want).abs().max() / scale).item())
    return worst


def truth_of(case: Case) -> list[torch.Tensor]:
    """The case in float64 through eager PyTorch."""

    def wide(t: torch.Tensor) -> torch.Tensor:
        return t.detach().double().requires_grad_(t.requires_grad) if t.is_floating_point() else t

    for module in case.modules:
        module.double()
    results = [r.double() for r in run_once(case, case.fn, tuple(wide(a) for a in case.args))]
    for module in case.modules:
        module.float()
    return results


def median_times(case: Case, contenders: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Seconds per call, contenders taking turns."""
    repeats = {}
    for name, fn in contenders.items():
        run_once(case, fn, case.args)
        start = time.perf_counter()
        run_once(case, fn, case.args)
        repeats[name] = max(1, min(2000, int(0.05 / max(time.perf_counter() - start, 1e-7))))
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, fn in contenders.items():
            # PyTorch's OpenMP threads spin for some milliseconds after their last region, on cores
            # that the next contender needs.
            time.sleep(0.02)
            run_once(case, fn, case.args)
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run_once(case, fn, case.args)
            samples[name].append((time.perf_counter() - start) / repeats[name])
    return {name: statistics.median(s) for name, s in samples.items()}


def floor_of(case: Case) -> Callable:
    """The case through Dynamo and a backend whose graph returns results made beforehand."""

    def nothing(graph: torch.fx.GraphModule, inputs: list) -> Callable:
        with torch.no_grad():
            results = graph(*inputs)
        return lambda *args: results

    return torch.compile(case.fn, backend=nothing, fullgraph=case.fullgraph)


def measure(case: Case, rounds: int, with_inductor: bool) -> dict:
    torch._dynamo.reset()
    truth = truth_of(case)
    contenders: dict[str, Callable] = {"eager": case.fn}
    first_call = {}
    backends = ["coregrad", "inductor"] if with_inductor else ["coregrad"]
    for backend in backends:
        compiled = torch.compile(case.fn, backend=backend, fullgraph=case.fullgraph)
        start = time.perf_counter()
        run_once(case, compiled, case.args)
        first_call[backend] = time.perf_counter() - start
        contenders[backend] = compiled
    error = {
        name: errors(case, run_once(case, fn, case.args), truth) for name, fn in contenders.items()
    }
    limit = max(4 * error["eager"], 1e-5)
    if not case.train:
        contenders["floor"] = floor_of(case)
    times = median_times(case, contenders, rounds)
    return {
        "name": case.name,
        "group": case.group,
        "us": {name: t * 1e6 for name, t in times.items()},
        "error": error,
        "wrong": [name for name, e in error.items() if not e <= limit],
        "first_call_s": first_call,
        "vs_eager": times["eager"] / times["coregrad"],
        "vs_inductor": times["inductor"] / times["coregrad"] if with_inductor else None,
        "goals": {"eager": case.eager_goal, "inductor": case.inductor_goal},
    }


def print_table(rows: list[dict]) -> None:
    header = f"{'case':30} {'eager us':>10} {'inductor':>10} {'coregrad':>10} {'floor':>7}"
    print(header + f" {'x eager':>8} {'x induct':>8} {'first s':>8} {'induct s':>8}  notes")
    for row in rows:
        us, first = row["us"], row["first_call_s"]
        notes = [f"{name} WRONG ({row['error'][name]:.1e})" for name in row["wrong"]]
        if row["vs_eager"] < row["goals"]["eager"]:
            notes.append(f"goal {row['goals']['eager']}x eager")
        if row["vs_inductor"] is not None and row["vs_inductor"] < row["goals"]["inductor"]:
            notes.append(f"goal {row['goals']['inductor']}x inductor")
        inductor = f"{us['inductor']:10.1f}" if "inductor" in us else f"{'-':>10}"
        ratio = f"{row['vs_inductor']:8.2f}" if row["vs_inductor"] is not None else f"{'-':>8}"
        floor = f"{us['floor']:7.1f}" if "floor" in us else f"{'-':>7}"
        cold = f"{first['inductor']:8.2f}" if "inductor" in first else f"{'-':>8}"
        print(
            f"{row['name']:30} {us['eager']:10.1f} {inductor} {us['coregrad']:10.1f} {floor}"
            f" {row['vs_eager']:8.2f} {ratio} {first['coregrad']:8.2f} {cold}  {'; '.join(notes)}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--filter", default="", help="only cases whose name or group contains this")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-inductor", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    # With its default layout optimisation TorchInductor 2.13 gives wrong gradients for small CNNs.
    import torch._inductor.config as inductor_config

    inductor_config.layout_optimization = False
    inductor_config.fx_graph_cache = False
    # What an earlier run compiled stays on disk: first calls are to be cold.
    cold = tempfile.TemporaryDirectory(prefix="bench-inductor-")
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = cold.name
    cases = elementwise_cases() + row_cases() + matmul_cases() + narrow_cases()
    cases += conv_cases() + model_cases()
    rows = []
    for case in selected(cases, options.filter):
        rows.append(measure(case, options.rounds, not options.no_inductor))
        print(f"measured {case.name}", file=sys.stderr, flush=True)
    print_table(rows)
    write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
