"""How the outputs of a graph come from its program: which memory they get and what they share."""

from __future__ import annotations

import time
import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node as FxNode

from .. import _core
from . import fallback
from .fallback import Held
from .lowering import Complex, interleaved
from .metadata import (
    GraphRejected,
    as_pairs,
    contiguous_strides,
    is_writable,
    output_strides,
    storage_key,
)
from .program import (
    CompiledGraph,
    CompiledTemplate,
    Fixed,
    FromFrame,
    FromInput,
    FromProgram,
    View,
)
from .sized_float import SizedFloat
from .threads import thread_limit

if TYPE_CHECKING:
    from .importer import Importer

#: AOTAutograd writes the second for a result that was detached.
DETACHES = (torch.ops.aten.detach.default, torch.ops.aten.alias.default)
#: An output of a program: its node, strides if not row-major, the input that it overwrites or -1.
ProgramOutput = tuple[Any, list[int] | None, int]


def finish(
    importer: Importer, outputs: Sequence[Any], start: float
) -> CompiledGraph | CompiledTemplate:
    """Compiles what an importer recorded; `start` is when it began."""
    wanted = Outputs(importer, outputs)
    plan = [wanted.describe(o) for o in outputs]
    wanted.add_writes()
    imported = time.perf_counter()
    report = importer.report
    program, env = None, importer.env_of_sizes
    if wanted.of_program:
        given = (
            importer.graph,
            wanted.of_program,
            importer.num_placeholders + importer.num_constants + 1,
            importer.externals,
            report.name,
            importer.options.executor,
            importer.any_size,
            thread_limit(),
        )
        if env is None:
            program = _core.Program(*given)
        else:
            specialize = importer.options.specialize == "background"
            program = _core.ProgramTemplate(*given, env, specialize)
            report.specialization = program.specialization
        report.plan = program.report
    report.import_ms = (imported - start) * 1e3
    report.compile_ms = (time.perf_counter() - imported) * 1e3
    rest = (
        importer.num_placeholders,
        importer.constants,
        importer.seed is not None,
        bool(importer.externals),
        report,
        importer.adapted_inputs,
        importer.num_places if importer.has_held else 0,
        [(index, held.place) for index, held in importer.held_writes.items()],
    )
    if env is not None:
        written = {i: importer.strides(importer.placeholders[i]) for i in importer.written}
        compiled = CompiledTemplate(env, written, program, plan, *rest)
    else:
        compiled = CompiledGraph(program, plan, *rest)
    report.compiled = weakref.ref(compiled)
    return compiled


class Outputs:
    """The outputs of one graph, and those of its program that they are made of."""

    def __init__(self, importer: Importer, outputs: Sequence[Any]) -> None:
        self.importer = importer
        self.traced = importer.traced
        self.placeholders = importer.placeholders
        self.of_program: list[ProgramOutput] = []
        self._number_of: dict[FxNode, int] = {}
        self._copies: dict[FxNode, Held] = {}  #: of owners that several outputs share
        self._owners: dict[int, FxNode] = {}  #: for each storage the first node that has it
        for node in importer.module.graph.nodes:
            value = self.traced.get(node)
            if isinstance(value, torch.Tensor):
                self._owners.setdefault(storage_key(value), node)
        self._inputs: dict[int, tuple[int, FxNode]] = {}  #: for each storage the first input
        for index, node in enumerate(self.placeholders):
            value = self.traced.get(node)
            if isinstance(value, torch.Tensor):
                self._inputs.setdefault(storage_key(value), (index, node))
        self._sharing: dict[int, set[FxNode]] = {}  #: for each storage the outputs in it
        for node in outputs:
            value = self.traced.get(node) if isinstance(node, FxNode) else None
            if isinstance(value, torch.Tensor):
                self._sharing.setdefault(storage_key(value), set()).add(node)

    def describe(self, output: Any) -> Any:
        """Where an output comes from."""
        is_node = isinstance(output, FxNode)
        value = self.traced.get(output) if is_node else output
        if not is_node or not isinstance(value, torch.Tensor):
            return self._scalar(output, value)
        if self.importer.is_token(output):
            return Fixed(None)
        if output in self.placeholders:
            return FromInput(self.placeholders.index(output))
        if output.target is torch.ops.aten.copy_.default and output.args[0] in self.placeholders:
            return FromInput(self.placeholders.index(output.args[0]))
        key = storage_key(value)
        if key in self._inputs:
            return self._view_of_input(output, value)
        owner = self._owners[key]
        base = self.traced[owner]
        # A part of memory that nobody else sees is copied; elements that share a place keep it.
        repeats = not is_writable(value.shape, value.stride())
        # Where AOTAutograd merged equal nodes, what owned the storage may be gone.
        if (len(self._sharing[key]) == 1 and not repeats) or not all(
            _fits(self.traced[n], base) for n in self._sharing[key]
        ):
            return self._alone(output, value)
        return self._shared(output, value, owner)

    def _scalar(self, output: Any, value: Any) -> Any:
        if isinstance(output, FxNode) and output in self.placeholders:
            return FromInput(self.placeholders.index(output))
        if isinstance(value, SizedFloat):
            return Fixed(float(value))
        if value is None or isinstance(value, (int, float, bool, _core.SymInt)):
            return Fixed(value)
        raise GraphRejected(f"output {output} is a {type(value).__name__}")

    def _view_of_input(self, output: FxNode, value: torch.Tensor) -> Any:
        found = viewed_input(output, self.traced, self.placeholders)
        index, source = found or self._inputs[storage_key(value)]
        self.importer.layouts.by_name[output.name] = tuple(value.stride())
        # A call may bring the input at another place of its storage.
        return _view_of(FromInput(index), value, self.traced[source])

    def _alone(self, output: FxNode, value: torch.Tensor) -> Any:
        """Memory of its own."""
        made = self.importer.env[output]
        if isinstance(made, Held):
            return self._from_frame(made)
        strides = output_strides(value)
        self.importer.layouts.by_name[output.name] = strides
        from_program = FromProgram(self._materialise(output, strides))
        if value.is_complex():
            return View(from_program, tuple(value.shape), strides, 0, dtype=value.dtype)
        return from_program

    def _shared(self, output: FxNode, value: torch.Tensor, owner: FxNode) -> Any:
        """A view of memory that other outputs see too."""
        base = self.traced[owner]
        others = [self.traced[n] for n in self._sharing[storage_key(value)]]
        strides = tuple(base.stride())
        self.importer.layouts.by_name[output.name] = tuple(value.stride())
        is_dense = not base.numel() or strides == output_strides(base)
        if (
            is_dense
            and not base.storage_offset()
            and not isinstance(self.importer.env[owner], Held)
            and all(fallback.is_memory(t) and t.dtype == base.dtype for t in (base, *others))
        ):
            source = FromProgram(self._materialise(owner, output_strides(base)))
            if output is owner:
                return source
            return _view_of(source, value, base, _is_detached(output, owner))
        if not is_writable(tuple(base.shape), strides):
            raise GraphRejected(f"outputs share the storage of {owner.name}, which overlaps itself")
        if owner not in self._copies:
            self._copies[owner] = self.importer.hold(self.importer.env[owner], base)
        source = self._from_frame(self._copies[owner])
        return _view_of(source, value, base, _is_detached(output, owner))

    def _from_frame(self, held: Held) -> FromFrame:
        self._require(held)
        return FromFrame(held.place)

    def _require(self, held: Held) -> None:
        """Makes the program run the step that a held tensor comes from."""
        if held.token is not None:
            self.of_program.append((held.token, None, -1))

    def _materialise(self, node: FxNode, strides: tuple[int, ...]) -> int:
        """The number of the program's output that has a node's value."""
        if node not in self._number_of:
            self._number_of[node] = len(self.of_program)
            value, made = self.traced[node], self.importer.env[node]
            is_plain = strides == contiguous_strides(tuple(value.shape))
            if isinstance(made, Complex):
                made, strides = interleaved(self.importer.graph, made), as_pairs(strides)
            self.of_program.append((made, None if is_plain else list(strides), -1))
        return self._number_of[node]

    def add_writes(self) -> None:
        """What overwrites inputs, and the steps that are run for their effect."""
        importer = self.importer
        for index, node in importer.written.items():
            target = self.placeholders[index]
            shape, strides = tuple(self.traced[target].shape), importer.strides(target)
            if not is_writable(shape, strides):  # PyTorch decides what that means
                importer.held_writes[index] = importer.hold(node, _row_major(self.traced[target]))
                continue
            given = None if strides == contiguous_strides(shape) else list(strides)
            self.of_program.append((node, given, index))
        for held in importer.held_writes.values():
            self._require(held)
        self.of_program += [(done, None, -1) for done in importer.effects]


def viewed_input(
    node: FxNode, traced: Mapping[FxNode, Any], placeholders: Sequence[FxNode]
) -> tuple[int, FxNode] | None:
    """The input that a node is a view of, found along its first operands: inputs that shared a storage
    when they were traced need not share it in every call.
    """
    key = storage_key(traced[node])
    while node.op == "call_function":
        source = next((a for a in node.args if isinstance(a, FxNode)), None)
        value = traced.get(source) if source is not None else None
        if isinstance(value, (tuple, list)):  # a view that has several results
            source = next((a for a in source.args if isinstance(a, FxNode)), None)
            value = traced.get(source) if source is not None else None
        if not isinstance(value, torch.Tensor) or storage_key(value) != key:
            return None
        node = source
    return (placeholders.index(node), node) if node in placeholders else None


def _row_major(traced: torch.Tensor) -> torch.Tensor:
    return torch.empty(traced.shape, dtype=traced.dtype, device="meta")


def _is_detached(node: FxNode, owner: FxNode) -> bool:
    """Whether a detach lies between a node and the one that it is a view of."""
    while node is not owner and node.op == "call_function":
        if node.target in DETACHES:
            return True
        sources = [a for a in node.args if isinstance(a, FxNode)]
        if not sources:
            return False
        node = sources[0]
    return False


def _view_of(
    source: FromInput | FromFrame | FromProgram,
    value: torch.Tensor,
    base: torch.Tensor,
    is_detached: bool = False,
) -> View:
    """A traced tensor as a view of another one in its storage."""
    start = value.storage_offset() * value.element_size()
    return View(
        source,
        tuple(value.shape),
        tuple(value.stride()),
        start - base.storage_offset() * base.element_size(),
        tuple(base.stride()) if not isinstance(source, FromProgram) else None,
        None if value.dtype == base.dtype else value.dtype,
        value.is_conj(),
        value.is_neg(),
        is_detached,
    )


def _fits(view: torch.Tensor, base: torch.Tensor) -> bool:
    """True when a dense base that starts its storage has every element of a view."""
    last = view.storage_offset() + sum((n - 1) * s for n, s in zip(view.shape, view.stride()))
    end = (base.storage_offset() + base.numel()) * base.element_size()
    return view.numel() == 0 or last * view.element_size() < end
