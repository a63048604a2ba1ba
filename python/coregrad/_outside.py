"""What a function reads of the outside by name: noticed where it stands for something else later."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator
from typing import Any

from ._core import Tensor
from ._trees import Leaf


class Registry:
    """Something with tensors as attributes, a module: `version` changes with any of them."""

    version = 0

    def tensors(self) -> tuple[Tensor | None, ...]:
        """All of them."""
        raise NotImplementedError

    @staticmethod
    def note_change() -> None:
        """Say that an attribute of some registry stands for another tensor."""
        Registry.version += 1


_NOTHING = object()
_PLAIN = (bool, int, float, complex, str, bytes, type(None))


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


class Outside:
    """The globals and the closure of a function, with what lies in lists, dicts and modules there."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._owner = None
        while isinstance(function, functools.partial):
            function = function.func
        if isinstance(function, types.MethodType):
            self._owner, function = function.__self__, function.__func__
        self._cells: tuple[Any, ...] = ()
        self._globals: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()
        if isinstance(function, types.FunctionType):
            self._cells = function.__closure__ or ()
            self._globals = function.__globals__
            # Attributes are among them, and modules and functions, which are not looked at.
            self._names = tuple(
                name
                for name in dict.fromkeys(_names(function.__code__))
                if not isinstance(
                    self._globals.get(name, _NOTHING),
                    (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type),
                )
            )

    def now(self) -> list[Any]:
        """Tensors, plain values and registries, in an order of their own."""
        found: list[Any] = []
        for cell in self._cells:
            try:
                _add(cell.cell_contents, found)
            except ValueError:  # not assigned yet
                continue
        for name in self._names:
            value = self._globals.get(name, _NOTHING)
            if value is not _NOTHING:
                _add(value, found)
        if self._owner is not None:
            _add(self._owner, found)
        return found


def _add(value: Any, found: list[Any]) -> None:
    if isinstance(value, Tensor):
        found.append(value)
    elif isinstance(value, _PLAIN):
        found.append(Leaf(value))
    elif type(value) in (list, tuple):
        for item in value:
            _add(item, found)
    elif type(value) is dict:
        for item in value.values():
            _add(item, found)
    elif isinstance(value, Registry):
        found.append(_Snapshot(value))


class _Snapshot:
    """The tensors of a registry at one time."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.version = Registry.version
        self._tensors: tuple[Tensor | None, ...] | None = None

    def tensors(self) -> tuple[Tensor | None, ...]:
        if self._tensors is None:
            self._tensors = self.registry.tensors()
        return self._tensors

    def is_like(self, now: _Snapshot) -> bool:
        if self.registry is not now.registry:
            return False
        if self.version != now.version:
            one, other = self.tensors(), now.tensors()
            if len(one) != len(other) or any(a is not b for a, b in zip(one, other, strict=True)):
                return False
            self.version = now.version
        return True


def keep(found: list[Any]) -> list[Any]:
    """Make a list that can be compared with later ones."""
    for value in found:
        if isinstance(value, _Snapshot):
            value.tensors()
    return found


def is_like(before: list[Any], now: list[Any]) -> bool:
    """Whether names stand for what they stood for."""
    if len(before) != len(now):
        return False
    for a, b in zip(before, now, strict=True):  # a loop: each call comes here
        if a is b or (isinstance(a, Leaf) and a == b):
            continue
        if not (isinstance(a, _Snapshot) and isinstance(b, _Snapshot) and a.is_like(b)):
            return False
    return True
