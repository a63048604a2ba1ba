"""Optimisers; one implementation, in C++, under PyTorch's names.

>>> import coregrad as cg
>>> w = cg.tensor([4.0], requires_grad=True)
>>> optimizer = cg.optim.SGD([w], lr=0.25)
>>> for _ in range(3):
...     optimizer.zero_grad()
...     (w * w).sum().realize().backward()
...     optimizer.step()
>>> w.tolist()
[0.5]
"""

from . import lr_scheduler
from .algorithms import (
    LBFGS,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    NAdam,
    RAdam,
    RMSprop,
)
from .averages import ParameterAverages
from .optimizer import Optimizer

__all__ = [
    "LBFGS", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Lion", "NAdam", "Optimizer",
    "ParameterAverages", "RAdam", "RMSprop", "lr_scheduler",
]  # fmt: skip
