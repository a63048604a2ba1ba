"""Examinations as text, as data and as a page."""

from __future__ import annotations

import collections
import dataclasses
import html
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

import coregrad

from .examination import Examination
from .judge import Measure

NUM_HOTSPOTS = 8


def line(result: Examination) -> str:
    """One model in one line."""
    worst = result.worst
    error = f"{worst[1].error:.1e} ({worst[1].eager_error:.1e})" if worst else ""
    operators = f"{result.num_native}/{result.num_native + result.num_fallback}"
    return (
        f"{result.name:<18} {result.dtype:<8} {result.verdict:<15} {result.num_graphs:>6} "
        f"{operators:>9} {error:>18} {result.seconds:>6.1f}"
    )


HEADER = (
    f"{'model':<18} {'dtype':<8} {'verdict':<15} {'graphs':>6} {'native':>9} "
    f"{'error (eager)':>18} {'s':>6}"
)


@dataclasses.dataclass(frozen=True)
class Unsupported:
    """An operator or a graph that CoreGrad left to PyTorch."""

    what: str
    reason: str
    count: int
    models: tuple[str, ...]


def unsupported(results: Iterable[Examination]) -> list[Unsupported]:
    """What was left to PyTorch and why, the most frequent first."""
    counts: collections.Counter = collections.Counter()
    models: dict[tuple[str, str], list[str]] = {}

    def add(what: str, reason: str, name: str, count: int = 1) -> None:
        counts[what, reason] += count
        names = models.setdefault((what, reason), [])
        if name not in names:
            names.append(name)

    for result in results:
        for operator, reasons in result.fallbacks.items():
            for reason, count in reasons.items():
                add(operator, reason, result.name, count)
        for reason in result.rejected:
            add("whole graph", reason, result.name)
        for reason in result.graph_breaks:
            add("left out by Dynamo", reason, result.name)
    return [Unsupported(*key, count, tuple(models[key])) for key, count in counts.most_common()]


def hotspots(results: Iterable[Examination], most: int = NUM_HOTSPOTS) -> list[dict[str, Any]]:
    """The values nearest to their limits, or farthest beyond."""
    found = [
        {
            "model": result.name,
            "dtype": result.dtype,
            "value": what,
            "error": measured.error,
            "eager_error": measured.eager_error,
            "share": measured.share,
            "wrong": measured.wrong,
        }
        for result in results
        for what, measured in result.measures.items()
        if measured.share > 0
    ]
    return sorted(found, key=lambda row: -row["share"])[:most]


def text(results: Sequence[Examination]) -> str:
    """What follows the lines of the models: failures, what is unsupported, hotspots, the sum."""
    lines: list[str] = []
    for result in results:
        for note in result.notes:
            lines.append(f"note: {result.name}: {note}")
    rows = unsupported(results)
    if rows:
        lines.append("left to PyTorch:")
        lines += [f"  {r.what} x{r.count}: {r.reason} [{', '.join(r.models)}]" for r in rows]
    spots = hotspots(results)
    if spots:
        lines.append("nearest to the limit (100 % is wrong):")
        for s in spots:
            lines.append(
                f"  {_percent(s['share']):>8} {s['model']} {s['dtype']}: {s['value']}: "
                f"error {s['error']:.2e}, eager's {s['eager_error']:.2e}"
            )
    for result in results:
        if result.failed:
            lines += failure(result)
    verdicts = collections.Counter(r.verdict for r in results)
    counts = ", ".join(f"{name} {n}" for name, n in verdicts.most_common())
    lines.append(f"{len(results)} models: {counts}")
    return "\n".join(lines)


def failure(result: Examination) -> list[str]:
    """What went wrong with one model."""
    lines = [f"{result.verdict.upper()}: {result.name} {result.dtype}: {result.detail}"]
    bad = [what for what, measured in result.measures.items() if measured.wrong is not None]
    if len(bad) > 1:
        lines.append(f"  wrong values: {len(bad)} of {len(result.measures)}: {', '.join(bad[:6])}")
    found = result.divergence
    if found is not None:
        lines.append(f"  first diverging operation: {found.place}")
        if found.operator:
            lines.append(f"    {'alone' if found.alone else 'in company'}: {found.message}")
        if found.source:
            lines.append(f"    from {found.source}")
    return lines


def _percent(share: float) -> str:
    return "inf" if math.isinf(share) else f"{100 * share:.1f} %"


def to_dict(results: Sequence[Examination]) -> dict[str, Any]:
    """Everything, ready for JSON."""
    return {
        "coregrad": coregrad.__version__,
        "torch": torch.__version__,
        "models": [_model_dict(result) for result in results],
        "unsupported": [dataclasses.asdict(row) for row in unsupported(results)],
        "hotspots": [
            {k: _number(v) if isinstance(v, float) else v for k, v in row.items()}
            for row in hotspots(results)
        ],
        "failures": sum(result.failed for result in results),
    }


def _model_dict(result: Examination) -> dict[str, Any]:
    facts = dataclasses.asdict(result)
    for measured in facts["measures"].values():
        measured.update({k: _number(v) for k, v in measured.items() if isinstance(v, float)})
    return facts


def _number(value: float) -> float | None:
    """JSON has no infinities."""
    return value if math.isfinite(value) else None


def page(results: Sequence[Examination]) -> str:
    """A page that needs no other file."""
    data = [_cells(result) for result in results]
    spots = [
        [
            *(s[k] for k in ("model", "dtype", "value")),
            _percent(s["share"]),
            *(f"{s[k]:.2e}" for k in ("error", "eager_error")),
        ]
        for s in hotspots(results, 40)
    ]
    left = [[r.what, r.count, r.reason, ", ".join(r.models)] for r in unsupported(results)]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>CoreGrad parity</title>",
        "<style>body{font:15px/1.5 sans-serif;margin:2em;max-width:75em}table{border-collapse:collapse}",
        "td,th{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}",
        ".wrong,.error{background:#fbb}.native{background:#dfd}pre{background:#f4f4f4;padding:1em;",
        "overflow:auto}</style>",
        f"<h1>Parity with PyTorch {torch.__version__}</h1>",
        f"<p>CoreGrad {coregrad.__version__}. Errors are distances from float64; the limit is twice "
        "eager's own error and a small slack.</p><h2>Models</h2>",
        _table(
            ["model", "dtype", "verdict", "graphs", "native", "error", "eager's", "detail", "s"],
            data,
            [r.verdict for r in results],
        ),
        "<h2>Left to PyTorch</h2>",
        _table(["what", "count", "reason", "models"], left),
        "<h2>Nearest to the limit</h2>",
        _table(["model", "dtype", "value", "share of the limit", "error", "eager's"], spots),
    ]
    for result in results:
        if result.failed:
            parts.append(f"<h2>{html.escape(result.name)}</h2>")
            parts.append(f"<pre>{html.escape(chr(10).join(failure(result)))}</pre>")
            if result.divergence is not None and result.divergence.script:
                parts.append(f"<pre>{html.escape(result.divergence.script)}</pre>")
    return "\n".join(parts) + "\n"


def _cells(result: Examination) -> list[Any]:
    """A model's row of the page."""
    worst = result.worst[1] if result.worst else Measure()
    operators = f"{result.num_native}/{result.num_native + result.num_fallback}"
    errors = (f"{worst.error:.2e}", f"{worst.eager_error:.2e}")
    return [
        *(result.name, result.dtype, result.verdict, result.num_graphs, operators, *errors),
        *(result.detail, f"{result.seconds:.1f}"),
    ]


def _table(head: list[str], rows: list[list[Any]], classes: Sequence[str] | None = None) -> str:
    if not rows:
        return "<p>Nothing.</p>"
    cells = ["<tr>" + "".join(f"<th>{h}" for h in head)]
    for number, row in enumerate(rows):
        mark = f' class="{classes[number]}"' if classes else ""
        cells.append(f"<tr{mark}>" + "".join(f"<td>{html.escape(str(v))}" for v in row))
    return "<table>" + "\n".join(cells) + "</table>"
