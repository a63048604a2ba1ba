"""The algorithms' signatures, which are PyTorch's; the formulas are in C++."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from .._core import Tensor
from .optimizer import Optimizer

Betas = tuple[float, float]


def _hyperparameters(given: dict[str, Any]) -> dict[str, Any]:
    """Give the arguments of a constructor that are hyperparameters, from its locals()."""
    return {k: v for k, v in given.items() if k not in ("self", "params", "__class__")}


class SGD(Optimizer):
    """Gradient descent with momentum, as PyTorch has it.

    The momentum's buffer starts as the first gradient, without dampening.
    """

    _algorithm = "SGD"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015); with `amsgrad` that of Reddi, Kale and Kumar, 2018.

    `decoupled`, an older name of `decoupled_weight_decay`, makes it AdamW.
    """

    _algorithm = "Adam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        decoupled: bool = False,
    ) -> None:
        decoupled_weight_decay = decoupled_weight_decay or decoupled
        del decoupled
        super().__init__(params, _hyperparameters(locals()))


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019)."""

    _algorithm = "AdamW"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012); with `centered` that of Graves, 2013 (arXiv:1308.0850)."""

    _algorithm = "RMSprop"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer, 2011)."""

    _algorithm = "Adagrad"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012, arXiv:1212.5701)."""

    _algorithm = "Adadelta"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class Adamax(Optimizer):
    """Adam with the infinity norm (Kingma and Ba, 2015, section 7.1)."""

    _algorithm = "Adamax"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class NAdam(Optimizer):
    """Adam with Nesterov's momentum (Dozat, 2016)."""

    _algorithm = "NAdam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class RAdam(Optimizer):
    """Adam whose variance is rectified (Liu et al., 2020, arXiv:1908.03265)."""

    _algorithm = "RAdam"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class Lion(Optimizer):
    """Lion, with decoupled weight decay (Chen et al., 2023, arXiv:2302.06675, program 1)."""

    _algorithm = "Lion"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, _hyperparameters(locals()))


class LBFGS(Optimizer):
    """Limited-memory BFGS with PyTorch's choices, after Schmidt's minFunc.

    There is one group of parameters. Values decide what a step does next, so it reads them and
    cannot be a part of a compiled function; its closure can be one.
    """

    _algorithm = "LBFGS"

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if max_eval is None:
            max_eval = max(1, max_iter * 5 // 4)
        super().__init__(params, _hyperparameters(locals()))

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]
        """Take up to `max_iter` iterations; give the loss at their start.

        `closure` forgets the gradients, computes loss and gradients anew and returns the loss.
        """
        return self._core.step_with(closure)
