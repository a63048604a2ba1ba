"""What all optimisers share: groups of parameters and their hyperparameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from copy import deepcopy
from typing import Any

from .. import _core
from .._core import Tensor
from .._tensor import tensor


def copied(value: Any) -> Any:
    """Give what was saved with arrays of other packages as tensors with memory of their own."""
    if isinstance(value, (list, tuple)):
        return [copied(v) for v in value]
    if isinstance(value, Tensor) or not hasattr(value, "__dlpack__"):
        return value
    return tensor(deepcopy(value))


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """Give hyperparameters as Python's numbers, where they are NumPy's or tensors."""
    return {k: v.item() if hasattr(v, "item") else v for k, v in values.items()}


#: What PyTorch saves, but computes anew before it is read.
_SCRATCH = frozenset({"al"})


class ParamGroup(MutableMapping[str, Any]):
    """The parameters of a group (`"params"`) and their hyperparameters, by PyTorch's names.

    Setting a hyperparameter changes the next step. Numbers are data, also of a compiled function;
    of switches, and of whether a momentum is 0, the operations of a step depend.
    """

    def __init__(self, core: _core._Optimizer, number: int, extras: dict[str, Any]) -> None:
        self._core = core
        self._number = number
        self._params = core.parameters(number)
        #: What is no hyperparameter of the algorithm: schedules keep their numbers here.
        self.extras = extras

    def __getitem__(self, key: str) -> Any:
        if key == "params":
            return self._params
        if key in self.extras:
            return self.extras[key]
        return self._core.values(self._number)[key]

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "params":
            raise _core.ValueError("param_groups: the parameters of a group cannot be replaced")
        if key in self._core.values(self._number):
            self._core.set(self._number, plain({key: value}))
        else:
            self.extras[key] = value

    def __delitem__(self, key: str) -> None:
        del self.extras[key]

    def __iter__(self) -> Iterator[str]:
        yield "params"
        yield from self._core.values(self._number)
        yield from self.extras

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
        self._core = _core._make_optimizer(self._algorithm, plain(defaults))
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
        self._core.add_param_group(params, plain({k: v for k, v in given.items() if k in known}))
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

    def state_dict(self) -> dict[str, Any]:
        """Give what load_state_dict() goes on from, with PyTorch's keys; steps do not change it."""
        state, groups = self._core.state_dict()
        return {
            "state": state,
            "param_groups": [
                {**values, **group.extras, "params": params}
                for (values, params), group in zip(groups, self.param_groups, strict=True)
            ],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what an optimizer of the same kind saved, one of PyTorch's too.

        Raises ValueError or ShapeError, and changes nothing, if its groups and parameters are others.
        """
        known = self._core.defaults()
        groups, extras = [], []
        for group in state_dict["param_groups"]:
            others = {k: v for k, v in group.items() if k != "params"}
            values = plain({k: v for k, v in others.items() if k in known})
            groups.append((values, group["params"]))
            extras.append({k: v for k, v in others.items() if k not in known})
        state = {
            number: {k: copied(v) for k, v in entry.items() if v is not None and k not in _SCRATCH}
            for number, entry in state_dict["state"].items()
        }
        self._core.load_state_dict(state, groups)
        for group, kept in zip(self.param_groups, extras, strict=True):
            group.extras = kept

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
