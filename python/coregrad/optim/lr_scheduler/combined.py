"""Several schedules of one optimizer."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, require
from .plateau import ReduceLROnPlateau


class _Combined(LRScheduler):
    """Several schedules of one optimizer."""

    _not_saved = ("optimizer", "_schedulers")

    def _combine(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None) -> None:
        require(len(schedulers) > 0, self, "there must be at least one schedule", "none")
        self._schedulers = list(schedulers)
        self._attach(optimizer or schedulers[0].optimizer)
        for s in schedulers:
            require(
                not isinstance(s, ReduceLROnPlateau),
                self,
                "each schedule's step() must need no value",
                s,
            )
            require(s.optimizer is self.optimizer, self, "all must be of one optimizer", s)

    def state_dict(self) -> dict[str, Any]:
        """Give all but the optimizer, with what each schedule gives."""
        return {**super().state_dict(), "_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "_schedulers"})
        for schedule, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            schedule.load_state_dict(state)


class ChainedScheduler(_Combined):
    """Several schedules at once: their factors multiply."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        self._combine(schedulers, optimizer)
        self._last_lr = self._rates()

    def step(self) -> None:
        """Step all of them."""
        for schedule in self._schedulers:
            schedule.step()
        self._last_lr = self._rates()


class SequentialLR(_Combined):
    """One schedule after the other: the next one begins at each milestone."""

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        self._combine(schedulers, optimizer)
        require(
            len(milestones) == len(schedulers) - 1,
            self,
            f"{len(schedulers)} schedules need one milestone less",
            len(milestones),
        )
        self._milestones = list(milestones)
        self.last_epoch = last_epoch + 1
        # All of them began when they were made: that is taken back, and the first one begins.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self._take_back(self)
        first = self._schedulers[bisect_right(self._milestones, 0)]
        first._initial_step()
        self._last_lr = first.get_last_lr()

    def _take_back(self, schedule: LRScheduler) -> None:
        if isinstance(schedule, _Combined):
            for inner in schedule._schedulers:
                self._take_back(inner)
        else:
            schedule.last_epoch -= 1

    def step(self) -> None:
        """Step the one whose turn it is."""
        self.last_epoch += 1
        number = bisect_right(self._milestones, self.last_epoch)
        schedule = self._schedulers[number]
        if number > 0 and self._milestones[number - 1] == self.last_epoch:
            schedule._restart()
        else:
            schedule.step()
        self._last_lr = schedule.get_last_lr()
