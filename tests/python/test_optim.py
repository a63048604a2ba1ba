"""Optimisers, against PyTorch's step by step."""

import doctest
import inspect
import itertools

import numpy as np
import pytest
import torch
from optim_cases import (
    CASES,
    SETS,
    STEPS,
    TOLERANCE,
    Training,
    assert_close,
    batch,
    ids,
    loss_of,
    start,
    train_torch,
)

import coregrad as cg
from coregrad import optim
from coregrad.optim import averages as averages_module
from coregrad.optim import optimizer as optimizer_module


@pytest.fixture(params=[np.float64, np.float32], ids=["float64", "float32"])
def dtype(request):
    # PyTorch keeps NAdam's product in its default dtype.
    torch.set_default_dtype(torch.float64 if request.param is np.float64 else torch.float32)
    yield request.param
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("name", "options"), CASES, ids=ids(CASES))
def test_it_is_pytorchs_after_many_steps(name, options, dtype):
    want = train_torch(lambda p: getattr(torch.optim, name)(p, **options), dtype)
    got = Training(lambda p: getattr(optim, name)(p, **options), dtype).run(range(STEPS))
    assert_close(got, want, TOLERANCE[dtype])
    assert any(np.abs(w - s).max() > 0.01 for w, s in zip(want, start(dtype), strict=True))


def lion(parameters, gradients, averages, lr, betas, weight_decay):
    """Program 1 of arXiv:2302.06675."""
    for p, g, m in zip(parameters, gradients, averages, strict=True):
        if g is None:
            continue
        update = np.sign(betas[0] * m + (1 - betas[0]) * g)
        p -= lr * (update + weight_decay * p)
        m[:] = betas[1] * m + (1 - betas[1]) * g


@pytest.mark.parametrize(
    "options", [{"lr": 0.003}, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.2}]
)
def test_lion_is_as_published(options, dtype):
    parameters = [p.astype(np.float64) for p in start(dtype)]
    averages = [np.zeros_like(p) for p in parameters]
    for step in range(STEPS):
        leaves = [torch.tensor(p, requires_grad=True, dtype=torch.float64) for p in parameters]
        x, y = (torch.tensor(v, dtype=torch.float64) for v in batch(step, dtype))
        loss_of(leaves, x, y, step).backward()
        gradients = [None if p.grad is None else p.grad.numpy() for p in leaves]
        lion(
            parameters,
            gradients,
            averages,
            **{"betas": (0.9, 0.99), "weight_decay": 0.0, **options},
        )
    got = Training(lambda p: optim.Lion(p, **options), dtype).run(range(STEPS))
    assert_close(got, [p.astype(dtype) for p in parameters], TOLERANCE[dtype])


@pytest.mark.parametrize(("name", "options"), SETS, ids=ids(SETS))
def test_in_a_compiled_function_it_is_the_same_and_recorded_once(name, options):
    def make(parameters):
        return getattr(optim, name)(parameters, **options)

    plain, compiled = Training(make, np.float64), Training(make, np.float64)
    assert_close(compiled.run(range(20), compiled=True), plain.run(range(20)), 1e-12)
    recordings = compiled.recordings
    assert recordings <= 4  # with and without the last parameter, and what it had before
    for optimizer in (plain.optimizer, compiled.optimizer):
        optimizer.lr = optimizer.lr / 2
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.03
    assert_close(compiled.run(range(20, 40), compiled=True), plain.run(range(20, 40)), 1e-12)
    assert compiled.recordings == recordings
    assert not any(row.reason for row in compiled.compiled.report())


@pytest.mark.parametrize(("name", "options"), SETS, ids=ids(SETS))
def test_numbers_that_change_make_no_new_plan(name, options):
    training = Training(lambda p: getattr(optim, name)(p, **options), np.float32)
    training.run(range(9))
    compiled = cg.session_stats()["plans_compiled"]
    for step in range(9, 18):
        group = training.optimizer.param_groups[0]
        group["lr"] = 0.01 / step
        group["weight_decay"] = 0.01 * (step % 2)
        if "betas" in group:
            group["betas"] = (0.8 + 0.01 * (step - 9), 0.9)
        if group.get("momentum"):
            group["momentum"] = 0.5 + 0.01 * step
        training.run([step])
    assert cg.session_stats()["plans_compiled"] == compiled


def valley(parameters):
    """A bent valley (Rosenbrock's function) in two parameters of different shapes."""
    a, b = parameters
    x = [a[0, 0], a[0, 1], b[0], b[1], b[2]]
    total = (1 - x[0]) ** 2
    for one, other in itertools.pairwise(x):
        total = total + 2 * (other - one**2) ** 2
    return total


def bowl(parameters):
    """A convex function, where roundings do not grow."""
    a, b = parameters
    return ((a - 2) ** 2).sum() + 3 * ((b + a[0, 1] / 4) ** 2).sum() + (b**4).sum() / 8


def descend(library, tensor, parameters, options, steps, compiled=False, function=valley):
    """Values of the parameters after each step of LBFGS, losses, and calls of the closure."""
    optimizer = library.LBFGS(parameters, **options)
    calls = []

    def gradients():
        optimizer.zero_grad()
        loss = function(parameters)
        if library is optim:
            loss.realize()
        loss.backward()
        return loss

    compute = cg.compile(gradients) if compiled else gradients

    def closure():
        calls.append(1)
        return compute()

    values, losses = [], []
    for _ in range(steps):
        losses.append(optimizer.step(closure).item())
        values += [np.array(p.tolist()) for p in parameters]
    return values, losses, len(calls)


def valley_start(dtype):
    return [np.array([[-1.2, 1.0]], dtype), np.array([0.5, -0.7, 1.5], dtype)]


LBFGS_SETS = [
    {"lr": 0.05, "max_iter": 10},
    {"lr": 0.1, "max_iter": 7, "history_size": 3, "max_eval": 5},
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "max_iter": 4, "history_size": 2, "lr": 0.5},
    {"line_search_fn": "strong_wolfe", "max_iter": 30, "max_eval": 9},
    {"lr": 0.2, "tolerance_grad": 0.5, "tolerance_change": 1e-3},
]


@pytest.mark.parametrize("compiled", [False, True], ids=["", "compiled closure"])
@pytest.mark.parametrize("options", LBFGS_SETS, ids=str)
def test_lbfgs_is_pytorchs(options, compiled, dtype):
    theirs = [torch.tensor(p, requires_grad=True) for p in valley_start(dtype)]
    ours = [cg.tensor(p, requires_grad=True) for p in valley_start(dtype)]
    function = valley if dtype is np.float64 else bowl
    want, want_losses, want_calls = descend(
        torch.optim, torch.tensor, theirs, options, 12, function=function
    )
    got, losses, calls = descend(optim, cg.tensor, ours, options, 12, compiled, function)
    np.testing.assert_allclose(losses, want_losses, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    if dtype is np.float64:
        assert calls == want_calls


def test_the_history_of_lbfgs_makes_no_new_plans():
    parameters = [cg.tensor(p, requires_grad=True) for p in valley_start(np.float64)]
    options = {"max_iter": 4, "line_search_fn": "strong_wolfe"}
    descend(optim, cg.tensor, parameters, options, 2)
    compiled = cg.session_stats()["plans_compiled"]
    descend(optim, cg.tensor, parameters, {**options, "max_iter": 20}, 2)
    assert cg.session_stats()["plans_compiled"] == compiled


def test_lbfgs_refuses_what_it_cannot_do():
    w = leaf()
    optimizer = optim.LBFGS([w])
    with pytest.raises(cg.ValueError, match="LBFGS: there can be one group of parameters only"):
        optimizer.add_param_group({"params": [leaf()]})
    with pytest.raises(
        cg.ValueError, match="line_search_fn must be 'strong_wolfe' or None, got 'armijo'"
    ):
        optim.LBFGS([w], line_search_fn="armijo")
    with pytest.raises(cg.ValueError, match=r"max_iter must be a whole number, got 2\.5"):
        optim.LBFGS([w], max_iter=2.5, max_eval=3)
    with pytest.raises(cg.ValueError, match="history_size must be at least 1, got 0"):
        optim.LBFGS([w], history_size=0)
    with pytest.raises(cg.ValueError, match="can not be a part of a compiled function"):
        cg.compile(lambda x: optimizer.step(lambda: (w * x).sum()))(cg.tensor([1.0, 2.0]))
    with pytest.raises(KeyError, match="mine"):
        optimizer.step(lambda: {}["mine"])


def test_groups_have_hyperparameters_of_their_own(dtype):
    def make(library):
        def with_groups(parameters):
            optimizer = library.SGD(
                [
                    {"params": parameters[0], "lr": 0.01},
                    {"params": parameters[1:2], "weight_decay": 0.5},
                ],
                lr=0.05,
                momentum=0.9,
            )
            optimizer.add_param_group({"params": parameters[2:], "momentum": 0, "lr": 0.2})
            return optimizer

        return with_groups

    training = Training(make(optim), dtype)
    assert_close(
        training.run(range(20)), train_torch(make(torch.optim), dtype, 20), TOLERANCE[dtype]
    )
    groups = training.optimizer.param_groups
    assert [g["lr"] for g in groups] == [0.01, 0.05, 0.2]
    assert [g["weight_decay"] for g in groups] == [0, 0.5, 0]
    assert [p.shape for g in groups for p in g["params"]] == [(4, 3), (3,), (2, 2)]
    assert training.optimizer.lr == 0.01
    training.optimizer.lr = 1
    assert [g["lr"] for g in groups] == [1, 1, 1]
    groups[1]["note"] = "kept"
    assert groups[1]["note"] == "kept"
    assert "note" not in groups[0]
    del groups[1]["note"]
    assert "note" not in dict(groups[1])
    assert "Parameter Group 2\n    dampening: 0" in repr(training.optimizer)


def test_a_step_may_compute_the_gradients_itself():
    def run(library, tensor):
        w = tensor([4.0], requires_grad=True)
        optimizer = library.SGD([w], lr=0.25)
        losses = []

        def closure():
            optimizer.zero_grad()
            loss = (w * w).sum()
            if library is optim:
                loss.realize()
            loss.backward()
            return loss

        for _ in range(3):
            losses.append(optimizer.step(closure).item())
        return losses, w.tolist()

    assert run(optim, cg.tensor) == run(torch.optim, torch.tensor) == ([16.0, 4.0, 1.0], [0.5])


def test_a_step_realises_what_is_asked_for_with_it():
    w = cg.tensor([2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)
    (w * w).sum().realize().backward()
    slope = w.grad
    optimizer.step(together=[slope])
    assert slope.is_realized
    assert slope.tolist() == [4.0]


def test_gradients_are_forgotten_or_made_zeros():
    a, b = (cg.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([a, b], lr=1.0)
    (a * 3).sum().realize().backward()
    optimizer.zero_grad(set_to_none=False)
    assert a.grad.tolist() == [0.0]
    assert b.grad is None
    optimizer.zero_grad()
    assert a.grad is None


def test_defaults_and_names_are_pytorchs():
    for name in {name for name, _ in CASES} | {"LBFGS"}:
        ours, theirs = (
            inspect.signature(getattr(o, name)).parameters for o in (optim, torch.optim)
        )
        for key, parameter in ours.items():
            if key in ("params", "decoupled"):
                continue
            assert theirs[key].default == parameter.default, (name, key)
        positional = [k for k, p in theirs.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        mine = [k for k, p in ours.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
        assert mine == positional[: len(mine)], name


def test_defaults_of_c_and_of_python_are_the_same():
    for name in {name for name, _ in SETS} | {"LBFGS"}:
        core = cg._core._make_optimizer(name, {}).defaults()
        w = cg.tensor([1.0], requires_grad=True)
        assert getattr(optim, name)([w]).defaults == core


def leaf():
    return cg.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: optim.SGD([leaf()], lr=-1),
            "SGD: lr must be a finite number of at least 0, got -1",
        ),
        (lambda: optim.SGD([leaf()], lr=float("nan")), "SGD: lr must be a finite number"),
        (
            lambda: optim.Adam([leaf()], betas=(0.9, 1.0)),
            r"betas must be in \[0, 1\), got \(0.9, 1\)",
        ),
        (lambda: optim.Adam([leaf()], betas=0.9), "betas must be a pair of two numbers, got 0.9"),
        (lambda: optim.Adam([leaf()], amsgrad=1), "amsgrad must be True or False, got 1"),
        (lambda: optim.Adadelta([leaf()], rho=1.5), r"Adadelta: rho must be in \[0, 1\], got 1.5"),
        (lambda: optim.SGD([leaf()], nesterov=True), "Nesterov's form needs a momentum"),
        (
            lambda: optim.SGD([leaf()], momentum=0.9, dampening=0.1, nesterov=True),
            "Nesterov's form needs a momentum and no dampening",
        ),
        (lambda: optim.SGD([]), "SGD: there are no parameters"),
        (lambda: optim.SGD([{"params": []}]), "a group needs at least one parameter"),
        (
            lambda: optim.SGD([cg.tensor([1.0])]),
            r"must require a gradient, got f32\[1\] that does not",
        ),
        (lambda: optim.SGD([leaf() * 2]), r"must be a leaf, got f32\[2\] that was computed"),
        (lambda: optim.SGD([*[leaf()] * 2]), r"a parameter was given twice: f32\[2\]"),
        (
            lambda: (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]))(leaf()),
            "a parameter was given twice",
        ),
        (
            lambda: optim.SGD([leaf()]).param_groups[0].__setitem__("lr", -2.0),
            "lr must be a finite number of at least 0, got -2",
        ),
        (
            lambda: optim.SGD([leaf()]).param_groups[0].__setitem__("params", []),
            "the parameters of a group cannot be replaced",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(cg.ValueError, match=message):
        make()


def test_one_tensor_is_no_list_of_parameters():
    with pytest.raises(TypeError, match="must be a list of tensors or of dicts"):
        optim.SGD(leaf())


def test_a_refused_value_leaves_the_old_one():
    optimizer = optim.Adam([leaf()], lr=0.5)
    with pytest.raises(cg.ValueError, match="lr must be a number, got 'fast'"):
        optimizer.lr = "fast"
    assert optimizer.lr == 0.5


@pytest.mark.parametrize(("name", "options"), SETS, ids=ids(SETS))
def test_narrow_parameters_are_rounded_once(name, options):
    """The state stays float32: a step's result is the float32 step's, rounded."""
    start = np.array([1.0, -2.0, 0.5, 3.0], np.float32)
    narrow = cg.tensor(start, cg.bfloat16).realize()
    narrow.requires_grad = True
    wide = cg.tensor(start.copy(), requires_grad=True)
    optimizers = [getattr(optim, name)([p], **options) for p in (narrow, wide)]
    for step in range(5):
        gradient = cg.tensor(np.array([1, 0.25, -0.5, 2], np.float32) * (step + 1))
        cg._core.Tensor.assign(wide, narrow.cast(cg.float32).detach())
        narrow.grad, wide.grad = gradient.cast(cg.bfloat16), gradient
        for optimizer in optimizers:
            optimizer.step()
        rounded = wide.detach().cast(cg.bfloat16)
        assert narrow.bits().tolist() == rounded.bits().tolist(), step


@pytest.mark.parametrize("module", [optim, optimizer_module, averages_module])
def test_examples_in_the_documentation_run(module):
    assert doctest.testmod(module).failed == 0
