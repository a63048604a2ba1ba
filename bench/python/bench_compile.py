"""What compiling a first program takes: for symbolic sizes against for the sizes of its arguments.

Each compilation has a process of its own, so nothing is shared; they take turns, medians. `ms` is
what CoreGrad takes (importing the graphs and compiling them, forward and backward); `first call` is
all that a user waits for, most of which is PyTorch's tracing.

Examples:
    python bench/python/bench_compile.py
    python bench/python/bench_compile.py --filter GPT --rounds 7 --json out/bench_compile.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import bench_torch
import torch
from results import geometric_mean, write_json
from torch import nn

import coregrad.torch


def encoder_case(layers: int) -> bench_torch.Case:
    layer = nn.TransformerEncoderLayer(256, 4, 1024, dropout=0.0, batch_first=True)
    model = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
    return bench_torch.Case(
        f"encoder, {layers} layers, train",
        "model",
        model,
        (torch.randn(4, 128, 256),),
        train=True,
        modules=[model],
    )


def cases() -> list[bench_torch.Case]:
    return [
        *bench_torch.conv_cases(),
        *bench_torch.model_cases(),
        encoder_case(1),
        encoder_case(4),
    ]


def compile_once(name: str, dynamic: bool) -> dict[str, float]:
    """In this process."""
    (case,) = [c for c in cases() if c.name == name]
    start = time.perf_counter()
    function = torch.compile(case.fn, backend="coregrad", dynamic=dynamic, fullgraph=case.fullgraph)
    bench_torch.run_once(case, function, case.args)
    first_call = time.perf_counter() - start
    graphs = coregrad.torch.report().graphs
    return {"ms": sum(g.import_ms + g.compile_ms for g in graphs), "first_call_s": first_call}


def measure(name: str, rounds: int) -> dict:
    """Medians over processes, fixed sizes and symbols in turns."""
    runs: dict[str, list[dict[str, float]]] = {"fixed": [], "symbols": []}
    for _ in range(rounds):
        for sizes, results in runs.items():
            command = [sys.executable, __file__, "--one", name, "--sizes", sizes]
            results.append(json.loads(subprocess.check_output(command)))
    row: dict = {"name": name}
    for sizes, results in runs.items():
        row[sizes] = {key: statistics.median(r[key] for r in results) for key in results[0]}
    row["ratio"] = row["symbols"]["ms"] / row["fixed"]["ms"]
    return row


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--filter", default="", help="only cases whose name or group contains this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what each process is asked for
    parser.add_argument("--sizes", choices=("fixed", "symbols"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(2)
    if options.one:
        print(json.dumps(compile_once(options.one, options.sizes == "symbols")))
        return 0
    print(
        f"{'case':36} {'fixed ms':>9} {'symbols ms':>11} {'ratio':>6} {'first call s':>13} {'':>7}"
    )
    rows = []
    for case in bench_torch.selected(cases(), options.filter):
        row = measure(case.name, options.rounds)
        rows.append(row)
        fixed, symbols = row["fixed"], row["symbols"]
        print(
            f"{row['name']:36} {fixed['ms']:9.1f} {symbols['ms']:11.1f} {row['ratio']:6.2f}"
            f" {fixed['first_call_s']:13.2f} {symbols['first_call_s']:7.2f}",
            flush=True,
        )
    if rows:
        mean = geometric_mean(r["ratio"] for r in rows)
        print(
            f"{len(rows)} cases: compiling for symbols takes {mean:.2f} times as long as for fixed sizes"
            f" (geometric mean), at most {max(r['ratio'] for r in rows):.2f}"
        )
    write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
