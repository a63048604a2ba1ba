"""One model three ways: eager, compiled by CoreGrad, and eager in float64; each value judged.

Start with `examine`. What is compared has a name a user knows: `output`, `gradient of conv1.weight`,
`bn.running_mean after the call`, `conv1.weight after 2 steps`.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from ..reporting import reports
from . import divergence
from .judge import Measure, Slack, cotangents, distance, measure
from .models import Subject
from .tolerances import SLACK

LEARNING_RATE = 0.05
MOVES = 8  #: runs with moved inputs, where a model may be ill-conditioned
#: Every operation inside of a model rounds too, while only inputs and parameters are moved.
INNER_ROUNDINGS = 5

#: Verdicts from best to worst.
VERDICTS = (
    "native",  # right, every operator on CoreGrad's own code
    "fallback",  # right, some operators run in PyTorch
    "rejected",  # right, but a graph runs in PyTorch as a whole
    "partly compiled",  # right, but Dynamo left out parts of the model
    "not compiled",  # right, but Dynamo gave CoreGrad nothing
    "random",  # draws random numbers: only shapes and dtypes are right
    "wrong",
    "error",
)
FAILURES = ("wrong", "error")


@dataclasses.dataclass(frozen=True)
class Settings:
    """How models are examined."""

    dtype: torch.dtype = torch.float32
    grad: bool = True  #: gradients too; else inference under no_grad
    input_grad: bool = True  #: those of inputs among them
    steps: int = 2  #: of plain SGD before parameters are compared; 0: they are not
    absolute: float | None = None  #: slack in place of the table's
    relative: float | None = None
    seed: int = 0
    find_operation: bool = True  #: after a mismatch, name the first diverging operation

    @property
    def slack(self) -> Slack:
        absolute, relative = SLACK[self.dtype]
        return (
            absolute if self.absolute is None else self.absolute,
            relative if self.relative is None else self.relative,
        )


@dataclasses.dataclass
class Examination:
    """What became of one model."""

    name: str
    dtype: str
    verdict: str = "native"
    detail: str = ""
    measures: dict[str, Measure] = dataclasses.field(default_factory=dict)
    num_graphs: int = 0
    num_native: int = 0
    fallbacks: dict[str, dict[str, int]] = dataclasses.field(
        default_factory=dict
    )  #: operator -> reason -> how often
    rejected: list[str] = dataclasses.field(default_factory=list)
    graph_breaks: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    divergence: divergence.Divergence | None = None
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return self.verdict in FAILURES

    @property
    def num_fallback(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.fallbacks.values())

    @property
    def worst(self) -> tuple[str, Measure] | None:
        """The value nearest to its limit, or farthest beyond."""
        if not self.measures:
            return None
        return max(self.measures.items(), key=lambda item: item[1].share)

    def note(self, verdict: str, detail: str = "") -> None:
        """Keeps the worst verdict and its reason."""
        if VERDICTS.index(verdict) > VERDICTS.index(self.verdict):
            self.verdict, self.detail = verdict, detail


def examine(name: str, make: Callable[[], Subject], settings: Settings) -> Examination:
    """Runs one model all three ways; never raises for what the model or the compiler does."""
    started = time.perf_counter()
    result = Examination(name, str(settings.dtype).removeprefix("torch."))
    try:
        _examine(make, settings, result)
    except Exception as error:
        result.note("error", f"{type(error).__name__}: {str(error).splitlines()[0]}")
    result.seconds = time.perf_counter() - started
    return result


def _examine(make: Callable[[], Subject], settings: Settings, result: Examination) -> None:
    torch.manual_seed(settings.seed)
    subject = _in_dtype(make(), settings.dtype)
    result.notes += _silence_dropout(subject.model)
    random_state = torch.get_rng_state()
    eager, settings = _observe_eager(subject, settings, result)
    is_random = not torch.equal(random_state, torch.get_rng_state())
    exact = _exact(subject, settings, result)
    _start_afresh()
    try:
        compiled = observe(subject, settings, lambda f: torch.compile(f, backend="coregrad"))
    finally:
        _take_facts(result)
    if is_random:
        result.note("random", "the model draws random numbers; shapes and dtypes were compared")
        eager, compiled, exact = (
            {k: _blank(v) for k, v in r.items()} for r in (eager, compiled, exact)
        )
    _judge(eager, compiled, exact, settings, result)
    if any(m.wrong is not None for m in result.measures.values()) and exact:
        _allow_for_conditioning(subject, settings, (eager, compiled, exact), result)
    worst = result.worst
    if worst is not None and worst[1].wrong is not None:
        result.note("wrong", f"{worst[0]}: {worst[1].wrong}")
        if settings.find_operation:
            result.divergence = divergence.find(
                lambda backend: observe(
                    subject,
                    dataclasses.replace(settings, steps=0),
                    lambda f: torch.compile(f, backend=backend, dynamic=False),
                ),
                settings.slack,
            )


def _judge(
    eager: dict[str, Any],
    compiled: dict[str, Any],
    exact: dict[str, Any],
    settings: Settings,
    result: Examination,
    sensitivity: dict[str, float] | None = None,
) -> None:
    """Measures every value."""
    for what in {**eager, **compiled}:
        if (what in eager) != (what in compiled) or (eager[what] is None) != (
            compiled[what] is None
        ):
            message = f"{what} is {'missing' if compiled.get(what) is None else 'unexpected'}"
            result.measures[what] = Measure(message, share=float("inf"))
        elif eager[what] is not None:
            value = eager[what]
            is_own = isinstance(value, torch.Tensor) and value.dtype == settings.dtype
            slack = settings.slack
            if exact.get(what) is None:  # eager's own error is unknown, and may be as large as ours
                slack = (2 * slack[0], 2 * slack[1])
            result.measures[what] = measure(
                compiled[what],
                value,
                exact.get(what),
                slack if is_own else None,
                (sensitivity or {}).get(what, 0.0),
            )


def _allow_for_conditioning(
    subject: Subject,
    settings: Settings,
    runs: tuple[dict[str, Any], dict[str, Any], dict[str, Any]],
    result: Examination,
) -> None:
    """Judges again where the model, not the compiler, loses the digits.

    A ReLU6 at its kink, or a batch norm over few values, turns the last place of an input into a large
    change of a gradient, in one engine and not in the other. What eager in float64 makes of inputs and
    parameters moved by half a unit in the last place counts like an error of eager's own, provided that
    the model compiled in float64 misses eager by a thousandth of that at most: a fault of the compiler
    would be as large there.
    """
    if settings.dtype == torch.float64:
        return
    wide = _in_dtype(subject, torch.float64)
    wide_settings = dataclasses.replace(settings, dtype=torch.float64, absolute=None, relative=None)
    exact = runs[2]
    with _default_dtype(torch.float64):
        sensitivity = dict.fromkeys(exact, 0.0)
        for seed in range(MOVES):
            near = observe(moved(wide, torch.finfo(settings.dtype).eps / 2, seed), wide_settings)
            for what, value in near.items():
                sensitivity[what] = max(sensitivity[what], distance(value, exact.get(what)))
        torch._dynamo.reset()
        compiled = observe(wide, wide_settings, lambda f: torch.compile(f, backend="coregrad"))
    probe = Examination(result.name, "float64")
    thousandth = {what: value / 1000 for what, value in sensitivity.items()}
    _judge(exact, compiled, exact, wide_settings, probe, thousandth)
    if any(m.wrong is not None for m in probe.measures.values()):
        return
    wrong = [what for what, m in result.measures.items() if m.wrong is not None]
    _judge(*runs, settings, result, {w: INNER_ROUNDINGS * s for w, s in sensitivity.items()})
    if all(m.wrong is None for m in result.measures.values()):
        result.notes.append(
            f"ill-conditioned: moving inputs and parameters by half a unit in the last place moves "
            f"{wrong[0]} by {sensitivity[wrong[0]]:.3g} in float64; compiled in float64 all is right"
        )


def moved(subject: Subject, relative: float, seed: int) -> Subject:
    """The subject with each float multiplied by 1 + or - `relative`."""
    generator = torch.Generator().manual_seed(seed)

    def move(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        signs = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
        return value.detach() * (1 + relative * signs)

    model = subject.model
    if isinstance(model, nn.Module):
        model = copy.deepcopy(model)
        with torch.no_grad():
            for tensor in [*model.parameters(), *model.buffers()]:
                tensor.copy_(move(tensor))
    return Subject(model, pytree.tree_map(move, subject.inputs), subject.loss)


def _observe_eager(
    subject: Subject, settings: Settings, result: Examination
) -> tuple[dict[str, Any], Settings]:
    """What eager shows, and the settings it could be shown with: some models refuse inputs that want
    gradients, since they set requires_grad of what they make of an input, which only a leaf allows.
    """
    random_state = torch.get_rng_state()
    try:
        return observe(subject, settings), settings
    except RuntimeError as error:
        torch.set_rng_state(random_state)
        settings = dataclasses.replace(settings, input_grad=False)
        try:
            eager = observe(subject, settings)
        except Exception:
            raise error from None
        result.notes.append(f"no gradients of the inputs: {str(error).splitlines()[0]}")
        return eager, settings


def observe(
    subject: Subject, settings: Settings, wrap: Callable[[Any], Any] = lambda f: f
) -> dict[str, Any]:
    """Everything a user can see of one call and of the steps after it, by name; the subject stays as
    it was. `wrap` makes what is called from the model.
    """
    model = copy.deepcopy(subject.model) if isinstance(subject.model, nn.Module) else subject.model
    wants_grad = settings.grad and settings.input_grad
    inputs = pytree.tree_map(lambda v: _twin(v, wants_grad), subject.inputs)
    leaves = [v for v in pytree.tree_leaves(inputs) if isinstance(v, torch.Tensor)]
    parameters = dict(model.named_parameters()) if isinstance(model, nn.Module) else {}
    call = wrap(model)
    seen: dict[str, Any] = {}
    with torch.set_grad_enabled(settings.grad):
        out = call(*inputs)
        flat = pytree.tree_leaves(out)
        for number, value in enumerate(flat):
            name = "output" if len(flat) == 1 else f"output {number}"
            seen[name] = value.detach().clone() if isinstance(value, torch.Tensor) else value
        if settings.grad:
            _backward(subject, out)
            seen |= {f"gradient of {n}": _copy(p.grad) for n, p in parameters.items()}
            seen |= {
                f"gradient of input {i}": _copy(t.grad)
                for i, t in enumerate(leaves)
                if t.requires_grad
            }
    for number, tensor in enumerate(leaves):
        seen[f"input {number} after the call"] = tensor.detach().clone()
    if isinstance(model, nn.Module):
        for name, buffer in model.named_buffers():
            seen[f"{name} after the call"] = buffer.detach().clone()
    if settings.grad and settings.steps and parameters:
        optimizer = torch.optim.SGD(parameters.values(), LEARNING_RATE)
        for step in range(settings.steps):
            if step:
                optimizer.zero_grad()
                _backward(subject, call(*inputs))
            optimizer.step()
        for name, parameter in parameters.items():
            seen[f"{name} after {settings.steps} steps"] = parameter.detach().clone()
    return seen


def _backward(subject: Subject, out: Any) -> None:
    """The backward pass of the loss, or of a fixed random projection of all outputs."""
    if subject.loss is not None:
        subject.loss(out).backward()
        return
    roots = [t for t in pytree.tree_leaves(out) if isinstance(t, torch.Tensor) and t.requires_grad]
    if roots:
        torch.autograd.backward(roots, cotangents(roots))


def _exact(subject: Subject, settings: Settings, result: Examination) -> dict[str, Any]:
    """The model in float64; nothing if PyTorch does not run it so."""
    with _default_dtype(torch.float64):
        try:
            return observe(_in_dtype(subject, torch.float64), settings)
        except Exception as error:
            result.notes.append(f"no float64 reference: {type(error).__name__}: {error}")
            return {}


def _start_afresh() -> None:
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    reports.clear()


def _take_facts(result: Examination) -> None:
    for graph in reports.graphs:
        result.num_graphs += 1
        if graph.rejected:
            if graph.rejected not in result.rejected:
                result.rejected.append(graph.rejected)
            continue
        result.num_native += graph.num_native
        for operator, reasons in graph.fallbacks.items():
            counts = result.fallbacks.setdefault(operator, {})
            for reason in reasons:
                counts[reason] = counts.get(reason, 0) + 1
    counters = torch._dynamo.utils.counters
    for reason in {**counters["graph_break"], **counters["unimplemented"]}:
        what, *rest = reason.split("\n")
        why = [line.strip() for line in rest if line.strip().startswith("Explanation: ")]
        result.graph_breaks.append(" ".join([what + ":", *why]).replace("Explanation: ", ""))
    if result.fallbacks:
        names = ", ".join(sorted(result.fallbacks))
        result.note("fallback", f"run in PyTorch: {names}")
    if result.rejected:
        result.note("rejected", result.rejected[0])
    if not result.num_graphs:
        result.note("not compiled", "; ".join(result.graph_breaks) or "Dynamo captured no graph")
    elif result.graph_breaks:
        result.note("partly compiled", "; ".join(result.graph_breaks))


def _in_dtype(subject: Subject, dtype: torch.dtype) -> Subject:
    model = subject.model
    if isinstance(model, nn.Module):
        model = copy.deepcopy(model).to(dtype)
    inputs = pytree.tree_map(
        lambda v: v.to(dtype) if isinstance(v, torch.Tensor) and v.is_floating_point() else v,
        subject.inputs,
    )
    return Subject(model, inputs, subject.loss)


def _silence_dropout(model: Any) -> list[str]:
    """Switches dropout off: two engines never draw the same numbers. Says so if there was some."""
    found = 0
    for module in model.modules() if isinstance(model, nn.Module) else ():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            found += module.p != 0
            module.p = 0.0
        elif isinstance(getattr(module, "dropout", None), float):
            found += module.dropout != 0
            module.dropout = 0.0
    return [f"dropout of {found} modules switched off"] if found else []


def _twin(value: Any, grad: bool) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().clone().requires_grad_(grad and value.is_floating_point())


def _copy(value: torch.Tensor | None) -> torch.Tensor | None:
    return value.detach().clone() if value is not None else None


def _blank(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, torch.Tensor) else value


@contextlib.contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
