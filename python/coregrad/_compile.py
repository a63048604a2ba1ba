"""Functions that are recorded once and run as one plan."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from . import _core
from ._creation import tensor
from ._outside import Outside, is_like, keep
from ._trees import TENSOR, flatten, unflatten

# Of one structure of arguments; the oldest goes.
_MAX_FORMS = 32

_TENSORS_ALONE = {_core.Tensor}

_recording = threading.local()


def note_mode(module: Any, training: bool) -> None:
    """Say that a function which may be recorded depends on whether a module trains."""
    for modes in getattr(_recording, "modes", ()):
        modes.append((module, training))


class _Form:
    """A function for one structure of its arguments, as one of lists of tensors."""

    def __init__(self, function: Callable[..., Any], structure: Any, dynamic: bool) -> None:
        self.structures_of_results: dict[int, Any] = {}
        self.recorded = threading.local()
        # Modules, and whether they trained when it was recorded.
        self.modes: dict[int, tuple[Any, bool]] = {}
        self.outside: list[Any] | None = None  # what names stood for then
        self.core = _core._CompiledFunction(
            _of_lists(function, structure, self.recorded, self.modes), dynamic
        )

    def is_for(self, outside: list[Any]) -> bool:
        """Whether names stand for what they did, and modules train as they did."""
        if self.outside is None or not is_like(self.outside, outside):
            return False
        for module, mode in self.modes.values():  # noqa: SIM110  a loop: each call comes here
            if module._training != mode:
                return False
        return True

    def call(self, tensors: list[_core.Tensor], outside: Outside) -> Any:
        results, recording = self.core.call(tensors)
        structure = self.structures_of_results.get(recording)
        if structure is None:
            structure = self.recorded.structure
            # Recording may have changed what a name stands for.
            self.outside = keep(outside.now())
            if recording >= 0:
                self.structures_of_results[recording] = structure
        return results[0] if structure is TENSOR else unflatten(structure, iter(results).__next__)


def _of_lists(
    function: Callable[..., Any],
    structure: Any,
    recorded: threading.local,
    modes: dict[int, tuple[Any, bool]],
) -> Callable[[list[_core.Tensor]], list[_core.Tensor]]:
    """The function on lists of tensors; the structure of its result goes to `recorded`."""

    def of_list(tensors: list[_core.Tensor]) -> list[_core.Tensor]:
        args, kwargs = unflatten(structure, iter(tensors).__next__)
        results: list[_core.Tensor] = []
        noted: list[tuple[Any, bool]] = []
        outer = getattr(_recording, "modes", ())
        _recording.modes = (*outer, noted)
        try:
            recorded.structure = flatten(function(*args, **kwargs), results)
        finally:
            _recording.modes = outer
        modes.update({id(module): (module, mode) for module, mode in noted})
        return results

    return of_list


def _as_tensors(tree: Any) -> Any:
    """Arrays among the arguments as tensors, so that they are read by each call."""
    if isinstance(tree, np.ndarray):
        return tensor(tree)
    if type(tree) in (list, tuple):
        return type(tree)(_as_tensors(v) for v in tree)
    if type(tree) is dict:
        return {k: _as_tensors(v) for k, v in tree.items()}
    return tree


class CompiledFunction:
    """What compile() returns; called like the function."""

    def __init__(self, function: Callable[..., Any], dynamic: bool | None) -> None:
        functools.update_wrapper(self, function)
        self._function = function
        self._dynamic = dynamic is not False
        self._outside = Outside(function)
        self._forms: dict[Any, list[_Form]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the plan for such arguments; record the function where there is none."""
        tensors: list[_core.Tensor] = []
        if not kwargs and set(map(type, args)) <= _TENSORS_ALONE:
            key: Any = len(args)
            tensors = list(args)
        else:
            key = flatten((_as_tensors(args), _as_tensors(kwargs)), tensors)
        try:
            forms = self._forms.setdefault(key, [])
        except TypeError as error:
            raise TypeError(
                f"compile: arguments that are no tensors are part of what is compiled and must be"
                f" hashable: {error}"
            ) from error
        outside = self._outside.now()
        for form in reversed(forms):
            if form.is_for(outside):
                break
        else:
            structure = key
            if isinstance(key, int):
                structure = (tuple, None, ((tuple, None, (TENSOR,) * key), (dict, (), ())))
            form = _Form(self._function, structure, self._dynamic)
            forms.append(form)
            del forms[:-_MAX_FORMS]
        return form.call(tensors, self._outside)

    def report(self) -> list[_core.Recorded]:
        """Give what was recorded, oldest first: one for each set of shapes and other arguments."""
        return [row for forms in self._forms.values() for f in forms for row in f.core.report()]


def compile(function: Callable[..., Any] | None = None, *, dynamic: bool | None = None) -> Any:
    """Make a function that is recorded once for given shapes and then runs as one plan.

    Arguments and results are trees: tensors and arrays in lists, tuples, dicts and dataclasses. Other
    arguments are part of what is compiled: a call with another number records again.

    Tensors that the function reads without being given them (parameters, an optimiser's averages) are
    read anew by each call; what assign(), backward(), an optimiser's step() or batch_norm() changes in
    them is changed by each call, and random numbers are drawn anew. So a whole training step can be
    compiled. What the function does besides (printing, counting, reading files) happens while it is
    recorded alone, and a tensor that it makes from numbers or arrays is a constant. It records again
    where a name in it (a global or a variable around it, in lists, dicts and modules too) stands for
    another tensor or number. Asking for a value
    inside of it (`item()`, `if tensor:`) raises ValueError.

    Sizes that change share a plan from the second set on, unless `dynamic` is False. Where a result
    needs gradients of what is outside of the function, each call records; `report()` says so.

    >>> import coregrad as cg
    >>> w = cg.tensor([1.0, 2.0], requires_grad=True)
    >>> optimizer = cg.optim.SGD([w], lr=0.25)
    >>> @cg.compile
    ... def step(x):
    ...     optimizer.zero_grad()
    ...     loss = (w * x).square().sum().realize()
    ...     loss.backward()
    ...     optimizer.step()
    ...     return loss
    >>> [step(cg.tensor([1.0, 1.0])).item() for _ in range(3)]
    [5.0, 1.25, 0.3125]
    >>> step.report()
    [(f32[2]): 3 calls, 2 steps, 3 inputs, 2 updates]
    """
    if function is None:
        return lambda f: CompiledFunction(f, dynamic)
    return CompiledFunction(function, dynamic)
