"""A compiled FX graph as a callable in AOTAutograd's boxed convention: a list in, a list out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .. import _core
from .metadata import as_pairs, part_dtype
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
class View:
    """An output over another one's storage."""

    source: FromInput | FromProgram
    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int  #: from the source's first element
    source_stride: tuple[int, ...] | None = None  #: what `stride` and `offset` go by; None: as made
    is_complex: bool = False  #: over a real source, in whose elements `offset` counts


@dataclasses.dataclass(frozen=True)
class Converted:
    """An output of a dtype that programs do not have."""

    source: FromProgram
    dtype: torch.dtype


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An output that is always the same number or None."""

    value: Any


Output = FromInput | FromProgram | View | Converted | Fixed


def same_strides(tensor: torch.Tensor, strides: tuple[int, ...]) -> bool:
    """True when a tensor has these strides wherever they say something."""
    return not tensor.numel() or all(
        n == 1 or s == t for n, s, t in zip(tensor.shape, tensor.stride(), strides)
    )


def draw_seed() -> int:
    """63 bits from PyTorch's default generator, so that torch.manual_seed decides."""
    return int(torch.empty((), dtype=torch.int64).random_())


def _description(output: Output) -> tuple[Any, ...]:
    """The output as `make_entry` takes it."""
    if isinstance(output, FromProgram):
        return ("program", output.index)
    if isinstance(output, FromInput):
        return ("input", output.index)
    if isinstance(output, Fixed):
        return ("fixed", output.value)
    if isinstance(output, Converted):
        convert = functools.partial(torch.Tensor.to, dtype=output.dtype)
        return ("derived", convert, _description(output.source))
    return ("derived", functools.partial(_view, output), _description(output.source))


def _view(output: View, base: torch.Tensor) -> torch.Tensor:
    expected = output.source_stride
    with torch.no_grad():
        if expected is not None and not same_strides(base, expected):
            # Traced with other strides: the right values matter more than the shared storage.
            base = torch.empty_strided(base.shape, expected, dtype=base.dtype).copy_(base)
        offset = base.storage_offset() + output.offset
        if output.is_complex:
            parts = base.as_strided((*output.size, 2), as_pairs(output.stride), offset)
            return torch.view_as_complex(parts)
        return base.as_strided(output.size, output.stride, offset)


def _adapted(tensor: torch.Tensor) -> torch.Tensor:
    """What a program reads for complex numbers, pairs, or for small integers, int32."""
    if tensor.is_complex():
        return torch.view_as_real(tensor.resolve_conj())
    return tensor.to(part_dtype(tensor.dtype), memory_format=torch.contiguous_format)


def _from_one_of(output: Output, places: frozenset[int]) -> bool:
    """Whether an output is one of these inputs, or a view of it."""
    source = output.source if isinstance(output, View) else output
    return isinstance(source, FromInput) and source.index in places


def _adapting(
    entry: Callable[..., tuple[Any, ...]], places: frozenset[int], outputs: Sequence[Output]
) -> Callable[..., tuple[Any, ...]]:
    """An entry whose program reads some inputs as something else; what comes from these is added."""
    added = [(number, o) for number, o in enumerate(outputs) if _from_one_of(o, places)]

    def run(*args: Any) -> tuple[Any, ...]:
        with torch.no_grad():
            given = [_adapted(a) if i in places else a for i, a in enumerate(args)]
        results = entry(*given)
        if not added:
            return results
        results = list(results)
        for number, o in added:
            results[number] = (
                _view(o, args[o.source.index]) if isinstance(o, View) else args[o.index]
            )
        return tuple(results)

    return run


class CompiledGraph:
    """One program and how the graph's outputs come from it."""

    def __init__(
        self,
        program: _core.Program | None,
        outputs: Sequence[Output],
        num_inputs: int,
        constants: Sequence[torch.Tensor | None],
        needs_seed: bool,
        report: GraphReport,
        adapted_inputs: Sequence[int] = (),
    ) -> None:
        self._boxed_call = True  # on the instance: wrappers copy its attributes
        self.program = program
        self.outputs = tuple(outputs)
        self.num_inputs = num_inputs
        self.constants = list(constants)
        self.needs_seed = needs_seed
        self.report = report
        self.adapted_inputs = frozenset(adapted_inputs)
        self.entry = self._make_entry((), None)

    def owning_entry(self, written: Sequence[int]) -> Callable[..., tuple[Any, ...]]:
        """Like `entry`, and keeps this object alive; tells autograd that the `written` inputs change."""
        return self._make_entry(written, self)

    def _make_entry(self, written: Sequence[int], owner: Any) -> Callable[..., tuple[Any, ...]]:
        """A built-in function of the graph's inputs. It is invisible to the garbage collector: what
        `owner` reaches must not reach the function.
        """
        places = self.adapted_inputs
        entry = _core.make_entry(
            self.program,
            self.num_inputs,
            self.constants,
            draw_seed if self.needs_seed else None,
            [_description(Fixed(None) if _from_one_of(o, places) else o) for o in self.outputs],
            list(written),
            torch._C._increment_version if written else None,
            owner,
        )
        return _adapting(entry, places, self.outputs) if places else entry

    def __call__(self, args: list[Any]) -> list[Any]:
        """Runs on the graph's inputs; `args` is emptied."""
        results = self.entry(*args)
        args.clear()
        return list(results)
