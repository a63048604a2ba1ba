"""Clipping of gradients, as torch.nn.utils has it.

Gradients are replaced by lazy ones: clipping is a part of the optimiser's plan, or of a compiled
function.

>>> import coregrad as cg
>>> w = cg.tensor([3.0, 4.0], requires_grad=True)
>>> (w * w).sum().realize().backward()
>>> cg.nn.utils.clip_grad_norm_([w], max_norm=5.0).item()
10.0
>>> [round(g, 3) for g in w.grad.tolist()]
[3.0, 4.0]
"""

from __future__ import annotations

from collections.abc import Iterable

from .. import _core
from .._core import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _listed(tensors: Tensor | Iterable[Tensor]) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor], norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Give the norm of all elements of these tensors, lazily; 0 of none.

    `error_if_nonfinite` computes it and raises ValueError for NaN and infinity.
    """
    total = _core._total_norm(_listed(tensors), norm_type)
    if error_if_nonfinite and not total.isfinite().item():
        raise _core.ValueError(
            f"clip_grad_norm_: the norm of order {norm_type} of the gradients is {total.item()}, so they"
            " cannot be clipped"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor
) -> None:
    """Scale the gradients by min(1, max_norm / (total_norm + 1e-6))."""
    _core._clip_grads_with_norm(_listed(parameters), max_norm, total_norm)


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Limit the norm of all gradients as one vector; give the norm that they had, lazily."""
    parameters = _listed(parameters)
    gradients = [g for p in parameters if (g := p.grad) is not None]
    total = get_total_norm(gradients, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value]."""
    _core._clip_grad_value(_listed(parameters), clip_value)
