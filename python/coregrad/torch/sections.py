"""Graphs in which a size depends on data: cut behind the operators that tell such sizes.

`nonzero`, `unique`, `item()` and their like run in PyTorch. What lies between them is compiled as any
graph of symbolic sizes is: there the size that depends on data is one that an input has. A section
computes what the next of these operators read; all else waits for the section that needs it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import sympy
import torch
from torch.fx import Graph, GraphModule
from torch.fx import Node as FxNode
from torch.utils import _pytree as pytree

from .assertions import ASSERTS, assertions_of
from .expressions import SYMBOLIC, Printer, expression_of, function, plain
from .metadata import GraphRejected, storage_key
from .program import Boxed, entry_of
from .retrace import symbols_of
from .sources import Source, places_of, sources
from .spelling import tells_size

Slots = list[Any]


def _tensors(node: FxNode) -> list[torch.Tensor]:
    values = pytree.tree_leaves(node.meta.get("val"))
    return [v for v in values if isinstance(v, torch.Tensor)]


def _is_view(node: FxNode) -> bool:
    """Whether all results of an operator lie in the memory of its first operand."""
    if node.op != "call_function" or not node.all_input_nodes:
        return False
    source = node.all_input_nodes[0]
    if node.target is operator.getitem:
        return _is_view(source)
    if not isinstance(node.target, torch._ops.OpOverload) or node.target._schema.is_mutable:
        return False
    keys = {storage_key(v) for v in _tensors(node)}
    return bool(keys) and keys == {storage_key(v) for v in _tensors(source)}


class _Section:
    """The graph between two cuts."""

    def __init__(self, plan: Plan, level: int, wanted: Sequence[FxNode]) -> None:
        """It makes `wanted`, the last one the graph's results instead."""
        self.outputs = list(wanted)
        self.inputs, members = self._parts(plan, level)
        graph = Graph()
        twin: dict[FxNode, FxNode] = {}
        for node in self.inputs:
            twin[node] = graph.placeholder(node.name)
            twin[node].meta = {"val": node.meta.get("val")}
        for node in members:
            twin[node] = graph.node_copy(node, twin.__getitem__)
        if level == plan.last:
            results = [None if plan.is_scalar(n) else n for n in plan.results]
            graph.output(tuple(twin[n] if isinstance(n, FxNode) else n for n in results))
        else:
            graph.output(tuple(twin[n] for n in wanted))
        self.module = GraphModule(plan.module, graph)

    def _parts(self, plan: Plan, level: int) -> tuple[list[FxNode], list[FxNode]]:
        """What comes from outside and what is computed. A view of something from outside is taken
        again.
        """
        members: set[FxNode] = set()
        inputs: set[FxNode] = set()
        waiting = list(self.outputs)
        if level == plan.last:
            waiting += [n for n in plan.results if isinstance(n, FxNode) and not plan.is_scalar(n)]
            waiting += [n for n in plan.nodes if plan.has_effect(n)]
        while waiting:
            node = waiting.pop()
            if node in members or node in inputs:
                continue
            is_inner = node.op == "get_attr" or plan.level[node] == level or _is_view(node)
            if plan.is_leaf(node) or not is_inner:
                inputs.add(node)
            else:
                members.add(node)
                waiting += node.all_input_nodes
        while missing := symbols_of((*members, *inputs)) - self._told(inputs):
            symbol = min(missing, key=str)
            known = (n for n in plan.nodes if plan.is_leaf(n) and plan.level_of_leaf(n) <= level)
            found = next((n for n in known if symbol in self._told([n])), None)
            if found is None:
                raise GraphRejected(f"nothing tells the size {symbol}")
            inputs.add(found)
        order = plan.position.__getitem__
        return sorted(inputs, key=order), sorted(members, key=order)

    @staticmethod
    def _told(nodes: Iterable[FxNode]) -> set[sympy.Symbol]:
        return set(sources([n.meta.get("val") for n in nodes]))


class Plan:
    """Which section each node of a graph belongs to."""

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.nodes: list[FxNode] = list(module.graph.nodes)
        self.position = {node: i for i, node in enumerate(self.nodes)}
        self.tellers = [n for n in self.nodes if tells_size(n)]
        self.results: Sequence[Any] = self.nodes[-1].args[0]
        self._earliest: dict[FxNode, int] = {}
        for node in self.nodes:
            before = [self.level_of_leaf(n) for n in node.all_input_nodes]
            self._earliest[node] = max(before, default=0)
        self._unchecked = assertions_of(self.nodes)
        self.last = 1 + max(self._earliest[n] for n in self.tellers)
        self.level = self._latest()

    def level_of_leaf(self, node: FxNode) -> int:
        """The first section that can read a node."""
        return self._earliest[node] + tells_size(node)

    def _latest(self) -> dict[FxNode, int]:
        """The section before the first that reads a node, or the operator that does."""
        level: dict[FxNode, int] = {}
        for node in reversed(self.nodes):
            readers = min((level[u] for u in node.users), default=self.last)
            level[node] = self._earliest[node] if tells_size(node) else readers
        for node in self.nodes:
            if node.target is operator.getitem:
                level[node] = level[node.args[0]]
        return level

    def is_leaf(self, node: FxNode) -> bool:
        """Whether no section computes a node."""
        return self.is_scalar(node) or self.is_brought(node)

    def is_scalar(self, node: Any) -> bool:
        """Whether a node is a number of Python's."""
        numbers = (*SYMBOLIC, int, float)
        return isinstance(node, FxNode) and isinstance(node.meta.get("val"), numbers)

    def is_told(self, node: FxNode) -> bool:
        """Whether a node is a result of an operator that tells sizes."""
        if node.target is operator.getitem:
            return self.is_told(node.args[0])
        return tells_size(node)

    def is_brought(self, node: FxNode) -> bool:
        """Whether a call or an operator that tells sizes brings a node."""
        return node.op == "placeholder" or self.is_told(node)

    def assertions(
        self, level: int, told: dict[sympy.Symbol, Any]
    ) -> Iterator[tuple[sympy.Basic, str]]:
        """What has to hold for sizes, of which this section is the first to know them all."""
        ready = [e for e in self._unchecked if e.free_symbols <= told.keys()]
        for expression in ready:
            yield expression, self._unchecked.pop(expression)
        if level == self.last and self._unchecked:
            raise GraphRejected(f"nothing tells whether {next(iter(self._unchecked))}")

    def has_effect(self, node: FxNode) -> bool:
        is_call = node.op == "call_function" and not node.users and node.target not in ASSERTS
        return is_call and node.is_impure()

    def sections(self) -> list[_Section]:
        wanted: dict[int, set[FxNode]] = {level: set() for level in range(self.last + 1)}

        def want(nodes: Iterable[FxNode]) -> None:
            for node in nodes:
                if not self.is_leaf(node):
                    wanted[self.level[node]].add(node)

        made: list[_Section] = []
        for level in range(self.last, -1, -1):
            for teller in self.tellers:
                if self.level[teller] == level:
                    want(teller.all_input_nodes)
            outputs = sorted(wanted[level], key=self.position.__getitem__)
            made.insert(0, _Section(self, level, outputs))
            want(made[0].inputs)
        return made

    def done_after(self, level: int, sections: Sequence[_Section]) -> set[FxNode]:
        """What a section or the operator behind it is the last to read. What tells sizes stays."""
        later = {n for s in sections[level + 1 :] for n in s.inputs}
        later |= {n for t in self.tellers if self.level[t] > level for n in t.all_input_nodes}
        seen = {n for s in sections[: level + 1] for n in (*s.inputs, *s.outputs)}
        return {n for n in seen - later if not self.is_leaf(n)}

    def slots(self, sections: Sequence[_Section]) -> dict[FxNode, int]:
        """A number for everything that a section does not make for itself; inputs are the first."""
        inputs = [n for n in self.nodes if n.op == "placeholder"]
        leaves = [n for n in self.nodes if self.is_leaf(n)]
        nodes = dict.fromkeys((*inputs, *leaves, *(n for s in sections for n in s.outputs)))
        return {node: place for place, node in enumerate(nodes)}


class _Numbers:
    """Numbers that are computed from sizes, and what has to hold for those."""

    def __init__(self, plan: Plan, level: int, place_of: dict[FxNode, int]) -> None:
        """What is known at this section and was not at the one before. Calls bring what `plan` says."""
        leaves = [(n, p) for n, p in place_of.items() if plan.is_brought(n)]
        known: list[Any] = [None] * len(place_of)
        for node, place in leaves:
            if plan.level_of_leaf(node) <= level:
                known[place] = node.meta.get("val")
        told = sources(known)
        numbers = {
            place: expression_of(node.meta["val"])
            for node, place in place_of.items()
            if plan.is_scalar(node)
            and not plan.is_brought(node)
            and plan.level_of_leaf(node) == level
        }
        printer = Printer()
        checks: list[tuple[str, str]] = []
        for expression, message in plan.assertions(level, told):
            checks.append((printer.doprint(expression), message))
        for node, place in leaves:
            is_one = not isinstance(node.meta.get("val"), (tuple, list))
            if is_one and plan.is_told(node) and plan.level_of_leaf(node) == level:
                mistaken = (
                    f"coregrad: {node.name} tells another size than the one it was traced with"
                )
                for value, (kind, _, dim) in places_of(place, node.meta["val"]):
                    source = Source((kind, place, dim))
                    if source not in told.values():
                        expected = printer.doprint(expression_of(value))
                        checks.append((f"{source.read('slots')} == {expected}", mistaken))
        self.is_needed = bool(numbers or checks)
        self._places = tuple(numbers)
        self._messages = tuple(message for _, message in checks)
        self._of = function(["slots"], [source.read("slots") for source in told.values()])
        texts = [*map(printer.doprint, numbers.values()), *(text for text, _ in checks)]
        self._evaluate = function(["slots", *(symbol.name for symbol in told)], texts)

    def __call__(self, slots: Slots) -> None:
        values = self._evaluate(slots, *self._of(slots))
        for holds, message in zip(values[len(self._places) :], self._messages):
            if not holds:
                raise RuntimeError(message)
        for place, value in zip(self._places, values):
            slots[place] = plain(value)


class _Call:
    """A compiled section."""

    def __init__(
        self, entry: Callable[..., Sequence[Any]], inputs: Sequence[int], outputs: Sequence[int]
    ) -> None:
        self._entry = entry
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)

    def __call__(self, slots: Slots) -> None:
        results = self._entry(*[slots[i] for i in self._inputs])
        for place, result in zip(self._outputs, results, strict=True):
            slots[place] = result


class _Teller:
    """An operator that PyTorch runs, because what it tells decides sizes."""

    def __init__(self, node: FxNode, place_of: dict[FxNode, int]) -> None:
        self._target: Any = node.target
        self._leaves, self._spec = pytree.tree_flatten((list(node.args), dict(node.kwargs)))
        self._read = [(i, place_of[n]) for i, n in enumerate(self._leaves) if isinstance(n, FxNode)]
        items = [n for n in node.users if n.target is operator.getitem]
        self._items = [(n.args[1], place_of[n]) for n in items]
        self._place = place_of[node]

    def __call__(self, slots: Slots) -> None:
        leaves = list(self._leaves)
        for i, place in self._read:
            leaves[i] = slots[place]
        args, kwargs = pytree.tree_unflatten(leaves, self._spec)
        # The graph has autocast's casts already.
        with torch._C._AutoDispatchBelowAutograd(), torch.no_grad(), torch._C._DisableAutocast():
            result = self._target(*args, **kwargs)
        slots[self._place] = result
        for number, place in self._items:
            slots[place] = result[number]


class _Drop:
    """Lets go of what no later section reads."""

    def __init__(self, places: Iterable[int]) -> None:
        self._places = tuple(places)

    def __call__(self, slots: Slots) -> None:
        for place in self._places:
            slots[place] = None


class SectionedGraph(Boxed):
    """A compiled graph whose sections run one after the other.

    A value that more than one of them sees has a slot; the graph's inputs have the first ones.
    """

    takes_numbers = True
    gives_views = True  #: an output of one section may be a view of another one's

    def __init__(self, plan: Plan, compile_section: Callable[[GraphModule, int], Any]) -> None:
        """`compile_section` makes the boxed function of a section's graph and number."""
        sections = plan.sections()
        place_of = plan.slots(sections)
        self._steps: list[Callable[[Slots], None]] = []
        for number, section in enumerate(sections):
            checks = _Numbers(plan, number, place_of)
            if checks.is_needed:
                self._steps.append(checks)
            if number == plan.last:
                break
            if section.outputs:
                inputs = [place_of[n] for n in section.inputs]
                outputs = [place_of[n] for n in section.outputs]
                entry = entry_of(compile_section(section.module, number))
                self._steps.append(_Call(entry, inputs, outputs))
            told = [n for n in plan.tellers if plan.level[n] == number]
            self._steps += [_Teller(n, place_of) for n in told]
            self._steps.append(_Drop(place_of[n] for n in plan.done_after(number, sections)))
        self._last = compile_section(sections[-1].module, plan.last)
        self._last_inputs = [place_of[n] for n in sections[-1].inputs]
        self._empty = [None] * (len(place_of) - sum(n.op == "placeholder" for n in plan.nodes))
        #: Outputs that no program makes.
        self._numbers = [(i, place_of[n]) for i, n in enumerate(plan.results) if plan.is_scalar(n)]
        super().__init__(self.owning_entry(()))

    def owning_entry(self, written: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
        """A function of the graph's inputs, which tells autograd that the `written` ones change."""
        steps, empty, inputs, numbers = self._steps, self._empty, self._last_inputs, self._numbers
        if isinstance(self._last, Boxed):
            last = self._last.owning_entry([inputs.index(w) for w in written if w in inputs])
        else:
            last = entry_of(self._last)

        def run(*args: Any) -> tuple[Any, ...]:
            slots = [*args, *empty]
            for step in steps:
                step(slots)
            results = last(*[slots[i] for i in inputs])
            if not numbers:
                return results
            results = list(results)
            for i, place in numbers:
                results[i] = slots[place]
            return tuple(results)

        return run
