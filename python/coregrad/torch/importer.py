"""One FX graph of ATen operators into one CoreGrad program.

A scan over the FX nodes calls the lowering table's rows; an operator without a row becomes an external
step of the same plan. Outputs keep the aliasing of the traced graph: what shares storage with an input
is a view of that input, what shares storage with another output is a view of one common tensor.
"""

from __future__ import annotations

import functools
import math
import operator
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import sympy
import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode
from torch.utils import _pytree as pytree

from .. import _core
from .._core import Graph, Node
from . import fallback
from .assertions import ASSERTS, is_only_asserted
from .fallback import Held, Place
from .input_layouts import Layouts
from .lowering import (
    COMPLEX_ROWS,
    ROWS,
    Complex,
    Lowering,
    Unsupported,
    split_pairs,
)
from .metadata import (
    TO_CORE,
    CompilerFaultWarning,
    GraphRejected,
    as_pairs,
    contiguous_strides,
    is_concrete,
    part_dtype,
)
from .options import Options
from .outputs import finish, viewed_input
from .reporting import GraphReport
from .sized_float import SizedFloat

#: Operators whose result depends on their first operand's storage, not only on its elements.
READS_STORAGE = (
    torch.ops.aten.as_strided,
    torch.ops.aten.as_strided_copy,
    torch.ops.aten.as_strided_scatter,
)
SHAPES_UNKNOWN = (torch.ops.aten._embedding_bag, torch.ops.aten._embedding_bag_forward_only)
#: Their gradients read it under these names; for narrow floats it has other shapes than traced.
MISTAKEN = {"offset2bag", "bag_size", "maximum_indices"}
#: Tracing takes quantised tensors for plain ones.
QUANTIZED = (torch.qint8, torch.quint8, torch.qint32, torch.quint4x2, torch.quint2x4)
GIVES_PLAIN = (torch.ops.aten.dequantize, torch.ops.aten.int_repr)

with_effects = torch.ops.higher_order.with_effects
#: Stands for a tensor of the traced graph that orders effects; calls bring None for it.
TOKEN = object()


class Importer:
    """Builds the program of one graph whose traced values are concrete, or of one environment."""

    def __init__(
        self,
        module: GraphModule,
        options: Options,
        report: GraphReport,
        values: Mapping[FxNode, Any] | None = None,
        layouts: Layouts | None = None,
        env: _core.ShapeEnv | None = None,
    ) -> None:
        self.module = module
        self.options = options
        self.report = report
        self.env_of_sizes = env
        # These values are for one of several sets of sizes.
        self.any_size = values is not None and env is None
        self.traced = values if values is not None else _values_of(module)
        self.layouts = layouts if layouts is not None else Layouts()
        self.graph = Graph() if env is None else Graph(env)
        self.lowering = Lowering(self.graph, self._seed, self._check)
        self.env: dict[FxNode, Any] = {}
        self.placeholders: list[FxNode] = []
        self.constants: list[torch.Tensor | None] = []
        self.externals: list[tuple[str, Any, list[fallback.Memory], list[Any]]] = []
        self.written: dict[int, Node] = {}  #: input number -> what overwrites it
        self.seed: Node | None = None
        self.adapted_inputs: list[int] = []
        self.effects: list[Node] = []  #: the tokens of steps that are called for their effect
        self.loads: dict[int, Any] = {}  #: place -> what stands for what is held there
        self.has_held = False
        self.quantized: set[FxNode] = set()
        self.held_writes: dict[int, Held] = {}  #: input number -> what overwrites it after the run
        self.num_placeholders = sum(n.op == "placeholder" for n in module.graph.nodes)
        self.num_constants = sum(n.op == "get_attr" for n in module.graph.nodes)
        self.num_places = self.num_placeholders + self.num_constants

    def run(self) -> Any:
        """The compiled graph, or a template of it; GraphRejected if it cannot be taken as a whole."""
        start = time.perf_counter()
        for node in self.module.graph.nodes:
            if node.op == "placeholder":
                self._placeholder(node)
            elif node.op == "get_attr":
                self._constant(node)
            elif node.op == "call_function":
                self._call(node)
            elif node.op != "output":
                raise GraphRejected(f"node {node.name} is a {node.op}")
        if self.options.fallback == "error" and self.report.fallbacks:
            raise _core.UnsupportedError(
                "coregrad: operators without a lowering: "
                + "; ".join(
                    f"{name} ({reasons[0]})"
                    for name, reasons in sorted(self.report.fallbacks.items())
                )
            )
        output = next(n for n in self.module.graph.nodes if n.op == "output")
        return finish(self, output.args[0], start)

    # Leaves

    def _placeholder(self, node: FxNode) -> None:
        value, index = self.traced.get(node), len(self.placeholders)
        self.placeholders.append(node)
        if not isinstance(value, torch.Tensor):
            self.env[node] = value
            return
        if not node.users:
            return
        if any(u.target is with_effects and u.args[0] is node for u in node.users):
            self.env[node] = TOKEN
            return
        is_known = node.name in self.layouts.by_name or not _may_be_mistaken(node)
        if is_known and fallback.is_memory(value):
            self.env[node] = self._input(index, value, self.strides(node))
        else:
            self.has_held = True
            self.env[node] = Held(index, value, has_traced_shape=is_known)

    def strides(self, placeholder: FxNode) -> tuple[int, ...]:
        """What the memory of an input will have, which need not be what was traced."""
        return self.layouts.by_name.get(placeholder.name, tuple(self.traced[placeholder].stride()))

    def _input(self, index: int, value: torch.Tensor, strides: tuple[int, ...]) -> Any:
        shape = tuple(value.shape)
        if value.is_complex():
            shape, strides = (*shape, 2), as_pairs(strides)
        if 0 in shape or strides == contiguous_strides(shape):
            strides = ()
        dtype = TO_CORE[part_dtype(value.dtype)]
        node = self.graph.input(index, dtype, list(shape), list(strides))
        return split_pairs(self.graph, node) if value.is_complex() else node

    def _constant(self, node: FxNode) -> None:
        value: Any = self.module
        for part in node.target.split("."):
            value = getattr(value, part)
        if not isinstance(value, torch.Tensor):
            self.env[node] = value  # a graph that a higher-order operator calls
            self.constants.append(None)
            return
        self.traced = {**self.traced, node: value}
        place = self.num_placeholders + len(self.constants)
        if fallback.is_memory(value):
            self.env[node] = self._input(place, value, tuple(value.stride()))
        else:
            self.env[node] = self._copy_of_constant(Held(place, value))
        self.constants.append(value)

    def _seed(self) -> Node:
        """The scalar that decides all random numbers of a call: the input behind all others."""
        if self.seed is None:
            index = self.num_placeholders + self.num_constants
            self.seed = self.graph.input(index, _core.DType.int64, [])
        return self.seed

    def _check(self, bad: Node, message: str) -> None:
        """A step that raises where a node of truth values has a true one."""
        found = self.graph.reduce_max(bad, list(range(bad.ndim)), False) if bad.ndim else bad

        def call(
            operands: list[torch.Tensor], results: list[torch.Tensor | None], _: list[int]
        ) -> None:
            if bool(operands[0]):
                raise RuntimeError(message)
            for result in results:
                if result is not None:
                    result.zero_()

        self.effects.append(self._external("check", call, [found], [fallback.TOKEN])[0])

    def is_token(self, node: FxNode) -> bool:
        """Whether a node stands for an order of effects only."""
        return self.env.get(node) is TOKEN

    # Operators

    def _call(self, node: FxNode) -> None:
        target, value = node.target, self.traced.get(node)
        if is_only_asserted(node) or (target in ASSERTS and self._is_checked(node)):
            return
        if target is operator.getitem:
            source, index = node.args
            self.env[node] = self._lookup(source)[index]
            return
        if target is with_effects:
            self._effect(node, value)
            return
        if _is_scalar(value):  # sizes and numbers, known since the shapes are
            self.env[node] = value
            return
        if isinstance(target, torch._ops.HigherOrderOperator):
            if value is None:
                raise GraphRejected(f"{target} has results whose shapes were not traced")
            args, kwargs = self._lookup(node.args), self._lookup(node.kwargs)
            self.env[node] = self._in_pytorch(node, args, kwargs, value, "a higher-order operator")
            return
        if not isinstance(target, torch._ops.OpOverload):
            raise GraphRejected(f"{target} is not an ATen operator")
        if target is torch.ops.aten.copy_.default and node.args[0] in self.placeholders:
            self._write_input(node)
            return
        if target._schema.is_mutable:
            raise GraphRejected(f"{target} writes to its operands")
        self.env[node] = self._lower(node, target, value)

    def _is_checked(self, node: FxNode) -> bool:
        """Whether what an operator asserts holds wherever the program runs: sizes are checked first."""
        expression, _ = ASSERTS[node.target](node)
        return expression == sympy.true or bool(expression.free_symbols)

    def _effect(self, node: FxNode, value: Any) -> None:
        """An operator that is called for its effect, as a step behind those called before."""
        _, target, *args = node.args
        traced = [self._traced_of(a) for a in args], dict(node.kwargs)
        template = self._template((self._lookup(args), dict(node.kwargs)), traced)
        template.nodes += self.effects[-1:]
        results, done = self._step(str(target), target, template, list(value[1:]), needs_token=True)
        self.effects.append(done)
        if target is torch.ops.aten._linalg_check_errors.default:  # it only raises
            self.report.native[str(target)] += 1
        else:
            self.report.add_fallback(str(target), "an effect")
        self.env[node] = (TOKEN, *results)

    def _lower(self, node: FxNode, target: Any, value: Any) -> Any:
        context = self.lowering
        context.result = value
        context.traced_args = [self._traced_of(a) for a in node.args]
        args, kwargs = self._lookup(node.args), self._lookup(node.kwargs)
        values = [self.traced.get(n) for n in (node, *node.all_input_nodes)]
        complexes = [t for v in values for t in _tensors(v) if t.is_complex()]
        row = (COMPLEX_ROWS if complexes else ROWS).get(target)
        self.graph.set_origin(node.name)
        try:
            if row is None:
                context.unsupported("no lowering")
            if not _can_hold_numbers(node, value, values[1:]):
                context.unsupported("a number that the dtype cannot hold")
            result = _checked(row(context, *self._loaded(args), **self._loaded(kwargs)), value)
        except Unsupported as error:
            reason = str(error)
        except _core.CoreGradError as error:
            reason = f"{type(error).__name__}: {error}"
        except Exception as error:
            if self.options.fallback == "error":
                raise
            reason = f"internal error: {type(error).__name__}: {error}"
            warnings.warn(
                f"coregrad: {target} runs in PyTorch because of a mistake of CoreGrad's, which its "
                f"developers would like to hear of: {type(error).__name__}: {error}",
                CompilerFaultWarning,
                stacklevel=2,
            )
        else:
            self.report.native[str(target)] += 1
            return result
        if complexes:
            reason += f" ({complexes[0].dtype})"
        return self._in_pytorch(node, args, kwargs, value, reason)

    # Steps that run in PyTorch

    def _in_pytorch(
        self, node: FxNode, args: Sequence[Any], kwargs: Any, value: Any, reason: str
    ) -> Any:
        target: Any = node.target
        self.report.add_fallback(str(target), reason)
        traced = torch.fx.node.map_arg((list(node.args), dict(node.kwargs)), self.traced.get)
        packet = getattr(target, "overloadpacket", None)
        if packet in READS_STORAGE:
            args = self._with_storage(node, args)
        template = self._template((list(args), dict(kwargs)), traced)
        values = list(value) if isinstance(value, (tuple, list)) else [value]
        # Of what has other shapes than traced only the first result has not.
        num_known = 1 if packet in SHAPES_UNKNOWN else len(values)
        if any(a in QUANTIZED for a in (*node.args, *node.kwargs.values())) or (
            packet not in GIVES_PLAIN and not self.quantized.isdisjoint(node.all_input_nodes)
        ):
            self.quantized.add(node)
            num_known = 0
        results, _ = self._step(str(target), target, template, values, num_known)
        return tuple(results) if isinstance(value, (tuple, list)) else results[0]

    def _template(self, args: Any, traced: Any) -> fallback.Template:
        template = fallback.Template(self.graph, args, traced)
        self.has_held |= any(isinstance(leaf, Place) for leaf in template.leaves)
        return template

    def _step(
        self,
        name: str,
        operator: Any,
        template: fallback.Template,
        values: Sequence[Any],
        num_known: int | None = None,
        needs_token: bool = False,
    ) -> tuple[list[Any], Node | None]:
        """A step of the plan that calls PyTorch, its results for these traced ones, and its token.

        Results that programs have no memory for are held, as are those from `num_known` on, whose
        shapes are not the traced ones.
        """
        tensors = [v for v in values if isinstance(v, torch.Tensor)]
        is_known = [num_known is None or i < num_known for i in range(len(tensors))]
        kept = [k and fallback.is_memory(v) for k, v in zip(is_known, tensors)]
        memory = [(TO_CORE[v.dtype], list(v.shape)) for k, v in zip(kept, tensors) if k]
        if needs_token or not all(kept):
            memory.append(fallback.TOKEN)
        places: list[Place | None] = [None if k else self._new_place() for k in kept]
        copies = any(v.layout != torch.strided for v in tensors)
        call = fallback.make_call(operator, template, places, copies)
        made = self._external(name, call, template.nodes, memory, template.sizes)
        token = made.pop() if needs_token or not all(kept) else None
        from_memory = iter(made)
        results = iter(
            [
                next(from_memory) if p is None else Held(p.number, v, token, k)
                for p, v, k in zip(places, tensors, is_known)
            ]
        )
        return [next(results) if isinstance(v, torch.Tensor) else v for v in values], token

    def _external(
        self,
        name: str,
        call: fallback.StepFunction,
        operands: Sequence[Node],
        memory: Sequence[fallback.Memory],
        sizes: Sequence[Any] = (),
    ) -> list[Node]:
        """The results of a step that calls a function of Python, which is told `sizes`."""
        number = len(self.externals)
        self.externals.append((name, call, list(memory), list(sizes)))
        return [self.graph.external(number, i, list(operands), *m) for i, m in enumerate(memory)]

    def _new_place(self) -> Place:
        self.has_held = True
        self.num_places += 1
        return Place(self.num_places - 1)

    def hold(self, value: Any, traced: torch.Tensor) -> Held:
        """A value as a tensor of its real dtype and strides, outside of the program's memory."""
        if isinstance(value, Held):
            return value
        return self._held_by("hold", fallback.itself, value, traced)

    def _copy_of_constant(self, constant: Held) -> Held:
        """A call's own: results may share memory with it."""
        return self._held_by("copy", torch.clone, constant, constant.traced)

    def _held_by(self, verb: str, operator: Any, value: Any, traced: torch.Tensor) -> Held:
        template = fallback.Template(self.graph, ([value], {}), ([traced], {}))
        place = self._new_place()
        call = fallback.make_call(operator, template, [place], copies=False)
        name = f"{verb} {traced.dtype}"
        (done,) = self._external(name, call, template.nodes, [fallback.TOKEN], template.sizes)
        return Held(place.number, traced, done)

    def load(self, held: Held) -> Any:
        """The nodes that stand for a held tensor; Unsupported if programs have none for it."""
        found = self.loads.get(held.place)
        if found is not None:
            return found
        x = held.traced
        if not fallback.can_be_loaded(held):
            raise Unsupported(
                _kind(x) if held.has_traced_shape else "an operand that tracing mistakes"
            )
        if held.place < self.num_placeholders:
            if x.is_complex():
                self.adapted_inputs.append(held.place)
            found = self._input(held.place, x, self.strides(self.placeholders[held.place]))
        else:
            template = fallback.Template(self.graph, ([held], {}), ([x], {}))
            shape = [*x.shape, 2] if x.is_complex() else list(x.shape)
            memory = (TO_CORE[part_dtype(x.dtype)], shape)
            call = fallback.make_call(fallback.loaded, template, [None], copies=False)
            (node,) = self._external(
                f"read {x.dtype}", call, template.nodes, [memory], template.sizes
            )
            found = split_pairs(self.graph, node) if x.is_complex() else node
        self.loads[held.place] = found
        return found

    def _loaded(self, args: Any) -> Any:
        return pytree.tree_map_only(Held, self.load, args)

    def _with_storage(self, node: FxNode, args: Sequence[Any]) -> Sequence[Any]:
        """The arguments of an operator that reads its first operand's storage, where a dense copy of
        the operand has less in it: with an input as the call brings it, if the operand is a view of
        one that the graph does not write to.
        """
        traced = self.lowering.traced_args[0]
        is_whole = tuple(traced.stride()) == contiguous_strides(tuple(traced.shape)) and (
            traced.untyped_storage().nbytes() == traced.numel() * traced.element_size()
        )
        if is_whole or isinstance(args[0], Held):
            return args
        found = viewed_input(node.args[0], self.traced, self.placeholders)
        has_offset = len(args) > 3 and args[3] is not None
        if found is None or found[0] in self._inputs_written() or not has_offset:
            raise GraphRejected(f"{node.target} reads the storage of a view")
        index, source = found
        self.has_held = True
        return [Held(index, self.traced[source]), *args[1:]]

    def _inputs_written(self) -> set[int]:
        writes = self.module.graph.find_nodes(
            op="call_function", target=torch.ops.aten.copy_.default
        )
        return {
            self.placeholders.index(n.args[0]) for n in writes if n.args[0] in self.placeholders
        }

    def _write_input(self, node: FxNode) -> None:
        target, source = node.args[:2]
        index = self.placeholders.index(target)
        value, new = self.traced[target], self._lookup(source)
        self.env[node] = new
        if not fallback.is_memory(value):
            self.held_writes[index] = self.hold(new, self.traced[source])
            return
        try:
            new = self._loaded(new)
        except Unsupported as error:
            raise GraphRejected(
                f"input {target.name} is overwritten by a tensor of {error}"
            ) from None
        if new.dtype != TO_CORE[value.dtype]:
            new = self.graph.cast(new, TO_CORE[value.dtype])
        if list(new.shape) != list(value.shape):
            new = self.graph.broadcast_to(new, list(value.shape))
        self.written[index] = new
        self.env[node] = new

    def _lookup(self, arg: Any) -> Any:
        if isinstance(arg, FxNode):
            if arg not in self.env:
                raise GraphRejected(f"{arg.name} has no value")
            return self.env[arg]
        if isinstance(arg, (tuple, list)):
            return type(arg)(self._lookup(a) for a in arg)
        if isinstance(arg, dict):
            return {k: self._lookup(a) for k, a in arg.items()}
        if isinstance(arg, slice):
            return slice(self._lookup(arg.start), self._lookup(arg.stop), self._lookup(arg.step))
        return arg

    def _traced_of(self, arg: Any) -> Any:
        return self.traced.get(arg) if isinstance(arg, FxNode) else arg


def _values_of(module: GraphModule) -> dict[FxNode, Any]:
    return {node: node.meta["val"] for node in module.graph.nodes if "val" in node.meta}


def has_symbols(module: GraphModule) -> bool:
    """True when a traced value of the graph has a symbolic size."""
    for node in module.graph.nodes:
        value = node.meta.get("val")
        items = value if isinstance(value, (tuple, list)) else (value,)
        if not all(is_concrete(v) for v in items):
            return True
    return False


@functools.cache
def _number_places(overload: Any) -> tuple[tuple[int, str], ...]:
    """Where an overload takes a number or a tensor."""
    return tuple(
        (i, a.name)
        for i, a in enumerate(overload._schema.arguments)
        if str(a.type) in ("Tensor", "Optional[Tensor]", "number", "Optional[number]")
    )


def _can_hold_numbers(node: FxNode, value: Any, operands: Sequence[Any]) -> bool:
    """Whether the dtype that an operator works in has a place for its numbers: where it has not,
    PyTorch knows whether that is an error, an infinity, or wraps.
    """
    places = _number_places(node.target)
    given = [node.args[i] if i < len(node.args) else node.kwargs.get(name) for i, name in places]
    numbers = [n for n in given if type(n) in (int, float) and math.isfinite(n)]
    if not numbers:
        return True
    dtypes = {t.dtype for t in _tensors(value)} - {torch.bool}
    dtypes = dtypes or {t.dtype for v in operands for t in _tensors(v)} - {torch.bool}
    for dtype in dtypes:
        is_integer = not (dtype.is_floating_point or dtype.is_complex)
        info = torch.iinfo(dtype) if is_integer else torch.finfo(dtype)
        if not all(info.min <= n <= info.max for n in numbers):
            return False
    return True


def _kind(value: torch.Tensor) -> str:
    """What about a tensor programs do not know."""
    if value.layout != torch.strided:
        return f"layout {value.layout}"
    return f"device {value.device}" if value.device.type != "cpu" else f"dtype {value.dtype}"


def _may_be_mistaken(node: FxNode) -> bool:
    """Whether all that a node's users read is what PyTorch's own kernels gave in other shapes."""

    def names(user: FxNode) -> set[str]:
        arguments = getattr(getattr(user.target, "_schema", None), "arguments", ())
        return {a.name for a, given in zip(arguments, user.args) if given is node} or {""}

    return set().union(*map(names, node.users)) <= MISTAKEN


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float, bool, _core.SymInt, SizedFloat))


def _tensors(value: Any) -> list[torch.Tensor]:
    items = value if isinstance(value, (tuple, list)) else (value,)
    return [v for v in items if isinstance(v, torch.Tensor)]


def _checked(result: Any, value: Any) -> Any:
    """The row's result if it has the traced shapes and dtypes; Unsupported otherwise."""
    if isinstance(value, (tuple, list)):
        if not isinstance(result, (tuple, list)) or len(result) != len(value):
            raise Unsupported("the lowering gave another number of results")
        return tuple(
            None if v is None or r is None else _checked(r, v) for r, v in zip(result, value)
        )
    if isinstance(result, Complex) != value.is_complex():
        raise Unsupported("the lowering gave a real value for a complex one, or a complex one")
    dtype = part_dtype(value.dtype)
    for node in (result.re, result.im) if isinstance(result, Complex) else (result,):
        if list(node.shape) != list(value.shape):
            shapes = f"{list(node.shape)}, not {list(value.shape)}"
            raise Unsupported(f"the lowering gave shape {shapes}")
        if node.dtype != TO_CORE.get(dtype):
            raise Unsupported(f"the lowering gave {node.dtype}, not {dtype}")
    return result
