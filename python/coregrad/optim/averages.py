"""Averages of parameters over the steps of a training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import _core
from .._core import Tensor
from .optimizer import copied


class ParameterAverages:
    """Averages of parameters, kept apart from them and in float32 for narrow floats.

    With a `decay`, an update moves them by 1 - decay towards the parameters: PyTorch's AveragedModel
    with get_ema_multi_avg_fn(decay). Without one, all updates count alike (stochastic weight
    averaging, Izmailov et al., 2018). The first update takes the parameters as they are. `update()`
    can be a part of a compiled function.

    >>> import coregrad as cg
    >>> w = cg.tensor([0.0], requires_grad=True)
    >>> averages = cg.optim.ParameterAverages([w], decay=0.75)
    >>> for value in (4.0, 8.0):
    ...     w.assign(cg.tensor([value]))
    ...     averages.update()
    >>> with averages.applied():
    ...     w.tolist()
    [5.0]
    >>> w.tolist()
    [8.0]
    """

    def __init__(self, params: Iterable[Tensor], decay: float | None = None) -> None:
        self._core = _core._ParameterAverages(list(params), decay)

    def update(self) -> None:
        """Take the parameters' values into the averages."""
        self._core.update()

    def averages(self) -> list[Tensor]:
        """Give the averages, in the order of the parameters; updates change these tensors."""
        return self._core.averages()

    @property
    def n_averaged(self) -> int:
        """How many updates there were."""
        return self._core.count()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While it is entered, the parameters have the averages' values."""
        before = self._core.apply()
        try:
            yield
        finally:
            self._core.restore(before)

    def state_dict(self) -> dict[str, Any]:
        """Give what load_state_dict() goes on from."""
        return {"n_averaged": self.n_averaged, "averages": self._core.saved()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; raises ShapeError if it is of other parameters."""
        self._core.load([copied(a) for a in state_dict["averages"]], state_dict["n_averaged"])
