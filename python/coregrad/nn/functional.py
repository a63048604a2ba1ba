"""Functions of networks with PyTorch's names, signatures and meanings.

They record, as all operations do, and have gradients. Lists of spatial dimensions may be one number.

>>> import coregrad as cg
>>> import coregrad.nn.functional as F
>>> F.avg_pool2d(F.relu(cg.ones((1, 1, 4, 4))), 2).tolist()
[[[[1.0, 1.0], [1.0, 1.0]]]]
"""

from .._core.functional import *  # noqa: F403
