"""Graphs with symbolic sizes: one compilation for all of them.

The trace has every size as an expression over a few symbols. `Sizes` makes one function of all those
expressions: of CoreGrad's own symbols, from which a template of programs is compiled, or of numbers.
`SizedGraph` keeps the templates, and the programs that they gave. What cannot be compiled for symbols is
compiled for the sizes of a call.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import sympy
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from .. import _core
from . import hints
from .assertions import assertions_of, is_only_asserted
from .divisibility import divisors
from .expressions import SYMBOLIC, Printer, expression_of, function, plain
from .metadata import GraphRejected, contiguous_strides, storage_key
from .program import Boxed, CompiledGraph
from .sized_float import SizedFloat
from .sources import sources

#: Bytes of programs that one graph keeps, each for other sizes: those of templates share their code.
MAX_BYTES = 64 << 20
#: Templates that one graph keeps: what was decided for one may not hold for the sizes of the next.
MAX_TEMPLATES = 64

BoxedCall = Callable[[list[Any]], list[Any]]


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """A traced tensor; numbers are places in the tuple of all expressions' values."""

    dtype: torch.dtype
    device: torch.device
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    storage: int  #: equal for tensors that share one
    is_conj: bool
    is_neg: bool

    def end(self, values: Sequence[Any]) -> int:
        """Bytes of storage up to the last element."""
        sizes = [values[n] for n in self.sizes]
        if 0 in sizes:
            return 0
        last = sum((n - 1) * values[s] for n, s in zip(sizes, self.strides))
        return (values[self.offset] + last + 1) * self.dtype.itemsize


class SizedTensor(FakeTensor):
    """A traced tensor whose sizes are expressions; PyTorch's own functions see the hints of these."""

    _sizes: tuple[Any, ...] = ()
    _steps: tuple[Any, ...] = ()
    _start: Any = 0

    @property
    def shape(self) -> Any:
        return self._sizes

    def size(self, dim: int | None = None) -> Any:
        return self._sizes if dim is None else self._sizes[dim]

    def stride(self, dim: int | None = None) -> Any:
        return self._steps if dim is None else self._steps[dim]

    def storage_offset(self) -> Any:
        return self._start

    def numel(self) -> Any:
        return math.prod(self._sizes)

    def is_contiguous(self, memory_format: torch.memory_format = torch.contiguous_format) -> bool:
        assert memory_format == torch.contiguous_format
        return self._steps == contiguous_strides(self._sizes)


class Sizes:
    """The traced values of a graph as functions of the symbols in its sizes.

    GraphRejected if a symbol's value depends on data: no input of the graph tells it.
    """

    def __init__(self, module: GraphModule) -> None:
        self._expressions: dict[sympy.Basic, int] = {}
        self._tensors: list[_Tensor] = []
        self._shape_env: Any = None
        self._values = {
            node: self._describe(node.meta["val"])
            for node in module.graph.nodes
            if "val" in node.meta and not is_only_asserted(node)
        }
        placeholders = module.graph.find_nodes(op="placeholder")
        #: Inputs that the graph overwrites: a program does so with one set of strides.
        self.written = [
            placeholders.index(node.args[0])
            for node in module.graph.find_nodes(
                op="call_function", target=torch.ops.aten.copy_.default
            )
            if node.args[0] in placeholders
        ]
        symbols = sorted(
            {s for e in self._expressions for s in e.free_symbols}, key=lambda s: s.name
        )
        if real := [s.name for s in symbols if not s.is_integer]:
            raise GraphRejected(f"a number of Python's depends on data ({', '.join(real)})")
        known = sources([n.meta.get("val") for n in placeholders])
        missing = [s.name for s in symbols if s not in known]
        if missing:
            raise GraphRejected(f"a size depends on data ({', '.join(missing)})")
        self._divisors = divisors(self._shape_env, symbols) if symbols else {}
        self._symbols = symbols
        names = [s.name + (f"_{k}" if (k := self._divisor(s)) > 1 else "") for s in symbols]
        self._names = names
        quotients = {
            s: sympy.Symbol(name, integer=True, positive=True)
            for s, name in zip(symbols, names)
            if self._divisor(s) > 1
        }
        parts = {s: self._divisor(s) * q for s, q in quotients.items()}
        printer = Printer()
        told = [known[s].text.format(f"told[{i}]") for i, s in enumerate(symbols)]
        #: The symbols' values from what a call has at `places`; of one with a divisor, how often that
        #: is in it.
        self.of: Callable[[Sequence[Any]], tuple[int, ...]] = function(
            ["told"],
            [
                f"quotient({text}, {self._divisor(s)})" if s in parts else text
                for s, text in zip(symbols, told)
            ],
        )
        #: Where a call's arguments tell the symbols, and the strides of what is written.
        self.places = [known[s].place for s in symbols] + [
            ("stride", i, d) for i in self.written for d in range(placeholders[i].meta["val"].ndim)
        ]
        expressions = [e.xreplace(parts) if parts else e for e in self._expressions]
        self._evaluate = function(names, [printer.doprint(e) for e in expressions])
        asserted = assertions_of(module.graph.nodes)
        known_ones = [e for e in asserted if e.free_symbols <= set(symbols)]
        self._messages = [asserted[e] for e in known_ones]
        facts = [e.xreplace(parts) for e in known_ones]
        self._holds = function(names, [printer.doprint(e) for e in facts])
        self._hints = hints.choose(
            [quotients.get(s, s) for s in symbols],
            facts,
            [e.xreplace(parts) for e in self._equations()],
            {quotients.get(s, s): n // self._divisor(s) for s, n in self._traced().items()},
        )

    def _equations(self) -> list[sympy.Eq]:
        """What PyTorch guards sizes to be equal to."""
        if not self._symbols:
            return []
        symbols = set(self._symbols)
        guards = (self._shape_env.replace(guard.expr) for guard in self._shape_env.guards)
        return [g for g in guards if isinstance(g, sympy.Eq) and g.free_symbols <= symbols]

    def _traced(self) -> dict[sympy.Symbol, int]:
        """The values in the traced call, of the symbols that no data tells."""
        values = self._shape_env.backed_var_to_val if self._symbols else {}
        return {s: int(values[s]) for s in self._symbols if s in values}

    def check(self, sizes: Sequence[int]) -> None:
        """RuntimeError if the graph asserts something that does not hold for these sizes."""
        for holds, message in zip(self._holds(*sizes), self._messages, strict=True):
            if not holds:
                raise RuntimeError(message)

    @property
    def are_fixed(self) -> bool:
        """True where tracing settled every symbol: the graph has one set of sizes."""
        return not self._names

    def text(self, sizes: Sequence[int]) -> str:
        return ", ".join(f"{name}={n}" for name, n in zip(self._names, sizes, strict=True))

    def symbols(self, near: Sequence[int] | None = None) -> tuple[_core.ShapeEnv, list[Any]]:
        """A new environment with the graph's symbols, whose hints are numbers of their own, or `near`
        these.
        """
        env = _core.ShapeEnv()
        symbols = []
        for number, symbol in enumerate(self._symbols):
            low, high = self._bounds(symbol)
            hint = self._hints[number] if near is None else near[number]
            name = self._names[number]
            symbols.append(env.symbol(name, low, high, min(max(hint, low), high)))
        return env, symbols

    def are_within_bounds(self, sizes: Sequence[int]) -> bool:
        """Whether PyTorch traced for such sizes: a batch of one may be one that it did not trace for."""
        bounds = map(self._bounds, self._symbols)
        return all(low <= n <= high for n, (low, high) in zip(sizes, bounds, strict=True))

    def _divisor(self, symbol: sympy.Symbol) -> int:
        return self._divisors.get(symbol, 1)

    def _bounds(self, symbol: sympy.Symbol) -> tuple[int, int]:
        bounds = self._shape_env.var_to_range.get(symbol) if self._shape_env is not None else None
        if bounds is None:
            return 0, _core.UNBOUNDED
        low, high, divisor = bounds.lower, bounds.upper, self._divisor(symbol)
        return (
            -(-int(low) // divisor) if low.is_Integer else -_core.UNBOUNDED,
            min(int(high) // divisor, _core.UNBOUNDED) if high.is_Integer else _core.UNBOUNDED,
        )

    def traced(self, sizes: Sequence[Any]) -> dict[FxNode, Any]:
        """Every node's value for these sizes, numbers or symbols; tensors are fake ones, made without
        running anything.
        """
        expressions = [plain(v) for v in self._evaluate(*sizes)]
        is_sized = any(isinstance(n, _core.SymInt) for n in sizes)
        values = [_hint(v) for v in expressions] if is_sized else expressions
        mode = FakeTensorMode(static_shapes=True)
        # The traced size of a storage may depend on a base that the call does not show.
        ends: dict[int, int] = {}
        for what in self._tensors:
            ends[what.storage] = max(ends.get(what.storage, 0), what.end(values))
        storages = {k: torch.UntypedStorage(n, device="meta") for k, n in ends.items()}

        def build(what: Any) -> Any:
            if isinstance(what, _Tensor):
                made = self._tensor(mode, storages, what, values, is_sized)
                if isinstance(made, SizedTensor):
                    made._sizes = tuple(expressions[n] for n in what.sizes)
                    made._steps = tuple(expressions[n] for n in what.strides)
                    made._start = expressions[what.offset]
                return made
            if isinstance(what, _Number):
                return expressions[what.place]
            if isinstance(what, (tuple, list)):
                return type(what)(build(w) for w in what)
            return what

        with torch.no_grad():
            return {node: build(what) for node, what in self._values.items()}

    @staticmethod
    def _tensor(
        mode: FakeTensorMode,
        storages: dict[int, torch.UntypedStorage],
        what: _Tensor,
        values: Sequence[Any],
        is_sized: bool,
    ) -> torch.Tensor:
        memory = torch.empty(0, dtype=what.dtype, device="meta").set_(
            storages[what.storage],
            values[what.offset],
            [values[n] for n in what.sizes],
            [values[n] for n in what.strides],
        )
        made = (SizedTensor if is_sized else FakeTensor)(mode, memory, what.device)
        torch._C._set_conj(made, what.is_conj)
        torch._C._set_neg(made, what.is_neg)
        return made

    def _describe(self, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return type(value)(self._describe(v) for v in value)
        if isinstance(value, SYMBOLIC):
            return _Number(self._place(value))
        if not isinstance(value, torch.Tensor):
            return value
        if value.layout != torch.strided:
            return value  # held: nobody asks for its sizes
        tensor = _Tensor(
            value.dtype,
            value.device,
            tuple(self._place(n) for n in value.shape),
            tuple(self._place(n) for n in value.stride()),
            self._place(value.storage_offset()),
            storage_key(value),
            value.is_conj(),
            value.is_neg(),
        )
        self._tensors.append(tensor)
        return tensor

    def _place(self, value: Any) -> int:
        if isinstance(value, SYMBOLIC):
            self._shape_env = value.node.shape_env
        return self._expressions.setdefault(expression_of(value), len(self._expressions))


def _hint(value: Any) -> Any:
    return value.hint if isinstance(value, (_core.SymInt, SizedFloat)) else value


@dataclasses.dataclass(frozen=True)
class _Number:
    """A traced size or number."""

    place: int


class Template(Protocol):
    """A graph compiled for symbols."""

    def admits(self, sizes: Sequence[int], args: Sequence[Any]) -> bool: ...

    @property
    def gives_views(self) -> bool: ...

    def entry_for(
        self, sizes: Sequence[int], written: tuple[int, ...]
    ) -> Callable[..., tuple[Any, ...]]: ...


class SizedGraph(Boxed):
    """A compiled graph of symbolic sizes: finds the program for the sizes of each call."""

    takes_numbers = True

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        super().__init__(self.owning_entry(()))

    def owning_entry(self, written: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
        """A built-in function of the graph's inputs, which tells autograd that the `written` ones
        change.
        """
        programs = self._programs
        return _core.make_sized_entry(
            programs.sizes.places,
            torch._dynamo.disable(functools.partial(programs.entry_for, tuple(written))),
            MAX_BYTES,
        )

    @property
    def gives_views(self) -> bool:
        """Whether some program so far has an output that it did not make itself."""
        return self._programs.give_views


class Programs:
    """What a graph was compiled to. An entry holds it, which the garbage collector does not see: it
    must not hold an entry.
    """

    def __init__(
        self,
        sizes: Sizes,
        compile_template: Callable[[Sequence[int], list[Any], bool], Template | None],
        compile_for: Callable[[Sequence[int], list[Any]], BoxedCall],
    ) -> None:
        """`compile_template` gets sizes, arguments, and whether hints are to be near these sizes;
        `compile_for` makes what is for these sizes only.
        """
        self.sizes = sizes
        self.give_views = False
        self._compile_template = compile_template
        self._compile_for = compile_for
        self._templates: list[Template] = []  #: the one used last is the first
        self._has_general = False  #: a template for hints of its own was tried
        self._lock = threading.Lock()

    def entry_for(
        self, written: tuple[int, ...], told: Sequence[Any], *args: Any
    ) -> Callable[..., tuple[Any, ...]]:
        """A function for arguments that tell such sizes."""
        sizes = self.sizes.of(told)
        self.sizes.check(sizes)
        with self._lock:
            template = self._template(sizes, list(args))
            if template is not None:
                self.give_views |= template.gives_views
                return template.entry_for(sizes, written)
            made = self._compile_for(sizes, list(args))
        if not isinstance(made, CompiledGraph):
            return lambda *args: tuple(made(list(args)))
        self.give_views |= made.gives_views
        return made.owning_entry(written)

    def _template(self, sizes: Sequence[int], args: list[Any]) -> Template | None:
        """One that is for these sizes; None if none can be made."""
        for template in self._templates:
            if template.admits(sizes, args):
                self._templates.remove(template)
                self._templates.insert(0, template)
                return template
        for is_near in (False, True):
            if not is_near and self._has_general:
                continue
            self._has_general = True
            template = self._compile_template(sizes, args, is_near)
            if template is None:
                continue
            # The general one may be for later sizes, if not for these.
            self._templates.insert(0, template)
            del self._templates[MAX_TEMPLATES:]
            if template.admits(sizes, args):
                return template
        return None
