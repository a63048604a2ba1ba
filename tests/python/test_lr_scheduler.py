"""Schedules of learning rates, against PyTorch's values step by step."""

import doctest
import math

import pytest
import torch

import coregrad as cg
from coregrad import optim

STEPS = 50


def schedule(name, **options):
    return lambda library, optimizer: getattr(library, name)(optimizer, **options)


def chained(*makes):
    return lambda library, optimizer: library.ChainedScheduler(
        [m(library, optimizer) for m in makes]
    )


def in_turn(milestones, *makes):
    return lambda library, optimizer: library.SequentialLR(
        optimizer, [m(library, optimizer) for m in makes], milestones
    )


class Falling:
    """A function with a state."""

    def __init__(self, slope):
        self.slope = slope

    def __call__(self, epoch):
        return 1 / (1 + self.slope * epoch)


CASES = {
    "LambdaLR": schedule("LambdaLR", lr_lambda=lambda epoch: 0.95**epoch),
    "LambdaLR of each group": schedule("LambdaLR", lr_lambda=[lambda e: 1 / (e + 1), Falling(0.1)]),
    "StepLR": schedule("StepLR", step_size=7, gamma=0.5),
    "MultiStepLR": schedule("MultiStepLR", milestones=[30, 4, 4, 11], gamma=0.3),
    "ConstantLR": schedule("ConstantLR", factor=0.25, total_iters=6),
    "ConstantLR, defaults": schedule("ConstantLR"),
    "LinearLR": schedule("LinearLR", start_factor=0.1, end_factor=0.8, total_iters=20),
    "LinearLR, defaults": schedule("LinearLR"),
    "ExponentialLR": schedule("ExponentialLR", gamma=0.9),
    "PolynomialLR": schedule("PolynomialLR", total_iters=30, power=2.0),
    "PolynomialLR, defaults": schedule("PolynomialLR"),
    "CosineAnnealingLR": schedule("CosineAnnealingLR", T_max=12, eta_min=0.01),
    "CosineAnnealingLR, long": schedule("CosineAnnealingLR", T_max=60),
    "CosineAnnealingWarmRestarts": schedule("CosineAnnealingWarmRestarts", T_0=5, T_mult=2),
    "CosineAnnealingWarmRestarts, alike": schedule(
        "CosineAnnealingWarmRestarts", T_0=8, eta_min=0.02
    ),
    "OneCycleLR": schedule("OneCycleLR", max_lr=0.5, total_steps=STEPS + 1),
    "OneCycleLR, linear": schedule(
        "OneCycleLR",
        max_lr=[0.5, 0.2],
        epochs=10,
        steps_per_epoch=6,
        anneal_strategy="linear",
        three_phase=True,
        base_momentum=0.6,
        max_momentum=0.9,
        div_factor=10.0,
        final_div_factor=100.0,
    ),
    "OneCycleLR, rates alone": schedule(
        "OneCycleLR", max_lr=0.5, total_steps=STEPS + 10, cycle_momentum=False, pct_start=0.5
    ),
    "CyclicLR": schedule("CyclicLR", base_lr=0.01, max_lr=0.1, step_size_up=6),
    "CyclicLR, halved": schedule(
        "CyclicLR",
        base_lr=0.01,
        max_lr=[0.1, 0.3],
        step_size_up=4,
        step_size_down=7,
        mode="triangular2",
    ),
    "CyclicLR, powers": schedule(
        "CyclicLR", base_lr=0.01, max_lr=0.1, step_size_up=5, mode="exp_range", gamma=0.97
    ),
    "CyclicLR, a function": schedule(
        "CyclicLR",
        base_lr=0.01,
        max_lr=0.1,
        step_size_up=5,
        scale_fn=Falling(0.3),
        cycle_momentum=False,
    ),
    "ChainedScheduler": chained(
        schedule("ConstantLR", factor=0.1, total_iters=5),
        schedule("ExponentialLR", gamma=0.9),
        schedule("StepLR", step_size=9, gamma=0.7),
        schedule("CosineAnnealingLR", T_max=20, eta_min=1e-3),
    ),
    "SequentialLR": in_turn(
        [10, 25],
        schedule("LinearLR", start_factor=0.1, total_iters=10),
        schedule("CosineAnnealingLR", T_max=15),
        schedule("ExponentialLR", gamma=0.9),
    ),
    "SequentialLR of others": in_turn(
        [6, 20, 30, 40],
        schedule("ConstantLR", factor=0.1, total_iters=4),
        schedule("StepLR", step_size=3, gamma=0.5),
        schedule("LambdaLR", lr_lambda=lambda epoch: 0.9**epoch),
        schedule("PolynomialLR", total_iters=8),
        schedule("MultiStepLR", milestones=[2, 4]),
    ),
}
OPTIMIZERS = {"SGD": {"momentum": 0.9}, "Adam": {}}


def optimizer_of(library, tensor, name):
    groups = [
        {"params": [tensor([1.0], requires_grad=True)], "lr": 0.1},
        {"params": [tensor([1.0], requires_grad=True)]},
    ]
    return getattr(library, name)(groups, lr=0.4, **OPTIMIZERS[name])


def values_of(optimizer):
    """Learning rates, and what goes with them as the momentum."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return rates + [
        g["betas"][0] if "betas" in g else g["momentum"] for g in optimizer.param_groups
    ]


def run(schedule, optimizer, steps):
    values = [values_of(optimizer)]
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        values.append(values_of(optimizer))
        assert schedule.get_last_lr() == values[-1][:2]
    return values


def assert_equal(got, want):
    for step, (one, other) in enumerate(zip(got, want, strict=True)):
        assert one == pytest.approx(other, rel=1e-12, abs=1e-15), step


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("case", CASES)
def test_values_are_pytorchs(case, name):
    theirs = optimizer_of(torch.optim, torch.tensor, name)
    want = run(CASES[case](torch.optim.lr_scheduler, theirs), theirs, STEPS)
    ours = optimizer_of(optim, cg.tensor, name)
    assert_equal(run(CASES[case](optim.lr_scheduler, ours), ours, STEPS), want)
    assert len({tuple(v) for v in want}) > 1


@pytest.mark.parametrize("case", CASES)
def test_a_schedule_goes_on_from_what_it_saved(case):
    whole = optimizer_of(optim, cg.tensor, "SGD")
    want = run(CASES[case](optim.lr_scheduler, whole), whole, 40)
    first = optimizer_of(optim, cg.tensor, "SGD")
    begun = CASES[case](optim.lr_scheduler, first)
    run(begun, first, 17)
    saved, saved_optimizer = begun.state_dict(), first.state_dict()
    run(begun, first, 3)  # what was saved stays
    second = optimizer_of(optim, cg.tensor, "SGD")
    resumed = CASES[case](optim.lr_scheduler, second)
    resumed.load_state_dict(saved)
    second.load_state_dict(saved_optimizer)
    assert run(resumed, second, 23) == want[17:]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"patience": 2, "factor": 0.5, "cooldown": 3},
        {"mode": "max", "patience": 1, "threshold": 0.1, "min_lr": [0.02, 0.005]},
        {"threshold_mode": "abs", "threshold": 0.05, "patience": 3, "factor": 0.3},
        {"mode": "max", "threshold_mode": "abs", "patience": 0, "eps": 0.05},
    ],
    ids=str,
)
def test_a_plateau_is_seen_as_pytorch_sees_it(options):
    measured = [math.cos(0.7 * k) / (1 + 0.1 * k) + 0.5 for k in range(STEPS)]
    optimizers = [
        optimizer_of(torch.optim, torch.tensor, "SGD"),
        optimizer_of(optim, cg.tensor, "SGD"),
    ]
    theirs, ours = (
        library.ReduceLROnPlateau(optimizer, **options)
        for library, optimizer in zip(
            (torch.optim.lr_scheduler, optim.lr_scheduler), optimizers, strict=True
        )
    )
    seen = set()
    for step, value in enumerate(measured):
        theirs.step(torch.tensor(value))
        ours.step(cg.tensor(value) if step % 2 else value)
        assert ours.get_last_lr() == pytest.approx(theirs.get_last_lr(), rel=1e-12)
        seen.add(tuple(ours.get_last_lr()))
        if step == 20:  # and goes on from what it saved
            saved = ours.state_dict()
            ours = optim.lr_scheduler.ReduceLROnPlateau(optimizers[1], **options)
            ours.load_state_dict(saved)
    assert len(seen) > 1


@pytest.mark.parametrize(("restarts", "factor"), [(1, 8), (2, 4), (3, 2)])
def test_warm_restarts_go_to_any_epoch(restarts, factor):
    epochs = [0, 0.25, 3.5, 1, 12.75, 30, None, None, 2, None]
    values = []
    for library, optimizer in (
        (torch.optim.lr_scheduler, optimizer_of(torch.optim, torch.tensor, "SGD")),
        (optim.lr_scheduler, optimizer_of(optim, cg.tensor, "SGD")),
    ):
        steps = library.CosineAnnealingWarmRestarts(optimizer, T_0=factor, T_mult=restarts)
        values.append([])
        for epoch in epochs:
            steps.step(epoch)
            values[-1].append(values_of(optimizer))
    assert_equal(*values)


@pytest.mark.parametrize(
    "case",
    [
        "StepLR",
        "LinearLR",
        "ExponentialLR",
        "PolynomialLR",
        "CosineAnnealingLR",
        "LambdaLR",
        "MultiStepLR",
    ],
)
def test_a_schedule_may_begin_late(case):
    values = []
    for library, tensor in ((torch.optim, torch.tensor), (optim, cg.tensor)):
        optimizer = optimizer_of(library, tensor, "SGD")
        for group in optimizer.param_groups:
            group["initial_lr"] = 2 * group["lr"]
        late = {
            "StepLR": {"step_size": 4},
            "LinearLR": {"total_iters": 20},
            "ExponentialLR": {"gamma": 0.8},
            "PolynomialLR": {"total_iters": 20},
            "CosineAnnealingLR": {"T_max": 9},
            "LambdaLR": {"lr_lambda": Falling(0.2)},
            "MultiStepLR": {"milestones": [4, 8]},
        }[case]
        begun = getattr(library.lr_scheduler, case)(optimizer, last_epoch=3, **late)
        values.append(run(begun, optimizer, 10))
    assert_equal(values[1], values[0])


def test_a_schedule_makes_no_new_plan_and_no_new_recording():
    w = cg.tensor([1.0, 2.0], requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    steps = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=30)

    @cg.compile
    def step(x):
        optimizer.zero_grad()
        loss = ((w * x) ** 2).sum().realize()
        loss.backward()
        optimizer.step()
        return loss

    step(cg.tensor([1.0, 1.0]))
    compiled = cg.session_stats()["plans_compiled"]
    other = w.tolist()
    buffer = [2.0, 4.0]
    for _ in range(5):
        steps.step()
        rate, momentum = optimizer.lr, optimizer.param_groups[0]["momentum"]
        step(cg.tensor([1.0, 1.0]))
        buffer = [momentum * b + 2 * v for b, v in zip(buffer, other, strict=True)]
        other = [v - rate * b for v, b in zip(other, buffer, strict=True)]
        assert w.tolist() == pytest.approx(other, rel=1e-5)
    assert cg.session_stats()["plans_compiled"] == compiled
    assert len(step.report()) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (schedule("ConstantLR", factor=2.0), r"ConstantLR: factor must be in \[0, 1\], got 2.0"),
        (schedule("LinearLR", start_factor=0.0), "LinearLR: start_factor must be in"),
        (
            schedule("CosineAnnealingWarmRestarts", T_0=0),
            "T_0 must be a whole number of at least 1, got 0",
        ),
        (
            schedule("OneCycleLR", max_lr=0.1),
            "total_steps, or epochs and steps_per_epoch, must be given",
        ),
        (
            schedule("OneCycleLR", max_lr=[0.1] * 3, total_steps=5),
            "max_lr must be one value or 2, got 3",
        ),
        (
            schedule("OneCycleLR", max_lr=0.1, total_steps=5, anneal_strategy="up"),
            "anneal_strategy must be 'cos' or 'linear', got 'up'",
        ),
        (
            schedule("CyclicLR", base_lr=0.1, max_lr=0.2, mode="odd"),
            "mode must be one of .* got 'odd'",
        ),
        (schedule("ReduceLROnPlateau", factor=1.5), "factor must be below 1, got 1.5"),
        (chained(schedule("ReduceLROnPlateau")), r"each schedule's step\(\) must need no value"),
        (
            in_turn([], *[schedule("StepLR", step_size=1)] * 2),
            "2 schedules need one milestone less, got 0",
        ),
        (
            lambda library, _: library.ChainedScheduler([]),
            "there must be at least one schedule, got none",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(cg.ValueError, match=message):
        make(optim.lr_scheduler, optimizer_of(optim, cg.tensor, "SGD"))


def test_errors_of_schedules_name_them():
    optimizer = optimizer_of(optim, cg.tensor, "SGD")
    with pytest.raises(TypeError, match="StepLR: expected an Optimizer, got int"):
        optim.lr_scheduler.StepLR(3, 1)
    with pytest.raises(KeyError, match="group 0 has no 'initial_lr'"):
        optim.lr_scheduler.StepLR(optimizer, 1, last_epoch=4)
    adagrad = optim.Adagrad([cg.tensor([1.0], requires_grad=True)])
    with pytest.raises(cg.ValueError, match=r"CyclicLR: cycle_momentum needs .* got Adagrad"):
        optim.lr_scheduler.CyclicLR(adagrad, 0.1, 0.2)
    done = optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=2)
    done.step()
    done.step()
    with pytest.raises(cg.ValueError, match="there are 2 steps in all, got step 3"):
        done.step()


def test_examples_in_the_documentation_run():
    assert doctest.testmod(optim.lr_scheduler).failed == 0
