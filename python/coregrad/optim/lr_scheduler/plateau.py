"""A schedule that follows from measurements."""

from __future__ import annotations

import math
from typing import Any

from ..optimizer import Optimizer
from .base import LRScheduler, for_each_group, require


class ReduceLROnPlateau(LRScheduler):
    """Times `factor` where a measurement got no better for more than `patience` epochs."""

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | list[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        require(factor < 1, self, "factor must be below 1", factor)
        require(mode in ("min", "max"), self, "mode must be 'min' or 'max'", repr(mode))
        require(
            threshold_mode in ("rel", "abs"),
            self,
            "threshold_mode must be 'rel' or 'abs'",
            repr(threshold_mode),
        )
        self._attach(optimizer)
        self.mode = mode
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.min_lrs = for_each_group(self, "min_lr", min_lr)
        self.eps = eps
        self.best = math.inf if mode == "min" else -math.inf
        self.cooldown_counter = 0
        self.num_bad_epochs = 0
        self.last_epoch = 0
        self._last_lr = self._rates()

    def _is_better(self, value: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "rel":
            return sign * value > sign * self.best * (1 + sign * self.threshold)
        return sign * value > sign * (self.best + sign * self.threshold)

    def step(self, metrics: Any) -> None:  # type: ignore[override]
        """Take a measurement: a number, or a tensor with one element."""
        value = float(metrics)
        self.last_epoch += 1
        if self._is_better(value):
            self.best = value
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            lower = [
                max(r * self.factor, m) for r, m in zip(self._rates(), self.min_lrs, strict=True)
            ]
            self._set(
                [
                    new if old - new > self.eps else old
                    for old, new in zip(self._rates(), lower, strict=True)
                ]
            )
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
        self._last_lr = self._rates()
