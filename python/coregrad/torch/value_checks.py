"""Functions whose checks of values get lost where PyTorch traces them, with the checks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import GraphModule


def one_hot(x: torch.Tensor, num_classes: Any = -1) -> torch.Tensor:
    """`torch.nn.functional.one_hot`: a class out of range is an index out of range."""
    if not isinstance(num_classes, int) or num_classes <= 0 or x.dtype != torch.int64:
        return F.one_hot(x, num_classes)
    classes = torch.arange(num_classes, device=x.device)
    known = classes.gather(0, x.reshape(-1)).reshape(x.shape)
    return (known.unsqueeze(-1) == classes).long()


REPLACEMENTS = {F.one_hot: one_hot}


def keep_checks(module: GraphModule) -> None:
    """Puts these functions into a graph that Dynamo captured."""
    found = [n for n in module.graph.nodes if n.op == "call_function" and n.target in REPLACEMENTS]
    for node in found:
        node.target = REPLACEMENTS[node.target]
    if found:
        module.recompile()
