"""Which threads compiled programs use: those of PyTorch, and as many of them."""

from __future__ import annotations

import ctypes
import os

import torch

from .. import _core


def _has_own_number() -> bool:
    return bool(os.environ.get("COREGRAD_NUM_THREADS"))


def thread_limit() -> int:
    """The most threads that a run may use: PyTorch's number, unless the environment sets our own.

    Dynamo guards on PyTorch's number, so a program made under one number is not called under another.
    """
    return _core.MAX_THREADS if _has_own_number() else torch.get_num_threads()


def parallel_loop() -> int:
    """The address of PyTorch's `torch_parallel_for`, by which its threads can be borrowed; 0 if
    there is none, or if a number of threads of our own is asked for.
    """
    if _has_own_number():
        return 0
    try:
        loop = ctypes.CDLL(torch._C.__file__).torch_parallel_for
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(loop, ctypes.c_void_p).value or 0
