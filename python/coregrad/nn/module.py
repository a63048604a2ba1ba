"""Module: parameters, buffers and other modules as attributes; and the containers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from .. import _core
from .._compile import note_mode
from .._core import Tensor
from .._creation import tensor
from .._outside import Registry


def Parameter(data: Any, requires_grad: bool = True) -> Tensor:
    """Make a tensor that a module takes for a parameter when it becomes an attribute of it."""
    value = tensor(data).detach()
    value.requires_grad = requires_grad
    return value


class LoadResult(NamedTuple):
    """What load_state_dict() found no tensor for, and what it found no place for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Handle:
    """Takes a hook away again."""

    def __init__(self, hooks: dict[int, Callable[..., Any]], key: int) -> None:
        self._hooks = hooks
        self._key = key

    def remove(self) -> None:
        """Do not call the hook any more."""
        self._hooks.pop(self._key, None)


class Module(Registry):
    """What networks are made of; subclasses assign parameters and modules to attributes.

    A tensor that requires a gradient becomes a parameter when it is assigned, a Module a part. Tensors
    that are state without being trained are registered with `register_buffer`. Calling a module calls
    its `forward` and the hooks. Names and state_dicts are PyTorch's.

    >>> import coregrad as cg
    >>> class Net(cg.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.first = cg.nn.Linear(4, 8)
    ...         self.second = cg.nn.Linear(8, 2)
    ...     def forward(self, x):
    ...         return self.second(cg.relu(self.first(x)))
    >>> net = Net()
    >>> net(cg.ones((3, 4))).shape
    (3, 2)
    >>> [name for name, _ in net.named_parameters()]
    ['first.weight', 'first.bias', 'second.weight', 'second.bias']
    """

    def __init__(self) -> None:
        registries = {
            "_parameters": {},
            "_buffers": {},
            "_modules": {},
            "_not_saved": set(),
            "_hooks": {},
            "_pre_hooks": {},
            "_training": True,
        }
        self.__dict__.update(registries)

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if "_modules" not in self.__dict__:
            raise AttributeError(
                f"{type(self).__name__}: call super().__init__() before attributes are assigned"
            )
        registries = (self._parameters, self._buffers, self._modules)
        if isinstance(value, Module):
            target = self._modules
        elif name in self._buffers and (value is None or isinstance(value, Tensor)):
            target = self._buffers
        elif isinstance(value, Tensor) and (value.requires_grad or name in self._parameters):
            target = self._parameters
        elif value is None and (name in self._parameters or name in self._modules):
            target = self._parameters if name in self._parameters else self._modules
        else:
            for registry in registries:
                if registry.pop(name, None) is not None:
                    Registry.note_change()
            object.__setattr__(self, name, value)
            return
        self._add(target, name, value)

    def _add(self, target: dict[str, Any], name: str, value: Any) -> None:
        if not name or "." in name:
            raise _core.ValueError(f"{type(self).__name__}: {name!r} can not name an attribute")
        for registry in (self._parameters, self._buffers, self._modules):
            if registry is not target:
                registry.pop(name, None)
        self.__dict__.pop(name, None)
        target[name] = value
        Registry.note_change()

    def __getattr__(self, name: str) -> Any:
        for registry in ("_parameters", "_buffers", "_modules"):
            found = self.__dict__.get(registry, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for registry in (self._parameters, self._buffers, self._modules):
            if name in registry:
                del registry[name]
                Registry.note_change()
                return
        object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    def register_parameter(self, name: str, value: Tensor | None) -> None:
        """Add a parameter; None keeps the name for one that may come."""
        self._add(self._parameters, name, value)

    def register_buffer(self, name: str, value: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is state without being trained; saved unless it is not persistent."""
        self._add(self._buffers, name, value)
        (self._not_saved.discard if persistent else self._not_saved.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a part."""
        self._add(self._modules, name, module)

    # Calling

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the module's value; for subclasses to define."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call forward(), after the hooks that change its arguments and before those of its result."""
        for hook in tuple(self._pre_hooks.values()):
            changed = hook(self, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        result = self.forward(*args, **kwargs)
        for hook in tuple(self._hooks.values()):
            changed = hook(self, args, result)
            if changed is not None:
                result = changed
        return result

    def register_forward_pre_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call `hook(module, args)` before each forward; what it returns takes the arguments' place."""
        return _add_hook(self._pre_hooks, hook)

    def register_forward_hook(self, hook: Callable[..., Any]) -> Handle:
        """Call `hook(module, args, result)` after each; what it returns takes the result's place."""
        return _add_hook(self._hooks, hook)

    @property
    def training(self) -> bool:
        """Whether it trains; a compiled function records again where this changed."""
        note_mode(self, self._training)
        return self._training

    @training.setter
    def training(self, mode: bool) -> None:
        self.__dict__["_training"] = bool(mode)

    # What is in it

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """The module itself and all that are in it, each once."""
        seen: set[int] = set()

        def walk(module: Module, name: str) -> Iterator[tuple[str, Module]]:
            if id(module) in seen:
                return
            seen.add(id(module))
            yield name, module
            for child_name, child in module.named_children():
                yield from walk(child, f"{name}.{child_name}" if name else child_name)

        yield from walk(self, prefix.removesuffix("."))

    def modules(self) -> Iterator[Module]:
        """The module itself and all that are in it, each once."""
        return (module for _, module in self.named_modules())

    def tensors(self) -> tuple[Tensor | None, ...]:
        """The parameters and buffers of all modules, as they stand in them."""
        return tuple(
            value
            for module in self.modules()
            for registry in (module._parameters, module._buffers)
            for value in registry.values()
        )

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that are attributes of this one."""
        return ((name, m) for name, m in self._modules.items() if m is not None)

    def children(self) -> Iterator[Module]:
        """The modules that are attributes of this one."""
        return (module for _, module in self.named_children())

    def _named(self, registry: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        places = self.named_modules(prefix) if recurse else [(prefix.removesuffix("."), self)]
        for place, module in places:
            for name, value in module.__dict__[registry].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{place}.{name}" if place else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their names, each once."""
        return self._named("_parameters", prefix, recurse)

    def parameters(self, recurse: bool = True) -> list[Tensor]:
        """The parameters, each once."""
        return [value for _, value in self.named_parameters(recurse=recurse)]

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their names, each once."""
        return self._named("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> list[Tensor]:
        """The buffers, each once."""
        return [value for _, value in self.named_buffers(recurse=recurse)]

    def get_submodule(self, target: str) -> Module:
        """The module with a name such as `"layers.0"`; AttributeError if there is none."""
        module = self
        for name in target.split(".") if target else ():
            if module._modules.get(name) is None:
                raise AttributeError(f"{type(self).__name__} has no module {target!r}")
            module = module._modules[name]
        return module

    # Changing it

    def apply(self, function: Callable[[Module], Any]) -> Module:
        """Call a function with each module in this one, then with this one."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def train(self, mode: bool = True) -> Module:
        """Set whether it and all in it train."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set it and all in it to inference."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Module:
        """Set whether parameters collect gradients."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, dtype: _core.DType) -> Module:
        """Replace floating parameters and buffers by such of another dtype."""
        for module in self.modules():
            for registry in (module._parameters, module._buffers):
                for name, value in registry.items():
                    if value is not None and value.dtype in _FLOATS and value.dtype != dtype:
                        changed = value.detach().cast(dtype).realize()
                        changed.requires_grad = value.requires_grad
                        registry[name] = changed
        Registry.note_change()
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Module:
        """Parameters, buffers and modules of its own; functions among its attributes are shared."""
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            shared = callable(value) and not isinstance(value, Module)
            twin.__dict__[name] = value if shared else copy.deepcopy(value, memo)
        return twin

    # State

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """All parameters and persistent buffers by name, without gradients."""
        state: dict[str, Tensor] = {}
        for name, value in self._own_state():
            state[prefix + name] = value.detach()
        for name, child in self.named_children():
            state.update(child.state_dict(f"{prefix}{name}."))
        return state

    def _own_state(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in (*self._parameters.items(), *self._buffers.items()):
            if value is not None and name not in self._not_saved:
                yield name, value

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadResult:
        """Take the values of tensors, arrays or PyTorch tensors with the same names.

        Raises CheckpointError that names what is missing, unexpected (unless not `strict`) or of another
        shape; nothing is changed then. Values are cast to the parameters' dtypes.
        """
        own = {}
        for place, module in self.named_modules():
            for name, value in module._own_state():
                own[f"{place}.{name}" if place else name] = value
        # Shared modules are saved under each of their names.
        names = {*self.state_dict()}
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in names]
        values = {name: _as_tensor(state[name]) for name in own if name in state}
        different = [
            f"{name}: expected {list(own[name].shape)}, got {list(value.shape)}"
            for name, value in values.items()
            if own[name].shape != value.shape
        ]
        if different or (strict and (missing or unexpected)):
            raise _core.CheckpointError(
                f"load_state_dict: missing {missing}, unexpected {unexpected}, different {different}"
            )
        for name, value in values.items():
            own[name].assign(value.cast(own[name].dtype))
        return LoadResult(missing, unexpected)

    def extra_repr(self) -> str:
        """What stands in the parentheses of repr()."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {module!r}" for name, module in self._modules.items()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        inner = "\n".join(lines).replace("\n", "\n  ")
        return f"{type(self).__name__}({self.extra_repr()}\n  {inner}\n)"


_FLOATS = (_core.DType.float16, _core.DType.bfloat16, _core.DType.float32, _core.DType.float64)


def _add_hook(hooks: dict[int, Callable[..., Any]], hook: Callable[..., Any]) -> Handle:
    key = max(hooks, default=-1) + 1
    hooks[key] = hook
    return Handle(hooks, key)


def _as_tensor(value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach()
    if hasattr(value, "detach"):  # PyTorch's
        value = value.detach()
    # It copies: others write to their memory.
    return tensor(value if hasattr(value, "__dlpack__") else np.asarray(value))


class _Numbered(Module):
    """Modules whose names are their numbers."""

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self


class Sequential(_Numbered):
    """Modules one after the other, from arguments or a dict of names."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named: Iterable[tuple[str, Module]] = modules[0].items()
        else:
            named = ((str(i), module) for i, module in enumerate(modules))
        for name, module in named:
            self.add_module(name, module)

    def forward(self, x: Any) -> Any:
        """Give each module what the one before it gave."""
        for module in self.children():
            x = module(x)
        return x

    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self.children())
        return type(self)(*modules[index]) if isinstance(index, slice) else modules[index]


class ModuleList(_Numbered):
    """A list of modules."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def __getitem__(self, index: int | slice) -> Any:
        modules = list(self.children())
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(str(range(len(self))[index]), module)


class ModuleDict(Module):
    """Modules by name."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.add_module(name, module)

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> Iterable[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> Iterable[tuple[str, Module]]:
        """Names and modules."""
        return self._modules.items()
