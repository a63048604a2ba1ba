"""One FX graph of ATen operators into one CoreGrad program.

A scan over the FX nodes calls the lowering table's rows; an operator without a row becomes an external
step of the same plan. Outputs keep the aliasing of the traced graph: what shares storage with an input
is a view of that input, what shares storage with another output is a view of one common tensor.
"""

from __future__ import annotations

import dataclasses
import operator
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.fx import GraphModule
from torch.fx import Node as FxNode

from .. import _core
from .._core import DType, Graph, Node
from . import fallback
from .lowering import (
    COMPLEX_ROWS,
    ROWS,
    Complex,
    Lowering,
    Unsupported,
    interleaved,
    small_integers,
    split_pairs,
)
from .metadata import (
    NARROW,
    SMALL,
    TO_CORE,
    GraphRejected,
    as_pairs,
    contiguous_strides,
    is_adapted,
    is_concrete,
    is_writable,
    output_strides,
    part_dtype,
    require_dense_cpu,
)
from .options import Options
from .program import CompiledGraph, Converted, Fixed, FromInput, FromProgram, View
from .reporting import GraphReport
from .threads import thread_limit

#: Operators whose result depends on their first operand's storage, not only on its elements.
READS_STORAGE = (
    torch.ops.aten.as_strided,
    torch.ops.aten.as_strided_copy,
    torch.ops.aten.as_strided_scatter,
)
SHAPES_UNKNOWN = (torch.ops.aten._embedding_bag, torch.ops.aten._embedding_bag_forward_only)
#: Operators that read what those gave, which for narrow floats has other shapes than traced.
READS_SHAPES_UNKNOWN = (
    torch.ops.aten._embedding_bag_backward,
    torch.ops.aten._embedding_bag_dense_backward,
    torch.ops.aten._embedding_bag_per_sample_weights_backward,
)


#: Stands for a tensor of the traced graph that orders effects; calls bring None for it.
TOKEN = object()


def storage_key(value: torch.Tensor) -> int:
    """Equal for traced tensors that share storage."""
    return value.untyped_storage()._cdata


@dataclasses.dataclass
class Layouts:
    """Strides that a forward program gave its outputs, by the name of the FX node: the backward
    graph's placeholders have the same names.
    """

    by_name: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)


def layouts_of(module: GraphModule, args: Sequence[Any]) -> Layouts:
    """The strides that a call's arguments have."""
    placeholders = module.graph.find_nodes(op="placeholder")
    return Layouts(
        {
            node.name: tuple(value.stride())
            for node, value in zip(placeholders, args, strict=True)
            if isinstance(value, torch.Tensor)
        }
    )


class Importer:
    """Builds the program of one graph whose traced values are all concrete."""

    def __init__(
        self,
        module: GraphModule,
        options: Options,
        report: GraphReport,
        values: Mapping[FxNode, Any] | None = None,
        layouts: Layouts | None = None,
    ) -> None:
        self.module = module
        self.options = options
        self.report = report
        self.any_size = values is not None  # these are for one of several sets of sizes
        self.traced = values if values is not None else _values_of(module)
        self.layouts = layouts if layouts is not None else Layouts()
        self.graph = Graph()
        self.lowering = Lowering(self.graph, self._seed)
        self.env: dict[FxNode, Any] = {}
        self.placeholders: list[FxNode] = []
        self.constants: list[torch.Tensor] = []
        self.constant_nodes: list[FxNode] = []
        self.externals: list[tuple[str, Any, list[tuple[Any, list[int]]]]] = []
        self.written: dict[int, Node] = {}  #: input number -> what overwrites it
        self.seed: Node | None = None
        self.adapted_inputs: list[int] = []
        self.checks: list[Node] = []  #: what is computed only to raise errors
        self.num_placeholders = sum(n.op == "placeholder" for n in module.graph.nodes)
        self.num_constants = sum(n.op == "get_attr" for n in module.graph.nodes)

    def run(self) -> CompiledGraph:
        """The compiled graph; GraphRejected if the graph cannot be taken as a whole."""
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
        compiled = self._finish(output.args[0], start)
        return compiled

    # Leaves

    def _placeholder(self, node: FxNode) -> None:
        value, index = self.traced.get(node), len(self.placeholders)
        self.placeholders.append(node)
        if not isinstance(value, torch.Tensor):
            self.env[node] = value
            return
        if not node.users:
            return
        if any(user.target is torch.ops.higher_order.with_effects for user in node.users):
            self.env[node] = TOKEN
            return
        require_dense_cpu(value, f"input {node.name}")
        if is_adapted(value):
            self.adapted_inputs.append(index)
        self.env[node] = self._input(index, value, self._strides(node))

    def _strides(self, placeholder: FxNode) -> tuple[int, ...]:
        """What the memory of an input will have, which need not be what was traced."""
        return self.layouts.by_name.get(placeholder.name, tuple(self.traced[placeholder].stride()))

    def _input(self, index: int, value: torch.Tensor, strides: tuple[int, ...]) -> Any:
        shape, dtype = tuple(value.shape), TO_CORE[part_dtype(value.dtype)]
        if value.is_complex():
            shape, strides = (*shape, 2), as_pairs(strides)
        if 0 in shape or strides == contiguous_strides(shape) or value.dtype in SMALL:
            strides = ()
        node = self.graph.input(index, dtype, list(shape), list(strides))
        return split_pairs(self.graph, node) if value.is_complex() else node

    def _constant(self, node: FxNode) -> None:
        value: Any = self.module
        for part in node.target.split("."):
            value = getattr(value, part)
        if not isinstance(value, torch.Tensor):
            raise GraphRejected(f"constant {node.name} is a {type(value).__name__}")
        require_dense_cpu(value, f"constant {node.name}")
        if is_adapted(value):
            raise GraphRejected(f"constant {node.name} has dtype {value.dtype}")
        self.traced = {**self.traced, node: value}
        self.env[node] = self._input(
            self.num_placeholders + len(self.constants), value, tuple(value.stride())
        )
        self.constants.append(value)

    def _seed(self) -> Node:
        """The scalar that decides all random numbers of a call: the input behind all others."""
        if self.seed is None:
            index = self.num_placeholders + self.num_constants
            self.seed = self.graph.input(index, _core.DType.int64, [])
        return self.seed

    # Operators

    def _call(self, node: FxNode) -> None:
        target, value = node.target, self.traced.get(node)
        if target is operator.getitem:
            source, index = node.args
            self.env[node] = self._lookup(source)[index]
            return
        if target is torch.ops.higher_order.with_effects:
            self._check(node)
            return
        if not isinstance(target, torch._ops.OpOverload):
            if _is_scalar(value):
                self.env[node] = value
                return
            raise GraphRejected(f"{target} is not an ATen operator")
        if _is_scalar(value):  # sizes and numbers, known since the shapes are
            self.env[node] = value
            return
        if target is torch.ops.aten.copy_.default and node.args[0] in self.placeholders:
            self._write_input(node)
            return
        if target._schema.is_mutable:
            raise GraphRejected(f"{target} writes to its operands")
        for tensor in _tensors(value):
            require_dense_cpu(tensor, f"a result of {target}")
        self.env[node] = self._lower(node, target, value)

    def _check(self, node: FxNode) -> None:
        """A step that raises linear algebra's errors; the only operator with an effect that we know."""
        _, target, info, *rest = node.args
        if target is not torch.ops.aten._linalg_check_errors.default:
            raise GraphRejected(f"{target} has an effect")
        kwargs = dict(node.kwargs)

        def call(operands: list[torch.Tensor], results: list[torch.Tensor | None]) -> None:
            target(operands[0], *rest, **kwargs)
            for result in results:
                if result is not None:
                    result.zero_()

        types = [(DType.int32, [1])]
        done = self.graph.external(len(self.externals), 0, [self.env[info]], *types[0])
        self.externals.append((str(target), call, types))
        self.checks.append(done)
        self.report.native[str(target)] += 1
        self.env[node] = (TOKEN, None)

    def _lower(self, node: FxNode, target: Any, value: Any) -> Any:
        context = self.lowering
        context.result = value
        context.traced_args = [self._traced_of(a) for a in node.args]
        args = [self._lookup(a) for a in node.args]
        kwargs = {k: self._lookup(a) for k, a in node.kwargs.items()}
        values = [self.traced.get(n) for n in (node, *node.all_input_nodes)]
        # Tensors that stand for another one in our graph; no step in PyTorch can take them.
        adapted = [t for v in values for t in _tensors(v) if is_adapted(t)]
        is_complex = any(t.is_complex() for t in adapted)
        row = (COMPLEX_ROWS if is_complex else ROWS).get(target)
        self.graph.set_origin(node.name)
        try:
            if row is None:
                context.unsupported("no lowering")
            if adapted and not is_complex:
                refusal = small_integers.refusal(target, context.traced_args)
                if refusal is not None:
                    context.unsupported(refusal)
            result = _checked(row(context, *args, **kwargs), value)
        except Unsupported as error:
            reason = str(error)
        except _core.CoreGradError as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            self.report.native[str(target)] += 1
            return self._wrapped(target, result, value) if adapted else result
        if adapted:
            raise GraphRejected(f"{target} of {adapted[0].dtype}: {reason}")
        return self._external(node, args, kwargs, value, reason)

    def _wrapped(self, target: Any, result: Any, value: Any) -> Any:
        if isinstance(value, (tuple, list)):
            return tuple(self._wrapped(target, r, v) for r, v in zip(result, value))
        if not isinstance(value, torch.Tensor) or value.dtype not in SMALL or result is None:
            return result
        return small_integers.wrapped(self.graph, target, result, value.dtype)

    def _external(
        self, node: FxNode, args: Sequence[Any], kwargs: dict[str, Any], value: Any, reason: str
    ) -> Any:
        target: Any = node.target
        self._require_what_fallbacks_give(target)
        self.report.add_fallback(str(target), reason)
        nodes, template = fallback.split_operands(args, kwargs)
        traced = torch.fx.node.map_arg((list(node.args), dict(node.kwargs)), self.traced.get)
        strides = fallback.operand_strides(traced)
        number = len(self.externals)
        values = list(value) if isinstance(value, (tuple, list)) else [value]
        types, results = [], []
        for v in values:
            if not isinstance(v, torch.Tensor):
                results.append(v)
                continue
            dtype, shape = TO_CORE[v.dtype], list(v.shape)
            results.append(self.graph.external(number, len(types), nodes, dtype, shape))
            types.append((dtype, shape))
        self.externals.append((str(target), fallback.make_call(target, template, strides), types))
        return tuple(results) if isinstance(value, (tuple, list)) else results[0]

    def _require_what_fallbacks_give(self, target: Any) -> None:
        """Refuses operators that a step over dense copies and traced shapes cannot run."""
        if target.overloadpacket in SHAPES_UNKNOWN:
            raise GraphRejected(
                f"{target} has results of other shapes than those it is traced with"
            )
        if (
            target.overloadpacket in READS_SHAPES_UNKNOWN
            and TO_CORE[self.lowering.traced_args[0].dtype] in NARROW
        ):
            raise GraphRejected(
                f"{target} has operands of other shapes than those it is traced with"
            )
        if target.overloadpacket not in READS_STORAGE:
            return
        traced = self.lowering.traced_args[0]
        is_whole = tuple(traced.stride()) == contiguous_strides(tuple(traced.shape)) and (
            traced.untyped_storage().nbytes() == traced.numel() * traced.element_size()
        )
        if not is_whole:
            raise GraphRejected(f"{target} reads the storage of a view")

    def _write_input(self, node: FxNode) -> None:
        target, source = node.args[:2]
        index = self.placeholders.index(target)
        value = self.traced[target]
        if is_adapted(value):
            raise GraphRejected(f"input {target.name} of {value.dtype} is overwritten")
        new = self._lookup(source)
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

    # Outputs

    def _finish(self, outputs: Sequence[Any], start: float) -> CompiledGraph:
        owners = self._storage_owners()
        inputs_by_storage = {}
        for index, node in enumerate(self.placeholders):
            value = self.traced.get(node)
            if isinstance(value, torch.Tensor):
                inputs_by_storage.setdefault(storage_key(value), (index, node))
        wanted = [o for o in outputs if isinstance(o, FxNode)]
        sharing: dict[int, set[FxNode]] = {}
        for node in wanted:
            value = self.traced.get(node)
            if isinstance(value, torch.Tensor):
                sharing.setdefault(storage_key(value), set()).add(node)

        program_outputs: list[tuple[Node, tuple[int, ...] | None, int]] = []
        number_of: dict[FxNode, int] = {}

        def materialise(node: FxNode, strides: tuple[int, ...]) -> int:
            if node not in number_of:
                number_of[node] = len(program_outputs)
                value, made = self.traced[node], self.env[node]
                is_plain = strides == contiguous_strides(tuple(value.shape))
                if isinstance(made, Complex):
                    made, strides = interleaved(self.graph, made), as_pairs(strides)
                program_outputs.append((made, None if is_plain else list(strides), -1))
            return number_of[node]

        plan: list[Any] = []
        for o in outputs:
            value = self.traced.get(o) if isinstance(o, FxNode) else o
            if not isinstance(o, FxNode) or not isinstance(value, torch.Tensor):
                plan.append(self._scalar_output(o, value))
                continue
            if self.env.get(o) is TOKEN:
                plan.append(Fixed(None))
                continue
            if o in self.placeholders:
                plan.append(FromInput(self.placeholders.index(o)))
                continue
            if o.target is torch.ops.aten.copy_.default and o.args[0] in self.placeholders:
                plan.append(FromInput(self.placeholders.index(o.args[0])))
                continue
            require_dense_cpu(value, f"output {o.name}")
            key = storage_key(value)
            if key in inputs_by_storage:
                index, source = self._viewed_input(o) or inputs_by_storage[key]
                base = self.traced[source]
                if value.is_conj() or (is_adapted(base) and value.dtype != base.dtype):
                    raise GraphRejected(f"output {o.name} is a view of an input of {base.dtype}")
                is_complex = value.is_complex() and not base.is_complex()
                step = 2 if is_complex else 1
                plan.append(
                    View(
                        FromInput(index),
                        tuple(value.shape),
                        tuple(value.stride()),
                        # A call may bring the input at another place of its storage.
                        step * value.storage_offset() - base.storage_offset(),
                        tuple(base.stride()),
                        is_complex,
                    )
                )
                self.layouts.by_name[o.name] = tuple(value.stride())
                continue
            owner = owners[key]
            base = self.traced[owner]
            # Where AOTAutograd merged equal nodes, what owned the storage may be gone.
            if len(sharing[key]) == 1 or not all(_fits(self.traced[n], base) for n in sharing[key]):
                strides = output_strides(value)
                self.layouts.by_name[o.name] = strides
                made = FromProgram(materialise(o, strides))
                if value.is_complex():
                    plan.append(View(made, tuple(value.shape), strides, 0, is_complex=True))
                elif is_adapted(value):
                    plan.append(Converted(made, value.dtype))
                else:
                    plan.append(made)
                continue
            if any(is_adapted(self.traced[n]) for n in sharing[key]):
                raise GraphRejected(f"outputs of {value.dtype} share their storage")
            strides = tuple(base.stride())
            if base.storage_offset() or (base.numel() and strides != output_strides(base)):
                raise GraphRejected(
                    f"outputs share the storage of {owner.name}, which is not dense"
                )
            source = FromProgram(materialise(owner, output_strides(base)))
            self.layouts.by_name[o.name] = tuple(value.stride())
            plan.append(
                source
                if o is owner
                else View(source, tuple(value.shape), tuple(value.stride()), value.storage_offset())
            )
        for index, node in self.written.items():
            value = self.traced[self.placeholders[index]]
            strides = self._strides(self.placeholders[index])
            if not is_writable(tuple(value.shape), strides):
                raise GraphRejected(
                    f"input {self.placeholders[index].name} is overwritten and overlaps itself"
                )
            given = None if strides == contiguous_strides(tuple(value.shape)) else list(strides)
            program_outputs.append((node, given, index))
        program_outputs += [(check, None, -1) for check in self.checks]
        imported = time.perf_counter()
        num_inputs = self.num_placeholders + self.num_constants + 1
        program = None
        if program_outputs:
            program = _core.Program(
                self.graph,
                program_outputs,
                num_inputs,
                self.externals,
                self.report.name,
                self.options.executor,
                self.any_size,
                thread_limit(),
            )
            self.report.plan = program.report
        self.report.import_ms = (imported - start) * 1e3
        self.report.compile_ms = (time.perf_counter() - imported) * 1e3
        compiled = CompiledGraph(
            program,
            plan,
            self.num_placeholders,
            self.constants + [None] * (self.num_constants - len(self.constants)),
            self.seed is not None,
            self.report,
            self.adapted_inputs,
        )
        self.report.compiled = weakref.ref(compiled)
        return compiled

    def _scalar_output(self, output: Any, value: Any) -> Any:
        if isinstance(output, FxNode) and output in self.placeholders:
            return FromInput(self.placeholders.index(output))
        if value is None or isinstance(value, (int, float, bool)):
            return Fixed(value)
        raise GraphRejected(f"output {output} is a {type(value).__name__}")

    def _viewed_input(self, node: FxNode) -> tuple[int, FxNode] | None:
        """The input that a node is a view of, found along its first operands: inputs that shared a
        storage when they were traced need not share it in every call.
        """
        key = storage_key(self.traced[node])
        while node.op == "call_function":
            source = next((a for a in node.args if isinstance(a, FxNode)), None)
            value = self.traced.get(source) if source is not None else None
            if isinstance(value, (tuple, list)):  # a view that has several results
                source = next((a for a in source.args if isinstance(a, FxNode)), None)
                value = self.traced.get(source) if source is not None else None
            if not isinstance(value, torch.Tensor) or storage_key(value) != key:
                return None
            node = source
        return (self.placeholders.index(node), node) if node in self.placeholders else None

    def _storage_owners(self) -> dict[int, FxNode]:
        """For each storage the first node that has it."""
        owners: dict[int, FxNode] = {}
        for node in self.module.graph.nodes:
            value = self.traced.get(node)
            if isinstance(value, torch.Tensor):
                owners.setdefault(storage_key(value), node)
        return owners


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


def _fits(view: torch.Tensor, base: torch.Tensor) -> bool:
    """True when a dense base that starts its storage has every element of a view."""
    last = view.storage_offset() + sum((n - 1) * s for n, s in zip(view.shape, view.stride()))
    return view.numel() == 0 or last < base.storage_offset() + base.numel()


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float, bool)) and not isinstance(value, torch.Tensor)


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
        if node.dtype != TO_CORE[dtype]:
            raise Unsupported(f"the lowering gave {node.dtype}, not {dtype}")
    return result
