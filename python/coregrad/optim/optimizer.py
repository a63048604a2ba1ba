"""What all optimisers share: groups of parameters and their hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from .. import _core
from .._core import Tensor


class ParamGroup(MutableMapping[str, Any]):
    """The parameters of a group (`"params"`) and their hyperparameters, by PyTorch's names.

    Setting a hyperparameter changes the next step. Numbers are data, also of a compiled function;
    of switches, and of whether a momentum is 0, the operations of a step depend.
    """

    def __init__(self, core: _core._Optimizer, number: int, extras: dict[str, Any]) -> None:
        self._core = core
        self._number = number
        self._params = core.parameters(number)
        self._extras = extras

    def __getitem__(self, key: str) -> Any:
        if key == "params":
            return self._params
        if key in self._extras:
            return self._extras[key]
        return self._core.values(self._number)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "params":
            raise _core.ValueError("param_groups: the parameters of a group cannot be replaced")
        if key in self._core.values(self._number):
            self._core.set(self._number, {key: value})
        else:
            self._extras[key] = value

    def __delitem__(self, key: str) -> None:
        del self._extras[key]

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self._core.values(self._number)
        yield from self._extras

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class Optimizer:
    """Updates parameters from their gradients; what all algorithms share.

    `params` are tensors that require gradients, or dicts that have such a list as "params" and
    hyperparameters of their own. Raises ValueError for hyperparameters outside of their range, for
    a parameter that needs no gradient, and for one that is given twice.
    """

    #: The name of the algorithm in C++.
    _algorithm: str

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        if isinstance(params, Tensor):
            raise TypeError(
                f"{self._algorithm}: params must be a list of tensors or of dicts, got a Tensor"
            )
        groups = list(params)
        if not groups:
            raise _core.ValueError(f"{self._algorithm}: there are no parameters")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        self._core = _core._make_optimizer(self._algorithm, defaults)
        self.param_groups: list[ParamGroup] = []
        for group in groups:
            self.add_param_group(group)

    @property
    def defaults(self) -> dict[str, Any]:
        """Hyperparameters of groups that do not give their own."""
        return self._core.defaults()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Optimise more parameters; keys that are no hyperparameters are kept."""
        known = self._core.defaults()
        given = {k: v for k, v in param_group.items() if k != "params"}
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        self._core.add_param_group(params, {k: v for k, v in given.items() if k in known})
        extras = {k: v for k, v in given.items() if k not in known}
        self.param_groups.append(ParamGroup(self._core, len(self.param_groups), extras))

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or make those that are there zeros."""
        self._core.zero_grad(set_to_none)

    def step(
        self, closure: Callable[[], Any] | None = None, *, together: Iterable[Tensor] = ()
    ) -> Any:
        """Update every parameter that has a gradient.

        `closure`, if given, is called first, to compute gradients, and what it returns is returned;
        `together` is realised in the same plan.
        """
        result = None if closure is None else closure()
        self._core.step(list(together))
        return result

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets that of all groups."""
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.param_groups:
            group["lr"] = value

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {number}")
            lines += [f"    {k}: {group[k]}" for k in sorted(group) if k != "params"]
        return "\n".join([*lines, ")"])
