"""Runs PyTorch's operator database in worker processes and sums up: `make op-db`.

A worker that dies or hangs costs only the entry it was at, which counts as a crash. Exit code 1 if an
entry was wrong, raised an error of ours, or crashed.
"""

import argparse
import collections
import dataclasses
import json
import os
import sys
from pathlib import Path

import worker_pool

BAD = ("wrong", "error", "crash")


def answer(job: dict) -> dict:
    """One entry and dtype, in a worker."""
    import op_db
    import torch

    torch.set_num_threads(1)
    try:
        result = op_db.run_entry(
            job["name"], getattr(torch, job["dtype"]), job["limit"], job["seed"], job["dynamic"]
        )
    except Exception as error:  # the harness itself failed: show it, do not stop
        result = op_db.Result(job["name"], job["dtype"], "error")
        result.detail = f"harness: {type(error).__name__}: {error}"
    return dataclasses.asdict(result)


def summary(results: list[dict]) -> dict:
    """Counts of outcomes, the share of native entries, and what runs in PyTorch why."""
    outcomes = collections.Counter(r["outcome"] for r in results)
    judged = len(results) - outcomes["empty"]
    fallbacks: collections.Counter = collections.Counter()
    rejected: collections.Counter = collections.Counter()
    native: collections.Counter = collections.Counter()
    for r in results:
        for operator, reason in r.get("fallbacks", {}).items():
            fallbacks[f"{operator}: {reason}"] += 1
        rejected.update(r.get("rejected", []))
        native.update(r.get("native", {}))
    return {
        "entries": len(results),
        "outcomes": dict(outcomes),
        "native_share": round(outcomes["native"] / judged, 4) if judged else 0.0,
        "samples": sum(r.get("samples", 0) for r in results),
        "gradients": sum(r.get("gradients", 0) for r in results),
        "fallbacks": dict(fallbacks.most_common()),
        "rejected": dict(rejected.most_common()),
        "native": dict(native.most_common()),
    }


def text(results: list[dict], full: bool = False) -> str:
    """The summary for people; `full` lists every fallback."""
    facts = summary(results)
    lines = [
        f"{facts['entries']} entries (operator or module, dtype), {facts['samples']} samples, "
        f"{facts['gradients']} with gradients; native share {facts['native_share']:.1%}",
        "  " + ", ".join(f"{name} {n}" for name, n in sorted(facts["outcomes"].items())),
    ]
    for kind in ("fallbacks", "rejected"):
        rows = list(facts[kind].items())
        shown = rows if full else rows[:20]
        lines += [f"{kind}: {len(rows)} different"] + [f"  {n:4} {row}" for row, n in shown]
    for r in results:
        if r["outcome"] in BAD:
            lines.append(_fault(r))
    return "\n".join(lines)


def _fault(result: dict) -> str:
    return f"{result['outcome'].upper()}: {result['name']} {result['dtype']}: {result['detail']}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, default=6, help="samples an entry and dtype")
    parser.add_argument("--seed", type=int, default=0, help="moves which samples are taken")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--part", default="0/1", help="i/n: every n-th entry from the i-th")
    parser.add_argument("--match", default="", help="only entries whose name contains this")
    parser.add_argument(
        "--dtypes",
        default="",
        help="only these, with commas between, such as float32,uint8; small integers are judged only so",
    )
    parser.add_argument("--json", type=Path, help="where to write results and summary")
    parser.add_argument("--dynamic", action="store_true", help="with sizes that are symbols")
    parser.add_argument("--full", action="store_true", help="list every fallback")
    options = parser.parse_args()
    if options.worker:
        worker_pool.serve(answer)
        return 0
    import op_db

    entries = op_db.entries()
    part, parts = map(int, options.part.split("/"))
    names = [n for n in entries if options.match in n][part::parts]
    wanted = tuple(getattr(op_db.torch, d) for d in options.dtypes.split(",") if d)
    jobs = [
        {
            "name": name,
            "dtype": str(dtype).removeprefix("torch."),
            "limit": options.limit,
            "seed": options.seed,
            "dynamic": options.dynamic,
        }
        for name in names
        for dtype in op_db.dtypes_of(name, entries[name], wanted or op_db.DTYPES)
    ]

    def fault(result: dict) -> str | None:
        return _fault(result) if result["outcome"] in BAD else None

    results = worker_pool.run_and_show(__file__, jobs, len(jobs), options.jobs, "entry", fault)
    print(text(results, options.full))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"summary": summary(results), "results": results}))
    return 1 if any(r["outcome"] in BAD for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
