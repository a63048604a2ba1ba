"""PyTorch's operator and module databases as cases for CoreGrad, and the outcome of each.

Start with `run_entry`: it takes the samples of one entry and dtype through AOTAutograd with the
backend's own compilers (what torch.compile does after Dynamo), forward and gradients, and judges the
results against eager PyTorch, in float64 where that says more.
"""

import dataclasses
import functools
import random
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from functorch.compile import aot_function
from torch.testing._internal import common_methods_invocations
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_modules import module_db
from torch.utils import _pytree as pytree

import coregrad.torch
from coregrad.torch.backend import CompilerFaultWarning, GraphCompiler
from coregrad.torch.options import Options
from coregrad.torch.parity.judge import compare_all, cotangents

# The database fixes the seed inside of its random operators; here their results must show as random.
common_methods_invocations.wrapper_set_seed = lambda op, *args, **kwargs: op(*args, **kwargs)

DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.bool,
)
#: Judged where they are asked for.
SMALL_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.uint32)

#: Outcomes from best to worst; an entry's outcome is its worst sample's.
OUTCOMES = (
    "empty",  # no sample that eager PyTorch itself runs
    "native",  # right, all operators on CoreGrad's own code
    "fallback",  # right, some operators in PyTorch's kernels, named
    "rejected",  # right, the whole graph in PyTorch, with a reason
    "untraceable",  # PyTorch cannot trace it into one graph: CoreGrad never sees it
    "decomposition",  # PyTorch's decomposition alone already differs from its eager kernel
    "wrong",
    "error",  # an exception that is ours
    "crash",  # the process died or hung; only op_db_run can see it
)
BAD = ("wrong", "error", "crash")

#: Results that mean nothing: memory as it is found.
UNINITIALISED = {"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty"} | {
    "new_empty_strided",
    "resize_",
    "resize_as_",
}

#: Orders in which equal elements may stand anyhow: the elements found by the indices are compared.
UNSTABLE = {  # -> place of `dim` among the arguments
    **{"sort": 0, "argsort": 0, "topk": 1},
    **{"kthvalue": 1, "median": 0, "nanmedian": 0, "mode": 0},
}

#: Entries whose gradients jump, so that for narrow floats rounding alone decides them: which of equal
#: elements comes first, and a ReLU next to zero behind many roundings.
JUMPING = {
    *("sort", "msort", "topk", "kthvalue", "median", "nanmedian", "mode"),
    "module nn.TransformerEncoder",
}

#: Entries whose eager kernel is less exact in float64 than its dtype: judged like float32.
INEXACT_IN_EAGER = {"nn.functional.hardsigmoid"}  # multiplies by a float32 1/6


@dataclasses.dataclass
class Case:
    """One call: a function of tensors alone, the tensors, and which results may be compared."""

    call: Callable[..., list[Any]]  #: dtype-agnostic: the tensors decide
    tensors: list[torch.Tensor]
    wide_call: Callable[..., list[Any]]  #: the same with dtype arguments made float64


@dataclasses.dataclass
class Result:
    """What became of one entry and dtype."""

    name: str
    dtype: str
    outcome: str = "empty"
    detail: str = ""
    samples: int = 0
    by_shape_only: int = 0  #: samples whose values are random
    gradients: int = 0  #: samples whose gradients were compared
    native: dict[str, int] = dataclasses.field(default_factory=dict)
    fallbacks: dict[str, str] = dataclasses.field(default_factory=dict)
    rejected: list[str] = dataclasses.field(default_factory=list)

    def note(self, outcome: str, detail: str = "") -> None:
        if OUTCOMES.index(outcome) > OUTCOMES.index(self.outcome):
            self.outcome, self.detail = outcome, detail[:600]


def op_name(op) -> str:
    return op.name + (f":{op.variant_test_name}" if op.variant_test_name else "")


def module_name(info) -> str:
    return "module " + info.name


@functools.cache
def entries() -> dict[str, Any]:
    """Every entry by name: operators, operators that write in place, modules."""
    found: dict[str, Any] = {}
    for op in op_db:
        found[op_name(op)] = op
    for op in op_db:
        if op.inplace_variant is not None:
            found.setdefault(op_name(op) + " in place", op)
    for info in module_db:
        found[module_name(info)] = info
    return found


def dtypes_of(name: str, entry, among: Sequence[torch.dtype] = DTYPES) -> list[torch.dtype]:
    if name.startswith("module "):  # they name no narrow floats
        return [d for d in among if d in (*entry.dtypes, torch.float16, torch.bfloat16)]
    supported = entry.supported_dtypes("cpu")
    if name.endswith(" in place"):
        return [d for d in (torch.float32, *SMALL_INTEGERS) if d in supported and d in among]
    return [d for d in among if d in supported]


# Samples as cases


def _wide_leaf(leaf: Any) -> Any:
    return torch.float64 if leaf in (torch.float32, torch.float16, torch.bfloat16) else leaf


def _case(function: Callable[..., Any], arguments: Any) -> Case:
    """A case of `function(*args, **kwargs)` whose tensors, wherever they stand, become inputs."""
    leaves, spec = pytree.tree_flatten(arguments)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, torch.Tensor)]

    def call_with(leaves):
        def call(*tensors):
            values = list(leaves)
            for place, tensor in zip(places, tensors):
                values[place] = tensor
            args, kwargs = pytree.tree_unflatten(values, spec)
            return pytree.tree_leaves(function(*args, **kwargs))

        return call

    wide = [leaf if isinstance(leaf, torch.Tensor) else _wide_leaf(leaf) for leaf in leaves]
    return Case(call_with(leaves), [leaves[i] for i in places], call_with(wide))


def _op_cases(op, dtype: torch.dtype, in_place: bool, wants_grad: bool):
    for number, sample in enumerate(op.sample_inputs("cpu", dtype, requires_grad=wants_grad)):
        if in_place:
            if sample.broadcasts_input:
                continue
            yield lambda s=sample: _case(op.inplace_variant, ((s.input, *s.args), s.kwargs))
            continue

        def function(*args, _sample=sample, **kwargs):
            return _sample.output_process_fn_grad(op.op(*args, **kwargs))

        if op.name in UNSTABLE and not sample.kwargs.get("stable"):
            function = _by_value(op, sample)

        def make(s=sample, function=function, strided=number % 3 == 2):
            if strided and _is_strided(
                s
            ):  # every third sample, with inputs that are not contiguous
                s = s.noncontiguous()
            return _case(function, ((s.input, *s.args), s.kwargs))

        yield make


def _by_value(op, sample):
    """The operator, with the elements that its indices name instead of the indices."""
    at = UNSTABLE[op.name]
    dim = sample.kwargs.get("dim", sample.args[at] if len(sample.args) > at else -1)

    def function(x, *args, **kwargs):
        result = op.op(x, *args, **kwargs)
        if isinstance(result, torch.Tensor) and op.name != "argsort":
            return result
        values, indices = (None, result) if op.name == "argsort" else result
        keeps_dim = indices.dim() == x.dim()
        return values, torch.gather(x, dim, indices if keeps_dim else indices.unsqueeze(dim))

    return function


def _is_strided(sample) -> bool:
    leaves = pytree.tree_leaves((sample.input, sample.args, sample.kwargs))
    return all(t.layout == torch.strided for t in leaves if isinstance(t, torch.Tensor))


def _module_cases(info, dtype: torch.dtype):
    for training in (True, False):
        inputs = info.module_inputs_func(
            info, device="cpu", dtype=dtype, requires_grad=True, training=training
        )
        for given in inputs:
            if given.forward_input is None:
                continue

            def make(given=given, training=training):
                made = given.constructor_input
                module = info.module_cls(*made.args, **made.kwargs).to(dtype).train(training)
                state = {**dict(module.named_parameters()), **dict(module.named_buffers())}

                def function(state, *args, **kwargs):
                    return torch.func.functional_call(module, state, args, kwargs)

                forward = given.forward_input
                return _case(function, ((state, *forward.args), forward.kwargs))

            yield make


def _chosen(makers: list, limit: int, seed: int) -> list:
    """At most `limit` of them, spread over all, moved by the seed."""
    if len(makers) <= limit:
        return makers
    start = seed % len(makers)
    return [makers[(start + i * len(makers) // limit) % len(makers)] for i in range(limit)]


# Running


def _twin(tensor: torch.Tensor) -> torch.Tensor:
    """A copy with the same strides over a copy of the whole storage."""
    if tensor.layout != torch.strided:
        return tensor.detach().clone().requires_grad_(tensor.requires_grad)
    with torch.no_grad():
        storage = tensor.untyped_storage().clone()
        twin = torch.empty(0, dtype=tensor.dtype).set_(
            storage, tensor.storage_offset(), tensor.size(), tensor.stride()
        )
    return twin.requires_grad_(tensor.requires_grad)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    wide = tensor.detach().clone()
    if tensor.dtype.is_floating_point:
        wide = wide.double()
    elif tensor.dtype.is_complex:
        wide = wide.to(torch.complex128)
    return wide.requires_grad_(tensor.requires_grad)


@dataclasses.dataclass
class Run:
    outputs: list[Any]
    inputs: list[torch.Tensor]  #: after the call
    gradients: list[Any]


def _run(call: Callable[..., list[Any]], tensors: list[torch.Tensor]) -> Run:
    """Outputs and gradients for fixed cotangents; the random state is the same for every run."""
    torch.manual_seed(0)
    random.seed(0)
    outputs = call(*tensors)
    roots = [
        o for o in outputs if isinstance(o, torch.Tensor) and o.requires_grad and _is_real_float(o)
    ]
    leaves = [t for t in tensors if t.requires_grad]
    gradients: list[Any] = []
    if roots and leaves:
        gradients = list(torch.autograd.grad(roots, leaves, cotangents(roots), allow_unused=True))
    return Run(
        [o.detach() if isinstance(o, torch.Tensor) else o for o in outputs],
        [t.detach() for t in tensors],
        gradients,
    )


def _is_real_float(tensor: torch.Tensor) -> bool:
    return tensor.dtype.is_floating_point and tensor.layout == torch.strided


def _exact(case: Case) -> Run | None:
    """The case in float64, if PyTorch runs it so."""
    torch.set_default_dtype(torch.float64)
    try:
        return _run(case.wide_call, [_widened(t) for t in case.tensors])
    except Exception:
        return None
    finally:
        torch.set_default_dtype(torch.float32)


def _is_random(case: Case, eager: Run) -> bool:
    """True when a call draws random numbers, or gives another result the second time."""
    torch.manual_seed(12345)
    before = torch.get_rng_state()
    again = case.call(*[_twin(t) for t in case.tensors])
    drawn = not torch.equal(before, torch.get_rng_state())
    return drawn or compare_all(again, eager.outputs) is not None


def _through_pytorch_alone(case: Case, arguments: dict[str, Any]) -> Run:
    """The same graphs, decompositions and partition, but run by PyTorch's kernels."""
    from torch._dynamo.backends.debugging import boxed_nop

    plain = {**arguments, **dict.fromkeys(("fw_compiler", "bw_compiler"), boxed_nop)}
    plain["inference_compiler"] = boxed_nop
    return _run(aot_function(case.call, **plain), [_twin(t) for t in case.tensors])


def _judge(
    got: Run,
    eager: Run,
    exact: Run | None,
    by_shape: bool,
    slack: torch.dtype | None = None,
    jumps: bool = False,
) -> str | None:
    """What is wrong with a run, or None."""
    parts = ["outputs"] + ["gradients"] * (not jumps) + ["inputs"] * (not by_shape)
    for part in parts:
        mine, theirs = getattr(got, part), getattr(eager, part)
        if by_shape:
            mine, theirs = ([_blank(v) for v in values] for values in (mine, theirs))
        message = compare_all(mine, theirs, getattr(exact, part) if exact else None, slack)
        if message is not None:
            return f"{part}{message}"
    return None


def _blank(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, torch.Tensor) else value


def run_case(
    case: Case, result: Result, label: str, uninitialised: bool = False, dynamic: bool = False
) -> None:
    """Runs one case every way it takes to judge it and notes the outcome."""
    try:
        eager = _run(case.call, [_twin(t) for t in case.tensors])
    except Exception:
        return  # eager PyTorch refuses this sample itself
    result.samples += 1
    by_shape = uninitialised or _is_random(case, eager)
    result.by_shape_only += by_shape
    slack = torch.float32 if result.name.removesuffix(" in place") in INEXACT_IN_EAGER else None
    arguments = {**GraphCompiler(Options.make({})).aot_arguments(), "dynamic": dynamic}
    coregrad.torch.reset()
    try:
        got = _run(aot_function(case.call, **arguments), [_twin(t) for t in case.tensors])
    except Exception as error:
        text = f"{label}: {type(error).__name__}: {error}"
        try:
            _through_pytorch_alone(case, arguments)
        except Exception:
            result.note("untraceable", text)
        else:
            result.note("error", text)
        return
    result.gradients += bool(eager.gradients)
    for graph in coregrad.torch.report().graphs:
        for operator, count in graph.native.items():
            result.native[operator] = result.native.get(operator, 0) + count
        for operator, reasons in graph.fallbacks.items():
            result.fallbacks[operator] = reasons[0]
            result.note("fallback", f"{label}: {operator}: {reasons[0]}")
        if graph.rejected:
            if graph.rejected not in result.rejected:
                result.rejected.append(graph.rejected)
            result.note("rejected", f"{label}: {graph.rejected}")
    result.note("native")
    jumps = result.name in JUMPING and result.dtype in ("float16", "bfloat16")
    message = _judge(got, eager, None, by_shape, slack, jumps)
    if message is not None and not by_shape:
        exact = _exact(case)
        message = _judge(got, eager, exact, by_shape, slack, jumps)
    if message is not None:
        try:
            upstream = _judge(
                _through_pytorch_alone(case, arguments), eager, exact, by_shape, slack
            )
        except Exception as error:
            upstream = f"{type(error).__name__}"
        result.note("decomposition" if upstream else "wrong", f"{label}: {message}")


def run_entry(
    name: str, dtype: torch.dtype, limit: int, seed: int, dynamic: bool = False
) -> Result:
    """At most `limit` samples of one entry; `dynamic`: with sizes that are symbols."""
    entry = entries()[name]
    result = Result(name, str(dtype).removeprefix("torch."))
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CompilerFaultWarning)
        if name.startswith("module "):
            makers = list(_module_cases(entry, dtype))
        else:
            in_place = name.endswith(" in place")
            wants_grad = not in_place and dtype.is_floating_point and entry.supports_autograd
            makers = list(_op_cases(entry, dtype, in_place, wants_grad))
        for number, make in enumerate(_chosen(makers, limit, seed)):
            torch.manual_seed(number)
            uninitialised = name.removesuffix(" in place") in UNINITIALISED
            label = f"sample {number} of {limit}, seed {seed}"
            run_case(make(), result, label, uninitialised, dynamic)
    return result
