"""A compiled FX graph as a callable in AOTAutograd's boxed convention: a list in, a list out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .. import _core
from .fallback import call_with_frame
from .metadata import storage_key
from .reporting import GraphReport


@dataclasses.dataclass(frozen=True)
class FromInput:
    """An output that is one of the inputs."""

    index: int


@dataclasses.dataclass(frozen=True)
class FromProgram:
    """An output that the program makes."""

    index: int


@dataclasses.dataclass(frozen=True)
class FromFrame:
    """An output that a step held."""

    index: int


@dataclasses.dataclass(frozen=True)
class View:
    """An output over another one's storage."""

    source: FromInput | FromProgram | FromFrame
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int  #: in bytes from the source's first element
    source_stride: tuple[int, ...] | None = None  #: what `stride` and `offset` go by; None: as made
    dtype: torch.dtype | None = None  #: None: the source's
    is_conj: bool = False
    is_neg: bool = False
    is_detached: bool = False  #: no view for autograd, though it shares memory


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An output that is always the same number or None."""

    value: Any


Output = FromInput | FromProgram | FromFrame | View | Fixed


def same_strides(tensor: torch.Tensor, strides: Sequence[int]) -> bool:
    """True when a tensor has these strides wherever they say something."""
    return not tensor.numel() or all(
        n == 1 or s == t for n, s, t in zip(tensor.shape, tensor.stride(), strides)
    )


def draw_seed() -> int:
    """63 bits from PyTorch's default generator, so that torch.manual_seed decides."""
    return int(torch.empty((), dtype=torch.int64).random_())


def _description(output: Output) -> tuple[Any, ...]:
    """The output as an EntryTemplate takes it."""
    if isinstance(output, FromProgram):
        return ("program", output.index)
    if isinstance(output, FromInput):
        return ("input", output.index)
    if isinstance(output, Fixed):
        kind = "size" if isinstance(output.value, _core.SymInt) else "fixed"
        return (kind, output.value)
    sizes = [output.size, output.stride, [output.offset], output.source_stride]
    return ("derived", functools.partial(_view, output), _description(output.source), sizes)


def _view_here(output: View, base: torch.Tensor) -> torch.Tensor:
    """The view whose sizes are numbers."""
    return _view(output, base, output.size, output.stride, (output.offset,), output.source_stride)


def _view(
    output: View,
    base: torch.Tensor,
    size: Sequence[int],
    stride: Sequence[int],
    offset: Sequence[int],
    expected: Sequence[int] | None,
) -> torch.Tensor:
    """An output with the sizes of a call, in place of its own, which may be symbols."""
    with torch.no_grad():
        if expected is not None and not same_strides(base, expected):
            # Traced with other strides: the right values matter more than the shared storage.
            base = torch.empty_strided(base.shape, expected, dtype=base.dtype).copy_(base)
        if base.is_conj():  # memory as it is
            base = base.conj()
        if base.is_neg():
            base = torch._neg_view(base)
        dtype = base.dtype if output.dtype is None else output.dtype
        start = base.storage_offset() * base.element_size() + offset[0]
        if dtype != base.dtype:
            base = _whole_storage(base, dtype)
        first, rest = divmod(start, dtype.itemsize)
        if rest:
            raise RuntimeError(f"coregrad: a view of {dtype} starts between two elements")
        x = base.as_strided(size, stride, first)
        x = x.conj() if output.is_conj else x
        x = torch._neg_view(x) if output.is_neg else x
        return x.detach() if output.is_detached else x


def _whole_storage(base: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """A view of a tensor's memory, from its storage's start to where it ends, as another dtype."""
    count = base.untyped_storage().nbytes() // max(base.element_size(), dtype.itemsize)
    count *= max(1, dtype.itemsize // base.element_size())
    flat = base.as_strided((count,), (1,), 0)
    if base.is_complex() and not dtype.is_complex:
        flat = torch.view_as_real(flat).flatten()
    return flat.view(dtype)


def _adapted(tensor: torch.Tensor) -> torch.Tensor:
    """What a program reads for complex numbers: pairs."""
    return torch.view_as_real(tensor.resolve_conj())


def _source(output: Output) -> Output:
    return output.source if isinstance(output, View) else output


class Around:
    """What a call does around its program where tensors stay outside of it: makes the frame, gives the
    program pairs for complex inputs, and takes outputs from these inputs and from the frame.
    """

    def __init__(
        self,
        outputs: Sequence[Output],
        adapted: Sequence[int],
        num_inputs: int,
        constants: Sequence[torch.Tensor | None],
        num_places: int,
        writes: Sequence[tuple[int, int]],
    ) -> None:
        self.is_needed = num_places > 0
        self.adapted = frozenset(adapted)
        self.added = [(i, o) for i, o in enumerate(outputs) if self.gives(o)]
        self.tail = [*constants, *[None] * (num_places - num_inputs - len(constants))]
        self.writes = tuple(writes)

    def gives(self, output: Output) -> bool:
        """Whether an output does not come from the program's entry."""
        source = _source(output)
        return isinstance(source, FromFrame) or (
            isinstance(source, FromInput) and source.index in self.adapted
        )

    def wrap(self, entry: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        def run(*args: Any) -> tuple[Any, ...]:
            with torch.no_grad():
                given = [_adapted(a) if i in self.adapted else a for i, a in enumerate(args)]
            frame = [*args, *self.tail]
            results = call_with_frame(entry, given, frame)
            if self.writes:
                self._write(args, frame)
            if not self.added:
                return results
            results = list(results)
            for number, o in self.added:
                source = frame[_source(o).index]
                results[number] = _view_here(o, source) if isinstance(o, View) else source
            return tuple(results)

        return run

    def _write(self, args: Sequence[Any], frame: Sequence[Any]) -> None:
        """Overwrites inputs; no new value is read from an input that has been overwritten."""
        with torch.no_grad():
            values = [frame[place] for _, place in self.writes]
            keys = {storage_key(args[index]) for index, _ in self.writes}
            values = [v.clone() if storage_key(v) in keys else v for v in values]
            for (index, _), value in zip(self.writes, values, strict=True):
                args[index].copy_(value)


class _Graph:
    """What a graph was compiled to and how its outputs come from it."""

    def __init__(
        self,
        program: _core.Program | _core.ProgramTemplate | None,
        outputs: Sequence[Output],
        num_inputs: int,
        constants: Sequence[torch.Tensor | None],
        needs_seed: bool,
        has_python_steps: bool,
        report: GraphReport,
        adapted_inputs: Sequence[int] = (),
        num_places: int = 0,
        writes: Sequence[tuple[int, int]] = (),
    ) -> None:
        """`num_places` are those of a call's frame; `writes` has (input, place of its new value)."""
        self.program = program
        self.outputs = tuple(outputs)
        self.num_inputs = num_inputs
        self.constants = list(constants)
        self.needs_seed = needs_seed
        self.has_python_steps = has_python_steps
        self.report = report
        self.around = Around(outputs, adapted_inputs, num_inputs, constants, num_places, writes)

    @property
    def gives_views(self) -> bool:
        """Whether an output may be something that the program did not make itself."""
        return any(isinstance(o, (View, FromFrame)) for o in self.outputs)

    def _entries(self, written: Sequence[int], owner: Any) -> _core.EntryTemplate:
        """What functions of the graph's inputs are made of."""
        return _core.EntryTemplate(
            self.program,
            self.num_inputs,
            self.constants,
            draw_seed if self.needs_seed else None,
            [_description(Fixed(None) if self.around.gives(o) else o) for o in self.outputs],
            list(written),
            torch._C._increment_version if written else None,
            owner,
        )


class Boxed:
    """A function of a graph's inputs in AOTAutograd's convention."""

    takes_numbers = False  #: whether sizes may be among its inputs

    def __init__(self, entry: Callable[..., tuple[Any, ...]]) -> None:
        self._boxed_call = True  # on the instance: wrappers copy its attributes
        self.entry = entry

    def __call__(self, args: list[Any]) -> list[Any]:
        """Runs on the graph's inputs; `args` is emptied."""
        results = self.entry(*args)
        args.clear()
        return list(results)


def entry_of(boxed: Callable[[list[Any]], Any]) -> Callable[..., Sequence[Any]]:
    """A function of a graph's inputs; of a graph that PyTorch runs with the casts that are in it."""
    if isinstance(boxed, Boxed):
        return boxed.entry

    def run(*args: Any) -> Sequence[Any]:
        with torch._C._DisableAutocast():
            return tuple(boxed(list(args)))

    return run


class CompiledGraph(_Graph, Boxed):
    """One program and how the graph's outputs come from it."""

    def __init__(self, *args: Any) -> None:
        _Graph.__init__(self, *args)
        Boxed.__init__(self, self._make_entry((), None))
        #: Whether calls run Python code, as views of outputs and steps in PyTorch do.
        self.enters_python = (
            self.needs_seed
            or self.has_python_steps
            or self.around.is_needed
            or any(isinstance(o, View) for o in self.outputs)
        )

    def owning_entry(self, written: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
        """Like `entry`, and keeps this object alive; tells autograd that the `written` inputs change."""
        return self._make_entry(written, self)

    def _make_entry(self, written: Sequence[int], owner: Any) -> Callable[..., tuple[Any, ...]]:
        """A built-in function of the graph's inputs. It is invisible to the garbage collector: what
        `owner` reaches must not reach the function.
        """
        entry = self._entries(written, owner).bind()
        return self.around.wrap(entry) if self.around.is_needed else entry


def _with_numbers(value: Any, run: Callable[[list[Any]], list[int]]) -> Any:
    """An output with numbers in the place of its symbolic sizes."""
    if isinstance(value, _core.SymInt):
        return run([value])[0]
    if isinstance(value, tuple):
        return tuple(_with_numbers(v, run) for v in value)
    if not dataclasses.is_dataclass(value):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return type(value)(**{name: _with_numbers(v, run) for name, v in fields.items()})


class CompiledTemplate(_Graph):
    """A graph compiled for symbols: gives functions of its inputs for each set of their values."""

    def __init__(
        self, env: _core.ShapeEnv, written_strides: Mapping[int, tuple[Any, ...]], *args: Any
    ) -> None:
        """`written_strides` are those of the inputs that the program overwrites."""
        super().__init__(*args)
        self._args = args
        self.env = env
        self._written = tuple(written_strides)
        self._strides = tuple(_core.SizeProgram(list(s)) for s in written_strides.values())
        self._made: dict[tuple[int, ...], _core.EntryTemplate] = {}
        env.close()
        self.report.sizes_bound, self.report.guards = 0, env.guards

    def admits(self, sizes: Sequence[int], args: Sequence[Any]) -> bool:
        """Whether what was decided holds for a call's sizes and arguments."""
        return self.env.admits(sizes) and all(
            same_strides(args[i], program.run(sizes))
            for i, program in zip(self._written, self._strides)
        )

    def entry_for(
        self, sizes: Sequence[int], written: tuple[int, ...]
    ) -> Callable[..., tuple[Any, ...]]:
        """A function for these sizes, which are admitted, as CompiledGraph.owning_entry."""
        assert self.report.sizes_bound is not None
        self.report.sizes_bound += 1
        if self.around.is_needed:
            return self._bind(sizes).owning_entry(written)
        if written not in self._made:
            self._made[written] = self._entries(written, None)
        return self._made[written].bind(sizes)

    def _bind(self, sizes: Sequence[int]) -> CompiledGraph:
        program, outputs, *rest = self._args
        run = lambda values: _core.SizeProgram(values).run(sizes)  # noqa: E731
        numbers = [_with_numbers(o, run) for o in outputs]
        return CompiledGraph(program.bind(sizes) if program is not None else None, numbers, *rest)
