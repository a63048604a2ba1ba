"""What optimisers save and load."""

import numpy as np
import pytest
import torch
from optim_cases import CASES, SETS, Training, assert_close, batch, ids, loss_of, start

import coregrad as cg
from coregrad import optim

#: What PyTorch's groups say of how its kernels run.
NOT_OURS = {"foreach", "capturable", "differentiable", "fused"}
LBFGS_CASES = [
    ("LBFGS", {"max_iter": 4, "history_size": 3, "lr": 0.1}),
    ("LBFGS", {"max_iter": 3, "line_search_fn": "strong_wolfe"}),
]


class Lbfgs(Training):
    """The same training with closures."""

    def record(self, x, y, step):
        def closure():
            self.optimizer.zero_grad()
            loss = loss_of(self.parameters, x, y, step).realize()
            loss.backward()
            return loss

        return self.optimizer.step(closure)


def training(name, options, dtype):
    kind = Lbfgs if name == "LBFGS" else Training
    return kind(lambda p: getattr(optim, name)(p, **options), dtype)


def give(training, parameters):
    for p, value in zip(training.parameters, parameters, strict=True):
        p.assign(cg.tensor(value.copy()))


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(("name", "options"), SETS + LBFGS_CASES, ids=ids(SETS + LBFGS_CASES))
def test_going_on_is_bitwise_as_if_there_was_no_stop(name, options, dtype):
    want = training(name, options, dtype).run(range(12))
    begun = training(name, options, dtype)
    parameters = [p.copy() for p in begun.run(range(7))]
    saved = begun.optimizer.state_dict()
    begun.run(range(3))  # what was saved stays
    # Other hyperparameters: those that were saved count.
    resumed = training(name, {**options, "lr": 0.7}, dtype)
    resumed.run(range(2, 5))
    give(resumed, parameters)
    resumed.optimizer.load_state_dict(saved)
    got = resumed.run(range(7, 12))
    assert all(np.array_equal(one, other) for one, other in zip(got, want, strict=True))
    assert resumed.optimizer.lr == options.get("lr", begun.optimizer.defaults["lr"])


def trained_by_torch(name, options, steps):
    parameters = [torch.tensor(p, requires_grad=True) for p in start(np.float64)]
    optimizer = getattr(torch.optim, name)(parameters, **options)
    for step in steps:
        optimizer.zero_grad()
        x, y = (torch.tensor(v) for v in batch(step, np.float64))
        loss_of(parameters, x, y, step).backward()
        optimizer.step()
    return parameters, optimizer


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize(("name", "options"), CASES, ids=ids(CASES))
def test_keys_and_values_are_pytorchs(name, options):
    _, theirs = trained_by_torch(name, options, range(5))
    ours = training(name, options, np.float64)
    ours.run(range(5))
    want, got = theirs.state_dict(), ours.optimizer.state_dict()
    assert got.keys() == want.keys()
    assert got["state"].keys() == want["state"].keys()
    for number, entry in want["state"].items():
        entry = {k: v for k, v in entry.items() if v is not None}
        assert got["state"][number].keys() == entry.keys()
        for key, value in entry.items():
            np.testing.assert_allclose(
                got["state"][number][key].numpy(), value.numpy(), rtol=1e-9, atol=1e-12, err_msg=key
            )
    for one, other in zip(got["param_groups"], want["param_groups"], strict=True):
        assert one == {k: v for k, v in other.items() if k not in NOT_OURS}


@pytest.mark.usefixtures("float64_by_default")
@pytest.mark.parametrize(("name", "options"), CASES, ids=ids(CASES))
def test_what_pytorch_saved_goes_on_here(name, options):
    parameters, begun = trained_by_torch(name, options, range(4))
    ours = training(name, {}, np.float64)
    give(ours, [p.detach().numpy() for p in parameters])
    ours.optimizer.load_state_dict(begun.state_dict())
    want, _ = trained_by_torch(name, options, range(9))
    # PyTorch changes what it saved in place: nothing here may follow.
    for entry in begun.state_dict()["state"].values():
        for value in entry.values():
            if isinstance(value, torch.Tensor):
                value.fill_(7)
    assert_close(ours.run(range(4, 9)), [p.detach().numpy() for p in want], 1e-9)


def test_what_pytorchs_lbfgs_saved_goes_on_here():
    target = [3.0, -1.0]

    def descend(library, tensor, steps, saved=None, values=(1.0, 2.0)):
        w = tensor(np.array(values), requires_grad=True)
        optimizer = library.LBFGS([w], lr=0.3, max_iter=3)
        if saved is not None:
            optimizer.load_state_dict(saved)

        def closure():
            optimizer.zero_grad()
            loss = ((w - tensor(np.array(target))) ** 2 * tensor(np.array([1.0, 5.0]))).sum()
            loss = loss + (w**4).sum() / 10
            if library is optim:
                loss.realize()
            loss.backward()
            return loss

        for _ in range(steps):
            optimizer.step(closure)
        return w.tolist(), optimizer.state_dict()

    values, saved = descend(torch.optim, torch.tensor, 2)
    want, later = descend(torch.optim, torch.tensor, 3)
    got, state = descend(optim, cg.tensor, 1, saved, values)
    np.testing.assert_allclose(got, want, rtol=1e-9)
    for key in ("n_iter", "func_evals"):
        assert state["state"][0][key] == later["state"][0][key] > saved["state"][0][key]
    assert saved["state"][0].keys() - state["state"][0].keys() == {"al"}


def test_a_compiled_function_goes_on_from_what_is_loaded():
    plain, compiled = (training("Adam", {"lr": 0.05}, np.float32) for _ in range(2))
    for t, is_compiled in ((plain, False), (compiled, True)):
        t.run(range(3), is_compiled)
        saved, parameters = t.optimizer.state_dict(), [p.numpy().copy() for p in t.parameters]
        t.run(range(3, 7), is_compiled)
        recordings = t.recordings
        give(t, parameters)
        t.optimizer.load_state_dict(saved)
        t.run(range(3, 7), is_compiled)
    assert compiled.recordings == recordings
    got, want = ([p.numpy() for p in t.parameters] for t in (compiled, plain))
    assert_close(got, want, 1e-5)


def test_parameters_without_a_step_have_no_state():
    a, b = (cg.tensor([1.0], requires_grad=True) for _ in range(2))
    optimizer = optim.Adam([{"params": [a], "name": "first"}, {"params": [b]}])
    assert optimizer.state_dict()["state"] == {}
    (b * b).sum().realize().backward()
    optimizer.step()
    saved = optimizer.state_dict()
    assert list(saved["state"]) == [1]
    assert saved["state"][1]["step"].item() == 1
    assert saved["param_groups"][0]["name"] == "first"
    other = optim.Adam([{"params": [a]}, {"params": [b], "note": 1}])
    other.load_state_dict(saved)
    assert other.param_groups[0]["name"] == "first"
    assert "note" not in other.param_groups[1]
    # What was not saved is as at the start.
    other.load_state_dict({**saved, "state": {}})
    assert other.state_dict()["state"][1]["step"].item() == 0
    assert other.state_dict()["state"][1]["exp_avg"].tolist() == [0.0]


def test_narrow_parameters_save_float32():
    w = cg.tensor(np.ones(3, np.float32), cg.bfloat16).realize()
    w.requires_grad = True
    optimizer = optim.Adam([w])
    w.grad = cg.tensor(np.full(3, 0.1, np.float32)).cast(cg.bfloat16)
    optimizer.step()
    saved = optimizer.state_dict()
    assert saved["state"][0]["exp_avg"].dtype == cg.float32
    optimizer.load_state_dict(saved)
    assert (
        optimizer.state_dict()["state"][0]["exp_avg"].tolist()
        == saved["state"][0]["exp_avg"].tolist()
    )


def stepped(make, shape=(2,)):
    w = cg.tensor(np.ones(shape, np.float32), requires_grad=True)
    optimizer = make([w])
    (w * w).sum().realize().backward()
    optimizer.step()
    return optimizer


def changed(saved, **entry):
    return {**saved, "state": {0: {**saved["state"][0], **entry}}}


def without(saved, key):
    return {**saved, "state": {0: {k: v for k, v in saved["state"][0].items() if k != key}}}


@pytest.mark.parametrize(
    ("saved", "error", "message"),
    [
        (
            lambda s: {**s, "param_groups": []},
            cg.ValueError,
            "there are 1 groups of parameters, got 0",
        ),
        (
            lambda s: {**s, "param_groups": [{**s["param_groups"][0], "params": [0, 1]}]},
            cg.ValueError,
            "group 0 has 1 parameters, got 2",
        ),
        (
            lambda s: {**s, "state": {3: s["state"][0]}},
            cg.ValueError,
            "a state of parameter 3, but no group has it",
        ),
        (
            lambda s: without(s, "exp_avg"),
            cg.ValueError,
            "the state of parameter 0 has no 'exp_avg'",
        ),
        (lambda s: without(s, "step"), cg.ValueError, "the state of parameter 0 has no 'step'"),
        (
            lambda s: changed(s, step=cg.zeros((2,))),
            cg.ValueError,
            "'step' of parameter 0 must be a number",
        ),
        (
            lambda s: changed(s, exp_avg=1.0),
            cg.ValueError,
            "'exp_avg' of parameter 0 must be a tensor",
        ),
        (
            lambda s: changed(s, exp_avg=cg.zeros((3,))),
            cg.ShapeError,
            r"'exp_avg' of parameter 0 must be f32\[2\], got f32\[3\]",
        ),
        (
            lambda s: {**s, "param_groups": [{**s["param_groups"][0], "lr": -1.0}]},
            cg.ValueError,
            "lr must be a finite number of at least 0, got -1",
        ),
        (
            lambda s: {**s, "param_groups": [{**s["param_groups"][0], "amsgrad": True}]},
            cg.ValueError,
            "the state of parameter 0 has no 'max_exp_avg_sq'",
        ),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(saved, error, message):
    optimizer = stepped(optim.Adam)
    before = optimizer.state_dict()
    other = changed(before, exp_avg=cg.ones((2,)))
    with pytest.raises(error, match=message):
        optimizer.load_state_dict(saved({**other, "param_groups": before["param_groups"]}))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert after["state"][0]["exp_avg"].tolist() == before["state"][0]["exp_avg"].tolist()


def test_lbfgs_refuses_a_history_that_does_not_fit():
    optimizer = training(*LBFGS_CASES[0], np.float32)
    optimizer.run(range(2))
    saved = optimizer.optimizer.state_dict()
    with pytest.raises(cg.ValueError, match="'ro' must be a list as long as the history"):
        optimizer.optimizer.load_state_dict(changed(saved, ro=[]))
    with pytest.raises(cg.ShapeError, match="'d' of parameter 0"):
        optimizer.optimizer.load_state_dict(changed(saved, d=cg.zeros((2,))))
