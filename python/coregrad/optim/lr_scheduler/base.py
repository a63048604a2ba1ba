"""What schedules share."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any

from ..._core import ValueError
from ..optimizer import Optimizer


def require(holds: bool, schedule: object, rule: str, got: Any) -> None:
    """Raise ValueError with the schedule's name, the rule and what was got unless it holds."""
    if not holds:
        raise ValueError(f"{type(schedule).__name__}: {rule}, got {got}")


def for_each_group(schedule: LRScheduler, name: str, value: Any) -> list[Any]:
    """Give one value for each group of parameters."""
    count = len(schedule.optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * count
    require(len(value) == count, schedule, f"{name} must be one value or {count}", len(value))
    return list(value)


def state_of_function(function: Callable[..., Any] | None) -> dict[str, Any] | None:
    """Give what is saved of a callable: the attributes of an object, nothing of a function."""
    if function is None or isinstance(function, types.FunctionType):
        return None
    return dict(function.__dict__)


class LRScheduler:
    """What schedules share: `last_epoch` counts steps, and each step sets the groups' learning rates.

    A schedule's rates follow from the groups' rates before them where that is possible, so that
    several schedules of one optimizer multiply.
    """

    #: Attributes that are not saved as they are.
    _not_saved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        self._attach(optimizer)
        for number, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(
                    f"{type(self).__name__}: group {number} has no 'initial_lr', which a schedule needs"
                    " that goes on from a last_epoch"
                )
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._initial_step()

    def _attach(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: expected an Optimizer, got {type(optimizer).__name__}"
            )
        self.optimizer = optimizer

    def _initial_step(self) -> None:
        self._is_initial = True
        self.step()
        self._is_initial = False

    def _restart(self) -> None:
        """Begin again, from the rates that the groups had at first."""
        self.last_epoch = 0
        self._set(self.base_lrs)
        self._set(self.get_lr())

    def _set(self, rates: Sequence[float]) -> None:
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self._last_lr = self._rates()

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _factor(self) -> float:
        """Give what this step multiplies the rates with."""
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        """Give the rates of this step."""
        factor = self._factor()
        return [rate * factor for rate in self._rates()]

    def get_last_lr(self) -> list[float]:
        """Give the rates that the last step set, one for each group."""
        return self._last_lr

    def step(self) -> None:
        """Set the rates of the next epoch."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def state_dict(self) -> dict[str, Any]:
        """Give all but the optimizer and functions."""
        return {k: v for k, v in self.__dict__.items() if k not in self._not_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.__dict__.update(state_dict)
