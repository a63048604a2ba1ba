"""Is a tensor the right answer? The judge of all comparisons with PyTorch.

`measure` looks at one tensor and tells how far it is off; `compare` and `compare_all` say only what is
wrong.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from .tolerances import SLACK

#: Whose slack counts: a dtype's row of the table, or absolute and relative slack themselves.
Slack = torch.dtype | tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Measure:
    """How far one result is off."""

    wrong: str | None = None  #: what is wrong with it, for people; None if it is right
    error: float = 0.0  #: largest finite distance from the exact value
    eager_error: float = 0.0  #: the same of eager's own answer
    share: float = 0.0  #: error as a share of what is allowed, at the worst element


def measure(
    got: Any, eager: Any, exact: Any = None, slack: Slack | None = None, sensitivity: float = 0.0
) -> Measure:
    """Judges `got` by eager's answer and the same computed in float64, if there is one.

    Integers and bools must equal eager's. Floats may miss `exact` by twice eager's own largest error
    and the slack of the table; NaN must stand where eager has them, infinities where `exact` or eager
    has them. `slack` takes the place of the dtype's own slack; `sensitivity` is what rounding of the
    inputs alone may do to the value, and counts like an error of eager's.
    """
    if not isinstance(eager, torch.Tensor):
        same = got == eager or (got != got and eager != eager)
        return Measure() if same else _bad(f"{got!r} for {eager!r}")
    if not isinstance(got, torch.Tensor):
        return _bad(f"gave {got!r}, eager {_type(eager)}")
    if got.dtype != eager.dtype or got.shape != eager.shape:
        return _bad(f"gave {_type(got)}, eager {_type(eager)}")
    if eager.layout != torch.strided or not eager.numel():
        return Measure()
    if not isinstance(exact, torch.Tensor) or exact.shape != eager.shape:
        exact = eager
    got, eager, exact = (_plain(v) for v in (got, eager, exact))
    if eager.dtype not in SLACK:
        message = _first(got != eager, got, eager, "differs from eager")
        return Measure() if message is None else _bad(message)
    absolute, relative = (
        slack if isinstance(slack, tuple) else SLACK[eager.dtype if slack is None else slack]
    )
    got, eager, exact = got.double(), eager.double(), exact.double()
    message = _first(got.isnan() != eager.isnan(), got, eager, "NaN in the wrong place")
    if message is not None:
        return _bad(message)
    own = max(_largest((eager - exact).abs()), sensitivity)
    limit = 2 * own + absolute + relative * exact.abs()
    distance = (got - exact).abs()
    equal = (got == exact) | (got == eager) | got.isnan()
    message = _first(~(equal | (distance <= limit)), got, exact, "too far from the exact value")
    if message is not None:
        message += f" (eager's own largest error {own:.3g})"
    share = _largest(torch.where(equal, 0.0, distance / limit))
    return Measure(message, _largest(distance), own, math.inf if message and share <= 1 else share)


def cotangents(roots: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Weights of a random projection of results that are differentiated: the same in each run, and up
    to rounding in each dtype.
    """
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in roots
    ]


def distance(value: Any, exact: Any) -> float:
    """Largest finite distance between two tensors of one shape; 0 for anything else."""
    if not isinstance(value, torch.Tensor) or not isinstance(exact, torch.Tensor):
        return 0.0
    if value.shape != exact.shape or value.layout != torch.strided or not value.numel():
        return 0.0
    return _largest((_plain(value).double() - _plain(exact).double()).abs())


def compare(got: Any, eager: Any, exact: Any = None, slack: Slack | None = None) -> str | None:
    """None if `got` is right, else what is wrong with it; judged as in `measure`."""
    return measure(got, eager, exact, slack).wrong


def compare_all(
    got: Sequence[Any],
    eager: Sequence[Any],
    exact: Sequence[Any] | None = None,
    slack: Slack | None = None,
) -> str | None:
    """The first message of `compare` over two lists, with the place; None if all is right."""
    if len(got) != len(eager):
        return f"gave {len(got)} results, eager {len(eager)}"
    if exact is None or len(exact) != len(eager):
        exact = [None] * len(eager)
    for number, (g, e, x) in enumerate(zip(got, eager, exact)):
        if (g is None) != (e is None):
            return f"[{number}] is {g if g is None else 'a value'}, eager's is the other"
        message = None if e is None else compare(g, e, x, slack)
        if message is not None:
            return f"[{number}] {message}"
    return None


def _bad(message: str) -> Measure:
    return Measure(message, math.inf, 0.0, math.inf)


def _largest(values: torch.Tensor) -> float:
    finite = values[values.isfinite()]
    return finite.max().item() if finite.numel() else 0.0


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    tensor = tensor.detach().resolve_conj().resolve_neg()
    return torch.view_as_real(tensor) if tensor.dtype.is_complex else tensor


def _type(tensor: torch.Tensor) -> str:
    return f"{tensor.dtype}{list(tensor.shape)}"


def _first(wrong: torch.Tensor, got: torch.Tensor, want: torch.Tensor, what: str) -> str | None:
    """A message about the worst wrong element, or None."""
    if not wrong.any():
        return None
    distance = (got.double() - want.double()).abs().nan_to_num(math.inf)
    place = tuple(
        int(i) for i in torch.unravel_index(torch.where(wrong, distance, -1).argmax(), wrong.shape)
    )
    counts = f"{int(wrong.sum())} of {wrong.numel()}"
    return f"{what}: {got[place].item()} for {want[place].item()} at {list(place)}, {counts}"
