"""What the benchmarks make of their rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path

import torch


def geometric_mean(values: Iterable[float]) -> float:
    """Of positive numbers; 1 if there is none."""
    logarithms = [math.log(v) for v in values]
    return math.exp(sum(logarithms) / max(len(logarithms), 1))


def write_json(path: Path | None, rows: list[dict]) -> None:
    """With the version of PyTorch; nothing if no path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=1))
