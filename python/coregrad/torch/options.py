"""Options of the backend, from `torch.compile(options=...)` and the environment."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

FALLBACKS = ("eager", "error")
SPECIALIZATIONS = ("never", "background", "always")
EXECUTORS = ("plan", "unfused", "interpreter")


@dataclasses.dataclass(frozen=True)
class Options:
    """What a user can choose for one compiled function."""

    fallback: str = "eager"  #: an operator without a lowering: run it in PyTorch, or refuse
    report: bool = False  #: print the report of each graph when it was compiled
    #: Whether a graph of symbolic sizes gets programs for one set of sizes alone: never; in the
    #: background, for those that are met often; or always, for each before it runs.
    specialize: str = "never"
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
        for name, allowed in (
            ("fallback", FALLBACKS),
            ("specialize", SPECIALIZATIONS),
            ("executor", EXECUTORS),
        ):
            if (value := getattr(options, name)) not in allowed:
                raise ValueError(f"coregrad: {name} must be one of {allowed}, got {value!r}")
        return options
