"""The first operation of a model whose result diverges, and the smallest graph that shows it.

`find` captures the graphs AOTAutograd makes, running them in PyTorch. A graph that gives wrong results
on the captured inputs is searched in three steps:

1. each operation alone, on the values eager computes: names a wrong lowering at once;
2. else prefixes of the graph, by bisection: names an operation that is wrong only in company;
3. what was found is cut down, as long as the result stays wrong, and written as a script.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from ..backend import GraphCompiler
from ..options import Options
from ..parts import cut
from .judge import Measure, Slack
from .script import reproducing_script
from .subgraph import Recorder, judge, twin

MAX_CUTS = 200  # tries to make the graph smaller


@dataclasses.dataclass
class Divergence:
    """Where a model starts to be wrong."""

    place: str  #: a sentence for people
    graph: str = ""  #: forward, backward or inference; empty if no graph is wrong by itself
    node: str = ""  #: name in the graph
    operator: str = ""
    alone: bool = False  #: wrong without the operations around it
    message: str = ""
    source: str = ""  #: the line of the user's model
    num_operations: int = 0  #: in the script
    script: str = ""  #: reproduces it


@dataclasses.dataclass
class _Captured:
    kind: str
    module: GraphModule
    args: list[Any] | None = None  #: of the first call


def find(run: Callable[[Callable[..., Any]], Any], slack: Slack) -> Divergence:
    """The first diverging operation of what `run(backend)` runs through torch.compile."""
    graphs = _capture(run)
    for captured in graphs:
        if captured.args is None:
            continue
        found = _search(captured, slack)
        if found is not None:
            return found
    return Divergence(
        f"none of {len(graphs)} graphs is wrong on the values eager gives it: the difference comes from "
        "a later step, or from what is around the graphs"
    )


def _capture(run: Callable[[Callable[..., Any]], Any]) -> list[_Captured]:
    """The graphs in the order they were called, with the inputs of their first call."""
    from torch._functorch.aot_autograd import aot_module_simplified

    graphs: list[_Captured] = []

    def recorder(kind: str) -> Callable[..., Any]:
        def compile_graph(module: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
            captured = _Captured(kind, module)

            def call(args: list[Any]) -> Any:
                if captured.args is None:
                    captured.args = [twin(a) for a in args]
                    graphs.append(captured)
                results = torch.fx.Interpreter(module).run(*args)
                args.clear()
                return results

            call._boxed_call = True  # type: ignore[attr-defined]
            return call

        return compile_graph

    def backend(module: GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        arguments = GraphCompiler(Options.make(None)).aot_arguments()
        arguments["fw_compiler"] = recorder("forward")
        arguments["bw_compiler"] = recorder("backward")
        arguments["inference_compiler"] = recorder("inference")
        return aot_module_simplified(module, inputs, **arguments)

    torch._dynamo.reset()
    run(backend)
    torch._dynamo.reset()
    return graphs


class _Search:
    """One captured graph and the values eager gives its nodes."""

    def __init__(self, captured: _Captured, slack: Slack) -> None:
        self.kind, self.module, self.slack = captured.kind, captured.module, slack
        assert captured.args is not None
        self.values = Recorder(self.module).values([twin(a) for a in captured.args])
        self.calls = [
            n
            for n in self.module.graph.nodes
            if n.op == "call_function" and n.target is not torch.ops.aten.copy_.default
        ]
        known = set(self.calls)
        output = next(n for n in self.module.graph.nodes if n.op == "output")
        wanted = [n for n in output.args[0] if isinstance(n, FxNode)]
        writes = self.module.graph.find_nodes(
            op="call_function", target=torch.ops.aten.copy_.default
        )
        wanted += [n.args[1] for n in writes]
        self.outputs = list(dict.fromkeys(n for n in wanted if n in known))

    def wrong(self, outputs: Sequence[FxNode], inner: set[FxNode]) -> tuple[FxNode, Measure] | None:
        """The first of the outputs that is wrong when only `inner` is compiled."""
        outputs = [n for n in outputs if n in inner]
        if not outputs:
            return None
        part, inputs = cut(self.module, inner, outputs, self.values)
        measures = iter(judge(part, inputs, self.slack))
        for node in outputs:
            value = self.values[node]
            items = value if isinstance(value, (tuple, list)) else [value]
            for item in items:
                if isinstance(item, torch.Tensor) or not isinstance(value, (tuple, list)):
                    found = next(measures)
                    if found.wrong is not None:
                        return node, found
        return None

    def needed(self, outputs: Sequence[FxNode], inner: set[FxNode]) -> set[FxNode]:
        """The nodes of `inner` that the outputs depend on within it."""
        found: set[FxNode] = set()
        pending = list(outputs)
        while pending:
            node = pending.pop()
            if node in inner and node not in found:
                found.add(node)
                pending += node.all_input_nodes
        return found

    def frontier(self, count: int) -> list[FxNode]:
        """What is left to be read after the first `count` operations."""
        inner = set(self.calls[:count])
        return [
            n
            for n in self.calls[:count]
            if n in self.outputs or any(u not in inner for u in n.users)
        ]

    def prefix_wrong(self, count: int) -> tuple[FxNode, Measure] | None:
        inner = set(self.calls[:count])
        outputs = self.outputs if count == len(self.calls) else self.frontier(count)
        return self.wrong(outputs, self.needed(outputs, inner))


def _search(captured: _Captured, slack: Slack) -> Divergence | None:
    search = _Search(captured, slack)
    whole = search.prefix_wrong(len(search.calls))
    if whole is None:
        return None
    for node in search.calls:
        if _is_comparable(node, search.values[node]):
            found = search.wrong([node], {node})
            if found is not None:
                return _describe(search, found, [node], {node}, alone=True)
    right, wrong, found = 0, len(search.calls), whole
    while wrong - right > 1:
        middle = (right + wrong) // 2
        here = search.prefix_wrong(middle)
        if here is None:
            right = middle
        else:
            wrong, found = middle, here
    inner = set(search.calls[:wrong])
    outputs = search.outputs if wrong == len(search.calls) else search.frontier(wrong)
    single = search.wrong([found[0]], search.needed([found[0]], inner))
    if single is not None:
        outputs, found = [found[0]], single
    inner = search.needed(outputs, inner)
    found, inner = _shrink(search, found, outputs, inner)
    return _describe(search, found, outputs, inner, alone=False)


def _shrink(
    search: _Search, found: tuple[FxNode, Measure], outputs: Sequence[FxNode], inner: set[FxNode]
) -> tuple[tuple[FxNode, Measure], set[FxNode]]:
    """Turns operations into inputs, the latest first, while an output stays wrong."""
    tries = 0
    for node in reversed(search.calls):
        if node not in inner or node in outputs or tries == MAX_CUTS:
            continue
        if isinstance(search.values[node], (tuple, list)):
            continue  # its results are nodes of their own
        tries += 1
        fewer = search.needed(outputs, inner - {node})
        still = search.wrong(outputs, fewer)
        if still is not None:
            found, inner = still, fewer
    return found, inner


def _is_comparable(node: FxNode, value: Any) -> bool:
    """False for tuples' items, and for results that are random or memory as it is found."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False
    if torch.Tag.nondeterministic_seeded in node.target.tags:
        return False
    is_empty = "empty" in node.target._schema.name
    return not is_empty and isinstance(value, (torch.Tensor, tuple, list))


def _describe(
    search: _Search,
    found: tuple[FxNode, Measure],
    outputs: Sequence[FxNode],
    inner: set[FxNode],
    alone: bool,
) -> Divergence:
    node, measured = found
    message = str(measured.wrong)
    operator = str(node.target if isinstance(node.target, torch._ops.OpOverload) else node.args[0])
    part, inputs = cut(search.module, inner, outputs, search.values)
    place = f"{operator} ({node.name} of the {search.kind} graph)"
    if not alone:
        others = [n for n in search.calls if n in inner and n is not node]
        names = ", ".join(
            dict.fromkeys(str(n.target) for n in others if n.target is not node.target)
        )
        place += f", together with {names}" if names else ", in company"
        value = search.values[node]
        if isinstance(value, torch.Tensor) and not value.is_floating_point():
            place += "; it decides by values that may differ by rounding"
    return Divergence(
        place,
        search.kind,
        node.name,
        operator,
        alone,
        message,
        _source(node),
        len(inner),
        reproducing_script(part, inputs, place, message, search.slack),
    )


def _source(node: FxNode) -> str:
    """The user's line that a node comes from, if the trace kept it."""
    trace = node.meta.get("stack_trace")
    lines = [line.strip() for line in trace.strip().splitlines()] if trace else []
    return " ".join(lines[-2:])
