"""Graphs with symbolic sizes: one program for each set of concrete sizes that calls bring."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Interpreter
from torch.fx import Node as FxNode


class _Recorder(Interpreter):
    """Runs a graph on fake tensors and keeps each node's value."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.values: dict[FxNode, Any] = {}

    def run_node(self, node: FxNode) -> Any:
        value = super().run_node(node)
        if node.op != "output":
            self.values[node] = value
        return value


def concrete_values(module: GraphModule, args: list[Any]) -> dict[FxNode, Any]:
    """Every node's value for concrete inputs, as fake tensors: nothing is computed."""
    with FakeTensorMode(allow_non_fake_inputs=True, static_shapes=True) as mode, torch.no_grad():
        fakes: dict[int, Any] = {}

        def fake(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return mode.from_tensor(value.detach(), static_shapes=True)

        recorder = _Recorder(module)
        recorder.run(*[fake(a) for a in args])
        fakes.clear()
    return recorder.values


def _key(args: list[Any]) -> tuple[Any, ...]:
    return tuple(
        (a.dtype, tuple(a.shape), tuple(a.stride())) if isinstance(a, torch.Tensor) else a
        for a in args
    )


class PerShape:
    """Compiles for the sizes of each call on first sight and remembers."""

    def __init__(
        self, compile_for: Callable[[list[Any]], Callable[[list[Any]], list[Any]]]
    ) -> None:
        self._boxed_call = True  # on the instance: wrappers copy its attributes
        self._compile_for = compile_for
        self._programs: dict[tuple[Any, ...], Callable[[list[Any]], list[Any]]] = {}
        self._lock = threading.Lock()

    def __call__(self, args: list[Any]) -> list[Any]:
        key = _key(args)
        program = self._programs.get(key)
        if program is None:
            with self._lock:
                program = self._programs.get(key)
                if program is None:
                    program = self._programs[key] = self._compile_for(list(args))
        return program(args)
