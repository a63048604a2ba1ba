"""Options of the backend, from `torch.compile(options=...)` and the environment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

FALLBACKS = ("eager", "error")
EXECUTORS = ("plan", "unfused", "interpreter")


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user can choose for one compiled function."""

    fallback: str = "eager"  #: an operator without a lowering: run it in PyTorch, or refuse
    report: bool = False  #: print the report of each graph when it was compiled
    #: For debugging: "unfused" compiles each node alone and optimises nothing, "interpreter" runs the
    #: slow reference.
    executor: str = "plan"

    @staticmethod
    def make(given: Mapping[str, Any] | None) -> Options:
        """Options from a mapping; ValueError names an unknown key or value."""
        executor = os.environ.get("COREGRAD_EXECUTOR", "plan")
        values = {"executor": executor, **(given or {})}
        known = {field.name for field in dataclasses.fields(Options)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"coregrad: unknown option {unknown[0]!r}; known: {sorted(known)}")
        options = Options(**values)
        if options.fallback not in FALLBACKS:
            raise ValueError(
                f"coregrad: fallback must be one of {FALLBACKS}, got {options.fallback!r}"
            )
        if options.executor not in EXECUTORS:
            raise ValueError(
                f"coregrad: executor must be one of {EXECUTORS}, got {options.executor!r}"
            )
        return options
