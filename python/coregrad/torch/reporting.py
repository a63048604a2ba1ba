"""What happened to each graph: native operators, fallbacks and their reasons, time to compile."""

from __future__ import annotations

import collections
import dataclasses
import json
import threading
from collections.abc import Callable
from typing import Any

from .. import _core


@dataclasses.dataclass
class CallPath:
    """How Dynamo's bytecode reaches the programs of one graph; known when AOTAutograd is done."""

    wrappers: str | None = None  #: why AOTAutograd's wrappers are in between; None if they are not

    def to_text(self) -> str:
        return "direct" if self.wrappers is None else f"through AOTAutograd: {self.wrappers}"


@dataclasses.dataclass
class GraphReport:
    """The facts about one graph that the backend was given."""

    name: str
    native: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    fallbacks: dict[str, list[str]] = dataclasses.field(
        default_factory=dict
    )  #: operator -> reasons
    call_path: CallPath = dataclasses.field(default_factory=CallPath)
    rejected: str | None = None  #: why the whole graph runs in PyTorch, if it does
    import_ms: float = 0.0
    compile_ms: float = 0.0
    plan: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Of a graph that was compiled for symbols: how often a program was made for sizes that had none.
    sizes_bound: int | None = None
    #: And what was decided about its sizes: for others it is compiled again.
    guards: list[str] = dataclasses.field(default_factory=list)
    #: And how many of its programs were made again for their sizes alone, if they are to be.
    specialization: _core.SpecializationStats | None = None
    #: Gives the CompiledGraph while somebody can call it: a report keeps no plan alive.
    compiled: Callable[[], Any] | None = None

    @property
    def num_native(self) -> int:
        return sum(self.native.values())

    @property
    def num_fallback(self) -> int:
        return sum(len(reasons) for reasons in self.fallbacks.values())

    def add_fallback(self, operator: str, reason: str) -> None:
        self.fallbacks.setdefault(operator, []).append(reason)

    def to_dot(self) -> str | None:
        """The optimised graph with its kernels as clusters, in DOT; None without a live program."""
        compiled = self.compiled() if self.compiled is not None else None
        return compiled.program.to_dot() if compiled is not None and compiled.program else None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "native": dict(self.native),
            "num_native": self.num_native,
            "fallbacks": self.fallbacks,
            "num_fallback": self.num_fallback,
            "rejected": self.rejected,
            "call_path": self.call_path.to_text(),
            "import_ms": round(self.import_ms, 3),
            "compile_ms": round(self.compile_ms, 3),
            "plan": self.plan,
            "sizes_bound": self.sizes_bound,
            "guards": self.guards,
            "specialization": self._specialization(),
        }

    def _specialization(self) -> dict[str, Any] | None:
        stats = self.specialization
        if stats is None:
            return None
        names = ("asked", "made", "measured", "kept", "bytes", "speedup")
        return {name: getattr(stats, name) for name in names}

    def to_text(self) -> str:
        if self.rejected:
            return f"{self.name}: runs in PyTorch as a whole: {self.rejected}"
        total = self.num_native + self.num_fallback
        lines = [
            f"{self.name}: {self.num_native} of {total} operators native, "
            f"{self.num_fallback} in PyTorch; import {self.import_ms:.1f} ms, "
            f"compile {self.compile_ms:.1f} ms"
        ]
        if self.plan.get("steps"):
            lines.append(
                f"  {self.plan['steps']} steps, {self.plan['kernels']} kernels "
                f"({self.plan['kernel_cache_hits']} cached), "
                f"{self.plan['temporary_bytes']} temporary bytes"
            )
        if self.sizes_bound is not None:
            lines.append(f"  bound for {self.sizes_bound} sets of sizes")
            lines += [f"  only for {guard}" for guard in self.guards]
        if (stats := self.specialization) is not None:
            lines.append(
                f"  {stats.made} of {stats.asked} that ran often were made for their sizes alone, "
                f"{stats.kept} of {stats.measured} measured stay, {stats.speedup:.2f} times as fast"
            )
        if self.call_path.wrappers is not None:
            lines.append(f"  called {self.call_path.to_text()}")
        for operator, reasons in sorted(self.fallbacks.items()):
            for reason, count in collections.Counter(reasons).items():
                lines.append(f"  {operator} x{count}: {reason}")
        return "\n".join(lines)


MAX_REPORTS = 4096


class Reports:
    """The graphs' reports since the last reset, in order of compilation; of very many the latest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._graphs: collections.deque[GraphReport] = collections.deque(maxlen=MAX_REPORTS)

    def add(self, report: GraphReport) -> None:
        with self._lock:
            self._graphs.append(report)

    def clear(self) -> None:
        with self._lock:
            self._graphs.clear()

    @property
    def graphs(self) -> list[GraphReport]:
        with self._lock:
            return list(self._graphs)

    def to_dict(self) -> dict[str, Any]:
        graphs = self.graphs
        fallbacks: collections.Counter = collections.Counter()
        for graph in graphs:
            for operator, reasons in graph.fallbacks.items():
                fallbacks[operator] += len(reasons)
        return {
            "graphs": [graph.to_dict() for graph in graphs],
            "num_graphs": len(graphs),
            "num_rejected": sum(graph.rejected is not None for graph in graphs),
            "num_native": sum(graph.num_native for graph in graphs),
            "num_fallback": sum(fallbacks.values()),
            "fallbacks": dict(fallbacks),
        }

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        graphs = self.graphs
        return "\n".join(graph.to_text() for graph in graphs) if graphs else "no graph was compiled"


reports = Reports()
