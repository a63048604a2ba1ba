"""cg.compile: functions of trees of tensors that are recorded once."""

import dataclasses
import gc
import threading
import weakref
from typing import NamedTuple

import numpy as np
import pytest

import coregrad as cg
from coregrad import nn, optim


def test_trees_go_in_and_come_out():
    class Pair(NamedTuple):
        a: cg.Tensor
        b: cg.Tensor

    @dataclasses.dataclass
    class Batch:
        inputs: cg.Tensor
        name: str

    recorded = []

    @cg.compile
    def f(tree, *, scale):
        recorded.append(1)
        first, second = tree["pair"]
        return {
            "sum": first + second * scale,
            "batch": Batch(tree["batch"].inputs * 2, tree["batch"].name),
            "rest": [tree["pair"], 7, None],
        }

    for start in (1.0, 5.0):
        pair = Pair(cg.tensor([start]), cg.tensor([2.0]))
        out = f({"pair": pair, "batch": Batch(cg.tensor([3.0]), "x")}, scale=10)
        assert out["sum"].tolist() == [start + 20]
        assert isinstance(out["batch"], Batch)
        assert out["batch"].name == "x"
        assert out["batch"].inputs.tolist() == [6.0]
        assert isinstance(out["rest"][0], Pair)
        assert out["rest"][0].a.tolist() == [start]
        assert out["rest"][1:] == [7, None]
    assert len(recorded) == 1
    tree = {"pair": pair, "batch": Batch(cg.tensor([3.0]), "y")}
    assert f(tree, scale=10)["batch"].name == "y"
    assert f(tree, scale=10.0)["sum"].tolist() == [25.0]  # another type is another form
    assert len(recorded) == 3


def test_arrays_are_read_by_each_call():
    @cg.compile
    def f(x, many):
        return x * 2 + many["y"]

    for k in range(3):
        got = f(np.full(3, k, np.float32), {"y": np.arange(3, dtype=np.float32)})
        np.testing.assert_array_equal(got.numpy(), 2 * k + np.arange(3))
    assert [row.calls for row in f.report()] == [3]


def training(compiled, batches):
    """Losses and last weights of a small classifier under Adam."""
    cg.manual_seed(3)
    layers = [nn.Linear(6, 16), nn.Linear(16, 3)]
    parameters = [p for layer in layers for p in layer.parameters()]
    optimizer = optim.Adam(parameters, lr=0.02, weight_decay=0.01, decoupled=True)

    def step(x, labels):
        optimizer.zero_grad()
        hidden = nn.functional.dropout(cg.relu(layers[0](x)), 0.25)
        loss = cg.cross_entropy(layers[1](hidden), labels).realize()
        loss.backward()
        optimizer.step()
        return loss

    step = cg.compile(step) if compiled else step
    losses = []
    for number, n in enumerate(batches):
        if number == 6:
            optimizer.lr = 0.005
        rng = np.random.default_rng(number)
        x = cg.tensor(rng.standard_normal((n, 6)).astype(np.float32))
        losses.append(step(x, cg.tensor(rng.integers(0, 3, n))).item())
    return losses, [p.numpy() for p in parameters], step


def test_a_training_step_is_what_it_is_without_compiling():
    batches = [16, 16, 9, 16, 5, 16, 12, 16, 16, 3]
    losses, parameters, _ = training(False, batches)
    got, compiled_parameters, step = training(True, batches)
    np.testing.assert_allclose(got, losses, rtol=1e-5, atol=1e-6)
    for one, other in zip(compiled_parameters, parameters, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert sum(row.calls for row in step.report()) == len(batches)
    assert all(not row.reason for row in step.report())


def test_new_sizes_compile_nothing_after_the_second():
    f = cg.compile(lambda x: cg.softmax(x * 2.5, -1))
    for k, n in enumerate([4, 9, 17, 33, 2, 100]):
        if k == 2:
            compiled = cg.session_stats()["plans_compiled"]
        x = np.random.default_rng(n).standard_normal((n, 8)).astype(np.float32)
        shifted = np.exp(2.5 * x - (2.5 * x).max(-1, keepdims=True))
        np.testing.assert_allclose(
            f(x).numpy(), shifted / shifted.sum(-1, keepdims=True), rtol=1e-5, atol=1e-6
        )
    assert cg.session_stats()["plans_compiled"] == compiled
    fixed = cg.compile(lambda x: cg.softmax(x * 3.5, -1), dynamic=False)
    compiled = cg.session_stats()["plans_compiled"]
    for n in (4, 9, 17):
        fixed(np.zeros((n, 8), np.float32))
    assert cg.session_stats()["plans_compiled"] == compiled + 3


def test_batch_norm_updates_its_statistics_at_each_call():
    def statistics(compiled):
        mean, variance = cg.zeros((3,)).realize(), cg.ones((3,)).realize()

        def f(x):
            return nn.functional.batch_norm(x, mean, variance, training=True)

        f = cg.compile(f) if compiled else f
        for k in range(3):
            f(cg.tensor(np.random.default_rng(k).standard_normal((5, 3)).astype(np.float32)) + k)
        return mean.numpy(), variance.numpy()

    for one, other in zip(statistics(True), statistics(False), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_values_cannot_be_asked_for_inside():
    with pytest.raises(cg.ValueError, match="asked for while the function is recorded"):
        cg.compile(lambda x: x if x.sum() > 0 else -x)(cg.tensor([1.0]))
    left = []
    cg.compile(lambda x: left.append(x * 2))(cg.tensor([1.0]))
    with pytest.raises(cg.ValueError, match="return it from the function"):
        left[0].numpy()
    with pytest.raises(TypeError, match="must be hashable"):
        cg.compile(lambda x, s: x)(cg.tensor([1.0]), {1, 2})


def test_an_error_inside_leaves_nothing_behind():
    calls = []

    @cg.compile
    def f(x):
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("mine")
        return x + 1

    with pytest.raises(KeyError, match="mine"):
        f(cg.tensor([1.0]))
    assert (cg.tensor([1.0]) + 1).item() == 2
    assert f(cg.tensor([1.0])).item() == 2


def test_functional_gradients_and_others_nest():
    loss = cg.compile(lambda w, x: ((w * x) ** 2).sum())
    both = cg.compile(lambda w, x: cg.value_and_grad(loss)(w, x))
    for k in (1.0, 2.0):
        value, slope = both(cg.tensor([k, 1.0]), cg.tensor([3.0, 1.0]))
        assert value.item() == 9 * k * k + 1
        assert slope.tolist() == [18 * k, 2.0]
    # Outside of a compiled function, gradients flow through as without it.
    w = cg.tensor([2.0], requires_grad=True)
    loss(w, cg.tensor([3.0])).realize().backward()
    assert w.grad.tolist() == [36.0]


def test_many_threads_call_it():
    f = cg.compile(lambda x: x * 2 + 1)
    wrong = []

    def work(start):
        for k in range(start, start + 100):
            if f(cg.tensor([float(k)])).item() != 2 * k + 1:
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(1000 * i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


SCALE = 2.0


def test_a_name_that_stands_for_something_else_is_noticed(monkeypatch):
    w, weights, layer = cg.tensor([1.0]), {"a": [cg.tensor([10.0])]}, nn.Linear(1, 1, bias=False)
    layer.weight = nn.Parameter(np.full((1, 1), 100, np.float32))

    @cg.compile
    def f(x):
        return (w + weights["a"][0] + layer(x) * SCALE).detach()

    x = cg.tensor([1.0])
    assert [f(x).item() for _ in range(2)] == [211, 211]
    w = cg.tensor([2.0])
    assert f(x).item() == 212
    weights["a"][0] = cg.tensor([20.0])
    assert f(x).item() == 222
    layer.weight = nn.Parameter(np.full((1, 1), 200, np.float32))
    assert f(x).item() == 422
    layer.weight.assign(layer.weight * 2)  # the same tensor
    assert f(x).item() == 822
    monkeypatch.setitem(globals(), "SCALE", 1.0)
    assert f(x).item() == 422
    assert [row.calls for row in f.report()] == [2, 1, 1, 2, 1]


def test_what_a_function_counts_does_not_record_again():
    count = 0

    @cg.compile
    def f(x):
        nonlocal count
        count += 1
        return x + 1

    for n in (2, 3, 2, 3):
        f(cg.ones((n,)))
    assert count == 2


def test_indexing_is_recorded():
    held = cg.tensor(np.array([2, 0]))
    pick = cg.compile(lambda x, i: (x[i], x[held], x[0], x[::-2]))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    for places in ([1, 1], [0, 2]):
        got = pick(x, np.array(places))
        for one, want in zip(got, (x[places], x[[2, 0]], x[0], x[::-2]), strict=True):
            np.testing.assert_array_equal(one.numpy(), want)

    @cg.compile
    def put(x, i):
        x[i] = 5.0

    mine = cg.tensor(x)
    put(mine, np.array([1]))  # an argument is changed as it is without compiling
    put(mine, np.array([0]))
    assert mine.tolist() == [[5, 5], [5, 5], [4, 5]]
    with pytest.raises(cg.ValueError, match="choose with where"):
        cg.compile(lambda x: x[x > 2])(x)


def test_methods_follow_their_module():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(np.ones(1, np.float32))

        def double(self, x):
            return (x * self.w * 2).detach()

    net = Net()
    f = cg.compile(net.double)
    assert f(cg.tensor([1.0])).item() == 2
    net.w = nn.Parameter(np.full(1, 5, np.float32))
    assert f(cg.tensor([1.0])).item() == 10


def test_it_is_collected_with_what_it_holds():
    class Model:
        def __init__(self):
            self.weight = cg.tensor(np.ones(4, np.float32))

    def use() -> weakref.ref:
        model = Model()
        cg.compile(lambda x: x * model.weight)(cg.tensor([1.0]))
        return weakref.ref(model)

    alive = use()
    gc.collect()
    assert alive() is None


def test_it_looks_like_the_function():
    @cg.compile(dynamic=False)
    def documented(x):
        """Twice."""
        return x * 2

    assert documented.__name__ == "documented"
    assert documented.__doc__ == "Twice."
    assert documented(cg.tensor([2.0])).item() == 4
    assert repr(documented.report()) == "[(f32[1]): 1 calls, 1 steps, 1 inputs, 0 updates]"
