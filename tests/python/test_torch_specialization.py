"""Programs of their own for sizes that are met often, compiled in the background or always."""

import functools
import json
import subprocess
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from test_torch_dynamic import compiled, graphs
from torch import nn
from torch._dynamo.exc import BackendCompilerFailed

import coregrad.torch
from coregrad import _core

pytestmark = pytest.mark.usefixtures("fresh_torch")


def specialization(kind="inference"):
    """What became of the programs of the only graph of its kind."""
    (graph,) = [g for g in graphs(kind) if g.specialization is not None]
    return graph.specialization


def call_until(stats, name, count, call):
    """Calls until so many programs are as `name` says; the different results."""
    results = []
    end = time.monotonic() + 240
    while getattr(stats, name) < count:
        assert time.monotonic() < end
        results.append(call())
        if len(results) > 1 and torch.equal(results[-1], results[-2]):
            results.pop()
    return results


LENGTHS = {
    "a perceptron": (
        lambda x, w: F.relu(x @ w) @ w.mT + x.shape[0],
        lambda n: (torch.randn(n, 32), torch.randn(32, 48)),
    ),
    "a softmax": (lambda x: (x * 2).softmax(-1).sum(0), lambda n: (torch.randn(n, n + 50),)),
    "a recurrent layer": (nn.GRU(5, 6), lambda n: (torch.randn(n, 3, 5),)),
    "a step in PyTorch": (
        lambda x: torch.renorm((x * 2).mT, 2, 0, 1.0) + x.shape[1],
        lambda n: (torch.randn(n, 20),),
    ),
}


@pytest.mark.parametrize("name", LENGTHS)
def test_sizes_that_are_met_often_get_a_program_of_their_own(name):
    f, make = LENGTHS[name]
    call = compiled(f, dynamic=True, options={"specialize": "background"})
    first = lambda x: x[0] if isinstance(x, tuple) else x  # noqa: E731
    with torch.no_grad():
        for count, n in enumerate((40, 17), start=1):
            args = make(n)
            want = first(f(*args))
            run = functools.partial(lambda args: first(call(*args)), args)
            run()
            stats = specialization()
            got = call_until(stats, "asked", count, run)
            _core.finish_specializing()
            got += call_until(stats, "measured", count, run)
            for result in [*got, run()]:
                torch.testing.assert_close(result, want)
        assert stats.made == stats.measured == 2
        assert stats.bytes > 0
        assert len(coregrad.torch.report().graphs) == 1
        call(*make(23))
    assert f"{stats.kept} of 2 measured stay" in str(coregrad.torch.report())
    assert json.loads(coregrad.torch.report().to_json())["graphs"][0]["specialization"]["made"] == 2


def test_specialized_programs_train():
    f = lambda x, w: (x @ w).tanh().sum(0)  # noqa: E731
    call = compiled(f, dynamic=True, options={"specialize": "background"})
    x, w = torch.randn(40, 32, requires_grad=True), torch.randn(32, 48, requires_grad=True)

    def gradients(f):
        return torch.cat([g.flatten() for g in torch.autograd.grad(f(x, w).sum(), (x, w))])

    want = gradients(f)
    step = functools.partial(gradients, call)
    step()
    for kind in ("forward", "backward"):
        stats = specialization(kind)
        for got in [*call_until(stats, "measured", 1, step), step()]:
            torch.testing.assert_close(got, want)
        assert stats.made == stats.measured == 1


def test_programs_for_one_set_of_sizes_alone_where_that_is_wanted():
    f = lambda x: (x * 2).softmax(-1)  # noqa: E731
    call = compiled(f, dynamic=True, options={"specialize": "always"})
    for n in (5, 9, 5):
        x = torch.randn(n, n)
        torch.testing.assert_close(call(x), f(x))
    assert [g.name.split(", ")[1] for g in graphs("inference")] == ["s77=5", "s77=9"]
    assert all(g.specialization is None for g in coregrad.torch.report().graphs)
    with pytest.raises(BackendCompilerFailed, match="specialize must be one of"):
        compiled(f, dynamic=True, options={"specialize": "often"})(torch.randn(3, 3))


@pytest.mark.parametrize("end", ["the process ends", "the graph is dropped", "the process forks"])
def test_a_compilation_in_the_background_holds_nobody_up(end):
    """At its end a step's Python function is dropped, by whom the GIL allows it."""
    program = f"""
import gc, os, sys, torch, coregrad.torch
from coregrad import _core
def f(x):
    for _ in range(20):
        x = torch.renorm((x @ x.mT).tanh() + x.shape[1], 2, 0, 1.0)[:, :x.shape[1]] + x
    return x
x = torch.randn(30, 30)
call = torch.compile(f, backend="coregrad", dynamic=True, options={{"specialize": "background"}})
with torch.no_grad():
    want = f(x)
    call(x)
    (stats,) = [g.specialization for g in coregrad.torch.report().graphs if g.specialization]
    while not stats.asked:
        call(x)
    if "forks" in {end!r}:
        child = os.fork()
        if child == 0:
            torch.set_num_threads(1)
            os._exit(0 if torch.allclose(call(x), want, atol=1e-4) else 1)
        assert os.waitpid(child, 0)[1] == 0
    if "dropped" in {end!r}:
        del call
        torch._dynamo.reset()
        gc.collect()
        _core.finish_specializing()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
