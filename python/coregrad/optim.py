"""Optimisers; one implementation, in C++.

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

from ._core import SGD, Adam, Optimizer

__all__ = ["SGD", "Adam", "Optimizer"]
