"""Random PyTorch programs, eager against compiled, float64 as the judge: `make random-programs`.

    python tests/python/random_programs_run.py --seeds 0:1000 --jobs 2
    python tests/python/random_programs_run.py --seeds 0:300 --huge    tensors of millions of elements
    python tests/python/random_programs_run.py --seeds 0:300 --resized sizes change from call to call
    python tests/python/random_programs_run.py --seeds 17 --show       prints the program
    python tests/python/random_programs_run.py --program FILE          one that was printed, or edited

A wrong program is cut down before it is printed. Counted apart are programs that PyTorch itself gets
wrong when it runs AOTAutograd's graph (`upstream`), and those that turn rounding of a step into results
as far off as ours, while the program compiled in float64 is right (`unstable`).
"""

from __future__ import annotations

import argparse
import collections
import ctypes
import dataclasses
import functools
import hashlib
import math
import mmap
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import worker_pool
from functorch.compile import aot_function
from random_programs import (
    Program,
    generate,
    generate_huge,
    generate_short,
    parse,
    resized,
    widened,
    with_dense_indices,
)
from torch._dynamo.backends.debugging import boxed_nop
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

import coregrad.torch
from coregrad.torch.aliasing import elements_overlap
from coregrad.torch.backend import CompilerFaultWarning, GraphCompiler
from coregrad.torch.options import Options
from coregrad.torch.parity.judge import compare_all, cotangents, distance, measure
from coregrad.torch.parity.tolerances import SLACK

RESIZED = 6  #: sets of sizes that a program is called with beside its own
SLACK_FACTOR = 8  # sums of random programs cancel more than one operator does
MAX_REDUCTIONS = 300  # programs tried to cut one down
BAD = ("wrong", "error", "crash")
CHECK_MEMORY = os.environ.get("COREGRAD_CHECK_MEMORY", "0") != "0"


@dataclasses.dataclass
class Run:
    """What one call of a program gave."""

    outputs: list[Any]
    gradients: list[Any]
    inputs: list[torch.Tensor]  #: after the call


def run(
    program: Program,
    call: Callable,
    wide: bool = False,
    given: list[torch.Tensor] | None = None,
) -> Run:
    """Outputs, gradients for fixed cotangents, and the inputs afterwards. A program that writes to no
    input may be `given` the same inputs again.
    """
    given = program.make_inputs() if given is None else given
    if wide:
        given = [x.double() if x.is_floating_point() else x for x in given]
    elif CHECK_MEMORY:
        given = [guarded(x) for x in given]
    inputs = [
        x.detach().requires_grad_(program.grad and name in program.wants_grad)
        for name, x in zip(program.inputs, given)
    ]
    torch.set_default_dtype(torch.float64 if wide else torch.float32)
    try:
        with torch.set_grad_enabled(program.grad):
            outputs = list(call(*inputs))
            leaves = [x for x in inputs if x.requires_grad]
            roots = [o for o in outputs if o.requires_grad]
            gradients: list[Any] = []
            if roots and leaves:
                gradients = list(
                    torch.autograd.grad(roots, leaves, cotangents(roots), allow_unused=True)
                )
    finally:
        torch.set_default_dtype(torch.float32)
    return Run([o.detach() for o in outputs], gradients, [x.detach() for x in inputs])


def guarded(x: torch.Tensor) -> torch.Tensor:
    """The tensor in memory whose last byte lies in front of a page that cannot be touched."""
    size = x.untyped_storage().nbytes()
    if not size:
        return x
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    behind = ctypes.addressof(ctypes.c_char.from_buffer(memory, pages))
    no_access = 0
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(behind), mmap.PAGESIZE, no_access) == 0
    flat = torch.frombuffer(memory, dtype=x.dtype, offset=pages - size, count=size // x.itemsize)
    flat.untyped_storage().copy_(x.untyped_storage())
    return flat.as_strided(x.shape, x.stride(), x.storage_offset())


def by_dynamo(program: Program) -> Callable:
    return torch.compile(program.function(), backend="coregrad", dynamic=False)


def _traceable(program: Program) -> Callable:
    """The program as the backend gives it to AOTAutograd."""
    function = program.function()

    def call(*inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(
            o.clone(memory_format=torch.contiguous_format) if elements_overlap(o) else o
            for o in function(*inputs)
        )

    return call if program.grad else function


def by_aot(program: Program, **options: Any) -> Callable:
    """What torch.compile does after Dynamo."""
    return aot_function(_traceable(program), **GraphCompiler(Options.make(options)).aot_arguments())


def by_aot_unfused(program: Program) -> Callable:
    """The same with a kernel for each node: fusion must not change what is computed."""
    return by_aot(program, executor="unfused")


def by_pytorch(program: Program) -> Callable:
    """The graphs that `by_aot` compiles, run by PyTorch."""
    arguments = GraphCompiler(Options.make({})).aot_arguments()
    for name in ("fw_compiler", "bw_compiler", "inference_compiler"):
        arguments[name] = boxed_nop
    return aot_function(_traceable(program), **arguments)


@dataclasses.dataclass
class Outcome:
    """What became of a program."""

    outcome: str  #: right, wrong, error, unstable, upstream, or useless (eager refuses it)
    detail: str = ""
    native: int = 0
    calls: int = 0  #: with different sizes
    fallbacks: dict[str, int] = dataclasses.field(default_factory=dict)
    digest: str = ""  #: of the first run
    program: Program | None = None  #: the variant that is wrong


def variants(program: Program) -> list[tuple[str, Program]]:
    """The program itself, and the same with other results: what it computes must not change."""
    more = list(dict.fromkeys([*program.outputs, *program.intermediates]))
    return [
        ("", program),
        ("outputs reversed: ", dataclasses.replace(program, outputs=program.outputs[::-1])),
        ("more outputs: ", dataclasses.replace(program, outputs=more)),
    ]


def check_seed(seed: int) -> Outcome:
    """The program of a seed; the seed also chooses how it is compiled, and a variant."""
    program = generate(seed)
    ways = [[by_dynamo], [by_aot], [by_aot, by_aot_unfused]][seed % 3]
    chosen = variants(program)
    del chosen[2 if seed % 2 else 1]
    return _check(chosen, ways)


def check_seed_quickly(seed: int) -> Outcome:
    """The program of a seed alone, without Dynamo: a third of the time, for very many seeds."""
    return _check([("", generate(seed))], [by_aot])


def check_seed_resized(seed: int) -> Outcome:
    """A short program compiled once for all sizes, called with several sets of them. What eager refuses
    for the sizes of a call is left out.
    """
    torch._dynamo.reset()
    coregrad.torch.reset()
    program = with_dense_indices(generate_short(seed))
    dynamic = functools.partial(torch.compile, backend="coregrad", dynamic=True)
    call = dynamic(program.function())

    def way(p: Program) -> Callable:
        return call if p.lines == program.lines else dynamic(p.function())

    result = Outcome("useless")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CompilerFaultWarning)
        for p in (program, *(resized(program, RESIZED * seed + i) for i in range(RESIZED))):
            try:
                run(p, p.function())
            except (RuntimeError, LookupError, ValueError, TypeError):
                continue
            found = _judge_program(p, way)
            if found.outcome == "useless":
                continue
            result.outcome, result.detail, result.program = (
                found.outcome,
                found.detail,
                found.program,
            )
            result.calls += 1
            if found.outcome != "right":
                break
    return result


def check_seed_huge(seed: int) -> Outcome:
    """A program over large tensors, judged in few passes over them: its faults are not fine ones."""
    torch._dynamo.reset()
    coregrad.torch.reset()
    program = generate_huge(seed)
    given = program.make_inputs()
    eager = run(program, program.function(), given=given)
    exact = run(program, program.function(wide=True), wide=True, given=given)
    call = by_aot(program)
    got, again = (run(program, call, given=given) for _ in range(2))
    result = Outcome("right", program=program)
    result.native = sum(graph.num_native for graph in coregrad.torch.report().graphs)
    for part in ("outputs", "gradients"):
        values = (getattr(r, part) for r in (got, again, eager, exact))
        for i, (ours, second, theirs, true) in enumerate(zip(*values, strict=True)):
            if theirs is None:
                continue
            scale = float(true.abs().amax()) if true.numel() else 0.0
            allowed = 4 * _farthest(theirs, true) + 1e-5 * scale + 1e-12
            error = _farthest(ours, true)
            if ours.shape != theirs.shape or not error <= allowed:
                result.outcome, result.detail = "wrong", f"{part}[{i}]: {error} of {allowed}"
            elif not torch.equal(ours, second):
                result.outcome, result.detail = "wrong", f"{part}[{i}]: a second call differs"
    return result


def _farthest(value: torch.Tensor, true: torch.Tensor) -> float:
    return float(torch.sub(value, true).abs_().amax()) if value.numel() else 0.0


def check(program: Program) -> Outcome:
    """A program compiled in all ways, and its variants."""
    return _check(variants(program), [by_aot, by_aot_unfused, by_dynamo])


def check_alone(program: Program) -> Outcome:
    """The same without variants."""
    return _check([("", program)], [by_aot, by_dynamo])


def _check(chosen: list[tuple[str, Program]], ways: list[Callable]) -> Outcome:
    torch._dynamo.reset()
    coregrad.torch.reset()
    result = Outcome("useless")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", CompilerFaultWarning)
        for note, program in chosen:
            for way in ways:
                found = _judge_program(program, way)
                result.digest = result.digest or found.digest
                if found.outcome == "useless" and note:
                    continue
                result.outcome, result.detail = found.outcome, note + found.detail
                result.program = found.program
                if found.outcome != "right":
                    return result
    fallbacks: collections.Counter = collections.Counter()
    for graph in coregrad.torch.report().graphs:
        result.native += graph.num_native
        for operator, reasons in graph.fallbacks.items():
            fallbacks[f"{operator}: {reasons[0]}"] += len(reasons)
        if graph.rejected:
            fallbacks[f"graph: {graph.rejected}"] += 1
    result.fallbacks = dict(fallbacks)
    return result


def _judge_program(program: Program, way: Callable) -> Outcome:
    try:
        eager = run(program, program.function())
    except RuntimeError as error:  # a value that the gradient needs was overwritten
        if program.grad:
            return _judge_program(dataclasses.replace(program, grad=False), way)
        return Outcome("useless", str(error))
    try:
        exact = run(program, program.function(wide=True), wide=True)
        slack = _slack(program, exact)
    except RuntimeError as error:  # eager's kernels for float64 refuse some empty results
        return Outcome("useless", str(error))
    try:
        call = way(program)
        got = run(program, call)
        digest = _digest(got)
        again = _digest(run(program, call))
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
        try:
            run(program, by_pytorch(program))
        except Exception:
            return Outcome("upstream", detail)
        return Outcome("error", f"{detail}\n{traceback.format_exc()}", program=program)
    if not digest == again == _digest(got):
        return Outcome(
            "wrong", "a second call gave other results, or changed the first", program=program
        )
    message = _judge(got, eager, exact, slack)
    if message is not None:
        try:
            plain = run(program, by_pytorch(program))
        except Exception:  # only Dynamo can trace it
            plain = eager
        is_upstream = _judge(plain, eager, exact, slack) is not None
        message = _judge(got, plain, exact, slack)
        if message is not None and is_upstream and _judge(got, eager, plain, slack) is None:
            return Outcome("upstream", message)
        if message is not None:
            unstable = _is_unstable(program, way, got, eager, exact, slack)
            return Outcome("unstable" if unstable else "wrong", message, program=program)
    return Outcome("right", digest=digest)


class _Roundings(TorchDispatchMode):
    """What each operation in float64 gives, moved by up to half a unit in the last place of a dtype."""

    def __init__(self, eps: float, seed: int) -> None:
        super().__init__()
        self.eps = eps
        self.generator = torch.Generator().manual_seed(seed)

    def _moved(self, x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or x.dtype != torch.float64:
            return x
        by = torch.rand(x.shape, generator=self.generator, dtype=torch.float64) - 0.5
        return x * (1 + self.eps * by)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.is_view or func._schema.is_mutable:
            return out
        return tree_map(self._moved, out)


def _rounded_runs(program: Program, eps: float) -> list[Run]:
    runs = []
    for seed in range(3):
        with _Roundings(eps, seed):
            runs.append(run(program, program.function(wide=True), wide=True))
    return runs


def _is_unstable(
    program: Program, way: Callable, got: Run, eager: Run, exact: Run, slack: tuple[float, float]
) -> bool:
    """Whether rounding each step of the program does as much to its results as our own error is, and
    a narrow program compiled in float64 is right up to a thousandth of that, or to what rounding in
    float64 does.
    """
    finest = 2 * torch.finfo(torch.float64).eps  # half of it moves a float64
    eps = max(finest, *(torch.finfo(dtype).eps for dtype in _float_types(program)))
    runs, wide_runs = _rounded_runs(program, eps), _rounded_runs(program, finest)
    try:
        wide = dataclasses.replace(program, lines=[widened(line) for line in program.lines])
        compiled = run(wide, way(wide), wide=True)
    except Exception:
        return False
    for part in ("outputs", "inputs", "gradients"):
        moved, wide_moved = ([getattr(r, part) for r in rs] for rs in (runs, wide_runs))
        ours, theirs, true, wide_ours = (getattr(r, part) for r in (got, eager, exact, compiled))
        for i, value in enumerate(theirs):
            if value is None:
                continue
            # Coarse roundings may leave nothing finite to see, where fine ones do.
            fine = max(distance(m[i], true[i]) for m in wide_moved)
            sensitivity = max(fine, *(distance(m[i], true[i]) for m in moved))
            mine = _without_overflow(ours[i], value, true[i])
            if measure(mine, value, true[i], slack, sensitivity).wrong:
                return False
            allowed = max(sensitivity / 1000, fine)
            if eps > finest and measure(wide_ours[i], true[i], true[i], None, allowed).wrong:
                return False
    return True


def _judge(got: Run, eager: Run, exact: Run, slack: tuple[float, float]) -> str | None:
    for part in ("outputs", "inputs", "gradients"):
        ours, theirs, true = (getattr(r, part) for r in (got, eager, exact))
        if len(ours) == len(theirs) == len(true):
            ours = [_without_overflow(*values) for values in zip(ours, theirs, true)]
        message = compare_all(ours, theirs, true, slack)
        if message is not None:
            return f"{part}{message}"
    return None


def _without_overflow(ours: Any, theirs: Any, true: Any) -> Any:
    """Our result, but eager's where only eager's dtype makes it infinite or NaN (which sums overflow is
    not defined), and where ours is float64's own answer (vectors of eager's make gelu(inf) NaN).
    """
    if ours is None or theirs is None or true is None or ours.shape != theirs.shape:
        return ours
    if ours.dtype != theirs.dtype or not ours.is_floating_point():
        return ours
    return torch.where((true.isfinite() & ~theirs.isfinite()) | (ours == true), theirs, ours)


def _slack(program: Program, exact: Run) -> tuple[float, float]:
    """The slack grows with the largest value in the program: its norm, since anything may be summed."""
    everything = dataclasses.replace(program, outputs=program.intermediates, grad=False)
    inner = run(everything, everything.function(wide=True), wide=True).outputs
    scale = 1.0
    for value in [*inner, *exact.outputs, *exact.gradients]:
        if value is not None and value.is_floating_point():
            finite = value[value.isfinite() & (value.abs() < 1e6)]
            scale = max(scale, finite.double().square().sum().sqrt().item())
    absolute, relative = max(SLACK[dtype] for dtype in _float_types(program))
    return absolute * scale * SLACK_FACTOR, relative * SLACK_FACTOR


def _float_types(program: Program) -> set[torch.dtype]:
    """Of its values; float64 if it has none."""
    everything = dataclasses.replace(program, outputs=program.intermediates, grad=False)
    values = [*program.make_inputs(), *run(everything, everything.function()).outputs]
    return {v.dtype for v in values if v.dtype in SLACK} or {torch.float64}


def _digest(got: Run) -> str:
    """Equal for runs that are equal bit by bit. Any NaN is like any other: which operand's sign it has
    depends on the version of a kernel, and so on whether the buffers can take streaming stores.
    """
    digest = hashlib.sha256()
    for tensor in [*got.outputs, *got.gradients, *got.inputs]:
        if tensor is not None:
            digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _bytes(tensor: torch.Tensor) -> bytes:
    dense = tensor.clone(memory_format=torch.contiguous_format)
    if dense.is_floating_point() or dense.is_complex():
        dense = torch.where(dense.isnan(), math.nan, dense)
    return dense.reshape(-1).view(torch.uint8).numpy().tobytes()


# Cutting down


def cut_down(program: Program, outcome_of: Callable[[Program], str] | None = None) -> Program:
    """A smaller program with the same kind of outcome, by default tried in a process of its own."""
    worker = worker_pool.Worker(__file__)
    outcome_of = outcome_of or (lambda p: worker.ask({"program": p.text()})["outcome"])
    want = outcome_of(program)
    tries = 0
    again = want in BAD
    while again:
        again = False
        for smaller in _smaller(program):
            tries += 1
            if tries > MAX_REDUCTIONS:
                break
            if _try(smaller, outcome_of) == want:
                program, again = smaller, True
                break
    worker.stop()
    return program


def _try(program: Program, outcome_of: Callable[[Program], str]) -> str:
    try:
        return outcome_of(program)
    except Exception:  # a line that others need was cut out
        return "invalid"


def _smaller(program: Program) -> Iterator[Program]:
    """Programs with one thing less, the largest cuts first."""
    if len(program.outputs) > 1:
        for name in program.outputs:
            yield dataclasses.replace(program, outputs=[name])
        half = len(program.outputs) // 2
        yield dataclasses.replace(program, outputs=program.outputs[:half])
        yield dataclasses.replace(program, outputs=program.outputs[half:])
        for name in program.outputs:
            rest = [other for other in program.outputs if other != name]
            if rest:
                yield dataclasses.replace(program, outputs=rest)
    if program.grad:
        yield dataclasses.replace(program, grad=False)
    size = len(program.lines) // 2
    while size:
        for first in range(len(program.lines) - size, -1, -size):
            lines = program.lines[:first] + program.lines[first + size :]
            yield dataclasses.replace(program, lines=lines)
        size //= 2
    for name in program.wants_grad:
        yield dataclasses.replace(program, wants_grad=program.wants_grad - {name})
    body = " ".join([*program.lines, *program.outputs])
    for name in program.inputs:
        if name not in body:
            inputs = {k: v for k, v in program.inputs.items() if k != name}
            yield dataclasses.replace(program, inputs=inputs)
    for name, text in program.inputs.items():
        for layout in ("transposed", "sliced", "expanded"):
            if layout in text:
                plain = text.replace(layout, "contiguous")
                yield dataclasses.replace(program, inputs={**program.inputs, name: plain})


# The command line


def seeds_of(text: str) -> list[int]:
    """`7`, `0:100`, `3,8,11`."""
    if ":" in text:
        first, last = map(int, text.split(":"))
        return list(range(first, last))
    return [int(t) for t in text.split(",")]


def answer(job: dict) -> dict:
    """One seed, or one program without its variants, in a worker."""
    torch.set_num_threads(job.get("threads", 1))
    try:
        text = job.get("program")
        check_one = check_seed_quickly if job.get("quick") else check_seed
        check_one = check_seed_huge if job.get("huge") else check_one
        check_one = check_seed_resized if job.get("resized") else check_one
        result = check_alone(parse(text)) if text else check_one(job["seed"])
    except Exception:  # a line that others need was cut out, or the harness itself failed
        result = Outcome("invalid" if "program" in job else "error", traceback.format_exc())
    return {
        **job,
        **dataclasses.asdict(result),
        "program": result.program and result.program.text(),
    }


def report(results: list[dict], seconds: float) -> str:
    """The faults with their programs, counts, and what ran in PyTorch."""
    lines = []
    outcomes = collections.Counter(r["outcome"] for r in results)
    fallbacks: collections.Counter = collections.Counter()
    for r in results:
        fallbacks.update(r.get("fallbacks", {}))
        if r["outcome"] in BAD:
            generated = generate_huge if r.get("huge") else generate
            whole = parse(r["program"]) if r.get("program") else generated(r["seed"])
            lines.append(f"{r['outcome'].upper()} seed {r['seed']}: {r['detail']}")
            # Of several calls the last one alone need not be wrong.
            lines.append((whole if r.get("resized") else cut_down(whole)).text())
        elif r["outcome"] in ("upstream", "unstable"):
            lines.append(f"{r['outcome']}, seed {r['seed']}: {r['detail'][:200]}")
    native = sum(r.get("native", 0) for r in results)
    counts = ", ".join(f"{name} {n}" for name, n in outcomes.most_common())
    lines.append(f"{len(results)} programs in {seconds:.0f} s: {counts}; {native} native operators")
    if any(r.get("resized") for r in results):
        lines.append(f"  {sum(r['calls'] for r in results)} calls with sizes of their own")
    lines += [f"  {n:5} in PyTorch: {row}" for row, n in fallbacks.most_common(20)]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", default="0:1000", help="7 or 0:100 or 3,8,11")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=math.inf, help="start no seed after that")
    parser.add_argument("--quick", action="store_true", help="no variants and no Dynamo")
    parser.add_argument("--huge", action="store_true", help="tensors of millions of elements")
    parser.add_argument(
        "--resized", action="store_true", help="compiled once, called with other sizes each time"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="of each program: 1 to so many, by its seed"
    )
    parser.add_argument("--show", action="store_true", help="print the programs, run nothing")
    parser.add_argument("--program", type=Path, help="a file with a printed program")
    parser.add_argument("--cut-down", action="store_true", help="print a smaller one as well")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker_pool.serve(answer)
        return 0
    if options.program:
        program = parse(options.program.read_text())
        if options.cut_down:
            print(cut_down(program).text())
            return 0
        result = check(program)
        print(result.outcome, result.detail)
        return int(result.outcome in BAD)
    seeds = seeds_of(options.seeds)
    if options.show:
        for seed in seeds:
            text = (generate_huge if options.huge else generate)(seed).text()
            print(f"# seed {seed}\n{text}")
        return 0
    started = time.monotonic()
    jobs = (
        {
            "seed": seed,
            "quick": options.quick,
            "huge": options.huge,
            "resized": options.resized,
            "threads": 1 + seed % options.threads,
        }
        for seed in seeds
        if time.monotonic() - started < options.seconds
    )

    def fault(result: dict) -> str | None:
        if result["outcome"] not in BAD:
            return None
        return f"{result['outcome']}, seed {result['seed']}: {result['detail'][:200]}"

    results = worker_pool.run_and_show(__file__, jobs, len(seeds), options.jobs, "program", fault)
    print(report(results, time.monotonic() - started))
    return int(any(r["outcome"] in BAD for r in results))


if __name__ == "__main__":
    sys.exit(main())
