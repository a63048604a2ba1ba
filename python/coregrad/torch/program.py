"""A compiled FX graph as a callable in AOTAutograd's boxed convention: a list in, a list out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from .. import _core
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


@dataclasses.dataclass(frozen=True)
class Fixed:
    """An output that is always the same number or None."""

    value: Any


Output = FromInput | FromProgram | View | Fixed


def same_strides(tensor: torch.Tensor, strides: tuple[int, ...]) -> bool:
    """True when a tensor has these strides wherever they say something."""
    return not tensor.numel() or all(
        n == 1 or s == t for n, s, t in zip(tensor.shape, tensor.stride(), strides)
    )


def draw_seed() -> int:
    """63 bits from PyTorch's default generator, so that torch.manual_seed decides."""
    return int(torch.empty((), dtype=torch.int64).random_())


class CompiledGraph:
    """Runs one program and puts the outputs together."""

    def __init__(
        self,
        program: _core.Program | None,
        outputs: Sequence[Output],
        num_inputs: int,
        constants: Sequence[torch.Tensor],
        needs_seed: bool,
        report: GraphReport,
    ) -> None:
        self._boxed_call = True  # on the instance: wrappers copy its attributes
        self.program = program
        self.outputs = tuple(outputs)
        self.num_inputs = num_inputs
        self.constants = list(constants)
        self.needs_seed = needs_seed
        self.report = report
        made = [o for o in self.outputs if isinstance(o, FromProgram)]
        self._is_plain = program is not None and [o.index for o in made] == list(
            range(len(self.outputs))
        )

    def __call__(self, args: list[Any]) -> list[Any]:
        """Runs on the graph's inputs; `args` is emptied."""
        inputs = None if self._is_plain else list(args)
        made: list[torch.Tensor] = []
        if self.program is not None:
            args.extend(self.constants)
            args.append(draw_seed() if self.needs_seed else 0)
            made = self.program(args)
        args.clear()
        if inputs is None:
            return made
        return [self._output(o, inputs, made) for o in self.outputs]

    def _output(self, output: Output, inputs: list[Any], made: list[torch.Tensor]) -> Any:
        if isinstance(output, FromProgram):
            return made[output.index]
        if isinstance(output, FromInput):
            return inputs[output.index]
        if isinstance(output, Fixed):
            return output.value
        base = self._output(output.source, inputs, made)
        expected = output.source_stride
        with torch.no_grad():
            if expected is not None and not same_strides(base, expected):
                # Traced with other strides: the right values matter more than the shared storage.
                base = torch.empty_strided(base.shape, expected, dtype=base.dtype).copy_(base)
            offset = base.storage_offset() + output.offset
            return base.as_strided(output.size, output.stride, offset)
