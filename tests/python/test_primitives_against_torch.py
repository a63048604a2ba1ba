"""Every primitive of src/ir/ops.def, values and gradients, compiled, against PyTorch.

The cases of one primitive are the outputs of one program, so that they share a compilation. Floats
are judged by float64: our error may be twice eager's own and a little more, by TOLERANCES.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from primitive_cases import TABLE
from primitive_cases.common import DTYPES, Case, generator, sample

import coregrad.torch  # noqa: F401  (tells the program how to take tensors)
from coregrad import _core


@dataclass(frozen=True)
class Tolerance:
    """What is allowed beyond twice eager's error."""

    ulps32: float = 2  # of the reference; docs/math_accuracy.md: at most 1.64
    ulps64: float = 4  # at most 2.2 of ours, and those of eager, which is the reference here
    # Times the dtype's epsilon and the magnitude of what is added up: the sum of the terms'
    # absolute values; for gradients of elementwise operations that of the incoming gradient.
    epsilons: float = 0


TOLERANCES = {
    "forward": Tolerance(),
    "gradient": Tolerance(4, 8),
    "forward sum": Tolerance(2, 4, 4),
    "gradient sum": Tolerance(4, 8, 4),
    # Products of up to 286 elements: about the square root of that.
    "forward sum prod": Tolerance(2, 4, 16),
    "gradient sum prod": Tolerance(4, 8, 16),
    "forward sum cumprod": Tolerance(2, 4, 16),
    "gradient sum cumprod": Tolerance(4, 8, 16),
    # Blocks of up to 512 additions in a row (src/codegen/loops/loop_nest.cpp), PyTorch's of 16: equal
    # terms, as in a broadcast operand, are all rounded the same way.
    "forward sum sum": Tolerance(2, 4, 32),
    "forward sum contract": Tolerance(2, 4, 32),
    "gradient sum contract": Tolerance(4, 8, 32),
    # Slopes that are a difference: 1 + y, 1 - y * y and 1 - y.
    "gradient expm1": Tolerance(4, 8, 4),
    "gradient tanh": Tolerance(4, 8, 4),
    "gradient sigmoid": Tolerance(4, 8, 4),
}


def tolerance_for(kind, op):
    return TOLERANCES.get(f"{kind} {op}", TOLERANCES[kind])


def primitives():
    table = Path(__file__).parents[2] / "src" / "ir" / "ops.def"
    return re.findall(r'^COREGRAD_OP\(\w+, \w+, "(\w+)"', table.read_text(), re.MULTILINE)


def test_every_primitive_of_the_table_has_cases():
    assert len(primitives()) > 60
    # Sizes that are no numbers and graphs of steps have tests of their own (symbolic_test.cpp and
    # iterate_test.cpp in tests/cpp/compile).
    assert set(TABLE) == set(primitives()) - {"size", "iterate"}


def ulp(x):
    """The distance from |x| to its neighbour."""
    x = x.abs()
    towards = torch.where(x < torch.finfo(x.dtype).max, torch.inf, 0.0).to(x.dtype)
    return (torch.nextafter(x, towards) - x).abs().double()


def bits_agree(a, b):
    same = (a == b) & (torch.signbit(a) == torch.signbit(b))
    return same | (a.isnan() & b.isnan())


def difference(ours, eager, exact, tolerance, magnitude, signs, precision):
    """What is wrong with `ours`, or nothing. `exact` is None where the bits must be eager's.

    `precision` is the dtype that was computed in, which may be narrower than that of the result.
    """
    if ours.dtype != eager.dtype or ours.shape != eager.shape:
        return f"{ours.dtype} {tuple(ours.shape)}, expected {eager.dtype} {tuple(eager.shape)}"
    if not ours.is_floating_point():
        exact = eager
        wrong = ours != eager
    elif exact is None:
        exact = eager
        wrong = ~bits_agree(ours, eager) if signs else ~((ours == eager) | bits_agree(ours, eager))
    else:
        rounded = exact.to(precision)
        ulps = tolerance.ulps32 if precision == torch.float32 else tolerance.ulps64
        error, own = (ours.double() - exact).abs(), (eager.double() - exact).abs()
        magnitude = magnitude.where(magnitude.isfinite(), 0.0)
        epsilon = torch.finfo(precision).eps
        allowed = 2 * own + ulps * ulp(rounded) + tolerance.epsilons * epsilon * magnitude
        wrong = ~(error <= allowed)
        if signs:
            wrong |= (rounded == 0) & (ours == 0) & ~bits_agree(ours, rounded)
        # What overflows on the way in float32 need not in float64.
        agrees = bits_agree(ours, eager) | bits_agree(ours, rounded)
        wrong = wrong.where(eager.isfinite() & rounded.isfinite(), ~agrees)
    if not wrong.any():
        return None
    places = wrong.nonzero()
    shown = [
        f"[{', '.join(map(str, at))}] got {ours[tuple(at)].item()!r} eager "
        f"{eager[tuple(at)].item()!r} exact {exact[tuple(at)].item()!r}"
        for at in places[:3].tolist()
    ]
    return f"{len(places)} of {ours.numel()}: " + "; ".join(shown)


def widened(tensors, result, promotes):
    """Floats in float64, and what becomes a float of `result` before anything is computed too."""
    wide = []
    for t in tensors:
        if promotes and result.is_floating_point:
            t = t.to(result)
        wide.append(t.double() if t.is_floating_point() else t)
    return wide


def evaluate(case: Case, inputs, seed=None):
    """The result, and the gradients of sum(seed * result) for the floating inputs."""
    leaves = [
        t.detach().requires_grad_(given.is_floating_point())
        for t, given in zip(inputs, case.inputs)
    ]
    result = case.eager(*leaves)
    if seed is None:
        return result.detach(), []
    targets = [t for t in leaves if t.requires_grad]
    if not result.requires_grad:
        return result.detach(), [torch.zeros_like(t) for t in targets]
    return result.detach(), torch.autograd.grad(
        result, targets, seed.to(result.dtype), allow_unused=True, materialize_grads=True
    )


def compiled(op, cases, seeds):
    """The result and the gradients of each case, from one program."""
    graph = _core.Graph()
    inputs, outputs, counts = [], [], []

    def node(t):
        inputs.append(t)
        return graph.input(len(inputs) - 1, DTYPES[t.dtype], t.shape, list(t.stride()))

    for case, seed in zip(cases, seeds):
        nodes = [node(t) for t in case.inputs]
        result = case.build(graph, *nodes)
        outputs.append(result)
        counts.append(1)
        if seed is not None:
            targets = [n for n, t in zip(nodes, case.inputs) if t.is_floating_point()]
            outputs += graph.gradients([result], [node(seed)], targets)
            counts[-1] += len(targets)
    externals = [case.external for case in cases if case.external]
    program = _core.Program(
        graph, [(output, None, -1) for output in outputs], len(inputs), externals, name=op
    )
    results = iter(program(list(inputs)))
    return [[next(results) for _ in range(count)] for count in counts]


def magnitudes(case, inputs, seed, result):
    """The sizes of the terms of the result and of each gradient; see Tolerance."""
    if case.sums:
        return evaluate(case, [t.abs() if t.is_floating_point() else t for t in inputs], seed)
    ones = torch.ones_like(result)
    shapes = [t.shape for t in case.inputs if t.is_floating_point()]
    if seed is None:
        return ones, []
    if not case.broadcasts:
        zero = torch.zeros(())  # where nothing is added up
        return ones, [seed if seed.shape == shape else zero for shape in shapes]
    _, gradients = evaluate(case, [t.expand(result.shape) for t in inputs], seed)
    return ones, [g.abs().sum_to_size(shape) for g, shape in zip(gradients, shapes)]


def judge(case, op, ours, seed):
    """What is wrong with the result and the gradients that were computed."""
    kind = " sum" if case.sums else ""
    eager, gradients = evaluate(case, case.inputs, seed)
    wide = widened(case.inputs, eager.dtype, case.promotes)
    exact, exact_gradients = evaluate(case, wide, seed)
    absolute = None if seed is None else seed.abs().double()
    size, gradient_sizes = magnitudes(case, wide, absolute, exact)
    if case.values is not None:
        eager = exact = case.values(*case.inputs)
    if case.slopes is not None and seed is not None:
        exact_gradients = case.slopes(seed, *case.inputs)
        gradients = [g.to(eager.dtype) for g in exact_gradients]
    problem = difference(
        ours[0],
        eager,
        None if case.moves else exact,
        tolerance_for("forward" + kind, op),
        size,
        case.signs,
        eager.dtype,
    )
    if problem:
        yield f"{case.label}: {problem}"
    kind = " sum" if case.sums or case.broadcasts else ""
    rows = zip(ours[1:], gradients, exact_gradients, gradient_sizes)
    for k, (mine, theirs, reference, size) in enumerate(rows):
        problem = difference(
            mine,
            theirs,
            None if case.exact_gradient else reference,
            tolerance_for("gradient" + kind, op),
            size,
            case.exact_gradient,
            min(mine.dtype, eager.dtype, key=lambda t: t.itemsize),
        )
        if problem:
            yield f"{case.label}, gradient {k}: {problem}"


@pytest.mark.parametrize("op", TABLE)
def test_values_and_gradients_are_those_of_pytorch(op):
    generator.manual_seed(0)
    cases = list(TABLE[op](op))
    assert cases
    seeds = []
    for case in cases:
        eager, _ = evaluate(case, case.inputs)
        has_gradient = eager.is_floating_point() and case.differentiable
        has_gradient &= any(t.is_floating_point() for t in case.inputs)
        seeds.append(sample(eager.shape, eager.dtype) if has_gradient else None)
    results = compiled(op, cases, seeds)
    problems = [
        problem
        for case, seed, ours in zip(cases, seeds, results)
        for problem in judge(case, op, ours, seed)
    ]
    assert not problems, f"{len(problems)} of {len(cases)} cases:\n" + "\n".join(problems)
