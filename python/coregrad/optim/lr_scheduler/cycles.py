"""Schedules that move the momentum against the learning rate."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from ..._core import ValueError
from ..optimizer import Optimizer
from .base import LRScheduler, for_each_group, require, state_of_function


class _MomentumScheduler(LRScheduler):
    """A schedule that moves the momentum (or the first beta) against the learning rate."""

    cycle_momentum: bool

    def _start_momentum(self, base_momentum: Any, max_momentum: Any, last_epoch: int) -> None:
        """Write both bounds into the groups, and begin at the upper one."""
        if not self.cycle_momentum:
            return
        defaults = self.optimizer.defaults
        self.use_beta1 = "betas" in defaults
        require(
            self.use_beta1 or "momentum" in defaults,
            self,
            "cycle_momentum needs an optimizer with momentum or betas",
            type(self.optimizer).__name__,
        )
        bases = for_each_group(self, "base_momentum", base_momentum)
        tops = for_each_group(self, "max_momentum", max_momentum)
        if last_epoch != -1:
            return
        for group, base, top in zip(self.optimizer.param_groups, bases, tops, strict=True):
            group["base_momentum"], group["max_momentum"] = base, top
            self._set_momentum(group, top)

    def _set_momentum(self, group: Any, momentum: float) -> None:
        if self.use_beta1:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum


class OneCycleLR(_MomentumScheduler):
    """Up to `max_lr` and down to almost nothing, once (Smith and Topin, 2018, arXiv:1708.07120)."""

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        if total_steps is None:
            if epochs is None or steps_per_epoch is None:
                raise ValueError(
                    "OneCycleLR: total_steps, or epochs and steps_per_epoch, must be given"
                )
            total_steps = epochs * steps_per_epoch
        require(
            isinstance(total_steps, int) and total_steps > 0,
            self,
            "there must be at least 1 step",
            total_steps,
        )
        require(0 <= pct_start <= 1, self, "pct_start must be in [0, 1]", pct_start)
        require(
            anneal_strategy in ("cos", "linear"),
            self,
            "anneal_strategy must be 'cos' or 'linear'",
            repr(anneal_strategy),
        )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        top = pct_start * total_steps - 1
        end = total_steps - 1
        # The last step of each phase, and between which rates it goes; momentum goes the other way.
        self.phases = [(top, "initial_lr", "max_lr"), (end, "max_lr", "min_lr")]
        if three_phase:
            self.phases[1:] = [
                (2 * pct_start * total_steps - 2, "max_lr", "initial_lr"),
                (end, "initial_lr", "min_lr"),
            ]
        for group, rate in zip(
            optimizer.param_groups, for_each_group(self, "max_lr", max_lr), strict=True
        ):
            if last_epoch == -1:
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
        self._start_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, part: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * part + start
        return end + (start - end) / 2.0 * (math.cos(math.pi * part) + 1)

    def get_lr(self) -> list[float]:
        """Give the rates of this step, and set its momentum."""
        step = self.last_epoch
        require(
            step <= self.total_steps,
            self,
            f"there are {self.total_steps} steps in all",
            f"step {step}",
        )
        number = bisect_left([end for end, _, _ in self.phases[:-1]], step)
        end, first, last = self.phases[number]
        begin = self.phases[number - 1][0] if number > 0 else 0.0
        part = (step - begin) / (end - begin)
        momentum_of = {
            "initial_lr": "max_momentum",
            "max_lr": "base_momentum",
            "min_lr": "max_momentum",
        }
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[first], group[last], part))
            if self.cycle_momentum:
                bounds = group[momentum_of[first]], group[momentum_of[last]]
                self._set_momentum(group, self._between(*bounds, part))
        return rates


class CyclicLR(_MomentumScheduler):
    """Up from `base_lr` to `max_lr` and down again, over and over (Smith, 2017, arXiv:1506.01186)."""

    _not_saved = ("optimizer", "scale_fn")

    def __init__(
        self,
        optimizer: Optimizer,
        base_lr: float | list[float],
        max_lr: float | list[float],
        step_size_up: int = 2000,
        step_size_down: int | None = None,
        mode: str = "triangular",
        gamma: float = 1.0,
        scale_fn: Callable[[float], float] | None = None,
        scale_mode: str = "cycle",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.8,
        max_momentum: float | list[float] = 0.9,
        last_epoch: int = -1,
    ) -> None:
        self._attach(optimizer)
        modes = ("triangular", "triangular2", "exp_range")
        require(
            mode in modes or scale_fn is not None, self, f"mode must be one of {modes}", repr(mode)
        )
        base_lrs = for_each_group(self, "base_lr", base_lr)
        self.max_lrs = for_each_group(self, "max_lr", max_lr)
        down = step_size_up if step_size_down is None else step_size_down
        self.total_size = float(step_size_up + down)
        self.step_ratio = step_size_up / self.total_size
        self.mode = mode
        self.gamma = gamma
        self.scale_fn = scale_fn
        self.scale_mode = scale_mode
        self.cycle_momentum = cycle_momentum
        if last_epoch == -1:
            self._set(base_lrs)
        self._start_momentum(base_momentum, max_momentum, last_epoch)
        super().__init__(optimizer, last_epoch)
        self.base_lrs = base_lrs

    def _scale(self, cycle: int) -> float:
        """Give how high this cycle goes."""
        if self.scale_fn is not None:
            return self.scale_fn(cycle if self.scale_mode == "cycle" else self.last_epoch)
        if self.mode == "triangular":
            return 1.0
        return 0.5 ** (cycle - 1) if self.mode == "triangular2" else self.gamma**self.last_epoch

    def get_lr(self) -> list[float]:
        """Give the rates of this step, and set its momentum."""
        cycle = math.floor(1 + self.last_epoch / self.total_size)
        part = 1.0 + self.last_epoch / self.total_size - cycle
        up = self.step_ratio
        height = part / up if part <= up else (part - 1) / (up - 1)
        scale = self._scale(cycle)
        if self.cycle_momentum:
            for group in self.optimizer.param_groups:
                base, top = group["base_momentum"], group["max_momentum"]
                self._set_momentum(group, top - (top - base) * height * scale)
        return [
            base + (top - base) * height * scale
            for base, top in zip(self.base_lrs, self.max_lrs, strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Give all but the optimizer; of `scale_fn`, the attributes if it is an object."""
        return {**super().state_dict(), "scale_fn": state_of_function(self.scale_fn)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, with the function that is there."""
        super().load_state_dict({k: v for k, v in state_dict.items() if k != "scale_fn"})
        if state_dict["scale_fn"] is not None and self.scale_fn is not None:
            self.scale_fn.__dict__.update(state_dict["scale_fn"])
