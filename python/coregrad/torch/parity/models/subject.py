"""What is examined, and the table of models that makes it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclasses.dataclass
class Subject:
    """A model to be examined."""

    model: Callable[..., Any]  #: a module, or a function of the inputs
    inputs: tuple[Any, ...]
    loss: Callable[[Any], Tensor] | None = None  #: of the output; None: a fixed random projection


MODELS: dict[str, Callable[[], Subject]] = {}


def model(make: Callable[[], Subject]) -> Callable[[], Subject]:
    """Adds a row to the table, under the function's name."""
    MODELS[make.__name__] = make
    return make


def classify(classes: int, *shape: int) -> Callable[[Tensor], Tensor]:
    labels = torch.randint(0, classes, shape)
    return lambda logits: F.cross_entropy(logits, labels)


def resemble(*shape: int) -> Callable[[Tensor], Tensor]:
    target = torch.randn(shape)
    return lambda out: F.mse_loss(out, target.to(out.dtype))
