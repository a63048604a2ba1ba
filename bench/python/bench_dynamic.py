"""Programs whose sizes are symbols against the same programs compiled for their sizes.

The cases are those of bench_torch.py, compiled with dynamic=True and with dynamic=False, in one process,
in turns, medians; eager PyTorch beside them. The second column `symbols` is the speed of the one
compilation for all sizes as a part of that of one for these sizes; `times` how many graphs compiled.

Examples:
    python bench/python/bench_dynamic.py
    python bench/python/bench_dynamic.py --filter norm --rounds 15
    python bench/python/bench_dynamic.py --json out/bench_dynamic.json
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bench_torch
import torch
from bench_torch import Case
from results import geometric_mean, write_json

import coregrad.torch


def cases() -> list[Case]:
    return (
        bench_torch.elementwise_cases()
        + bench_torch.row_cases()
        + bench_torch.matmul_cases()
        + bench_torch.narrow_cases()
        + bench_torch.conv_cases()
        + bench_torch.model_cases()
    )


def compiled(case: Case, dynamic: bool) -> tuple[Callable, float, int]:
    """The compiled function, the milliseconds that our compiler took, and how often it was asked."""
    known = len(coregrad.torch.report().graphs)
    function = torch.compile(case.fn, backend="coregrad", dynamic=dynamic, fullgraph=case.fullgraph)
    bench_torch.run_once(case, function, case.args)
    made = coregrad.torch.report().graphs[known:]
    return function, sum(g.import_ms + g.compile_ms for g in made), len(made)


def measure(case: Case, rounds: int) -> dict:
    torch._dynamo.reset()
    fixed, fixed_ms, _ = compiled(case, False)
    torch._dynamo.reset()
    symbols, symbols_ms, compilations = compiled(case, True)
    contenders = {"eager": case.fn, "fixed": fixed, "symbols": symbols}
    times = bench_torch.median_times(case, contenders, rounds)
    return {
        "name": case.name,
        "group": case.group,
        "us": {name: t * 1e6 for name, t in times.items()},
        "compile_ms": {"fixed": fixed_ms, "symbols": symbols_ms},
        "compilations": compilations,
        "symbols": times["fixed"] / times["symbols"],
        "vs_eager": times["eager"] / times["symbols"],
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--filter", default="", help="only cases whose name or group contains this")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    header = (
        f"{'case':30} {'eager us':>10} {'fixed':>10} {'symbols':>10} {'symbols':>8} {'x eager':>8}"
    )
    print(header + f" {'fixed ms':>9} {'symb. ms':>9} {'times':>6}")
    rows = []
    start = time.perf_counter()
    for case in bench_torch.selected(cases(), options.filter):
        row = measure(case, options.rounds)
        rows.append(row)
        us, ms = row["us"], row["compile_ms"]
        print(
            f"{row['name']:30} {us['eager']:10.1f} {us['fixed']:10.1f} {us['symbols']:10.1f}"
            f" {row['symbols']:8.2f} {row['vs_eager']:8.2f} {ms['fixed']:9.1f} {ms['symbols']:9.1f}"
            f" {row['compilations']:6}",
            flush=True,
        )
    if rows:
        ratio = geometric_mean([r["symbols"] for r in rows])
        cost = geometric_mean([r["compile_ms"]["symbols"] / r["compile_ms"]["fixed"] for r in rows])
        print(
            f"{len(rows)} cases in {time.perf_counter() - start:.0f} s: symbols run at {ratio:.2f} of"
            f" the speed of fixed sizes (geometric mean), worst {min(r['symbols'] for r in rows):.2f};"
            f" compiling takes {cost:.2f} times as long"
        )
    write_json(options.json, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
