"""CoreGrad as a backend of torch.compile.

>>> import torch
>>> f = torch.compile(lambda x: torch.relu(x) * 2, backend="coregrad")
"""

from torch._dynamo import register_backend as _register_backend
from torch._dynamo.backends.registry import list_backends as _list_backends

from . import lowering, recurrence
from .backend import CompilerFaultWarning, backend, reset, run_fx
from .exported import compile_exported
from .options import Options
from .reporting import reports


def report() -> "reports.__class__":
    """The reports of every graph since the last reset: print it, or ask for `.to_json()`."""
    return reports


if "coregrad" not in _list_backends(exclude_tags=None):
    _register_backend(backend, name="coregrad")
    recurrence.let_dynamo_trace_recurrent_modules(backend)
    recurrence.let_dynamo_trace_any_length(backend)

__all__ = [
    "CompilerFaultWarning", "Options", "backend", "compile_exported", "lowering", "report", "reset",
    "run_fx",
]  # fmt: skip
