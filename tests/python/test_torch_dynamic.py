"""Dynamic shapes: one trace, one compilation for all sizes, always the sizes of the call."""

import json
import math
import os
import random
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import coregrad.torch
from coregrad.torch import dynamic

pytestmark = pytest.mark.usefixtures("fresh_torch")


def compiled(f, **kwargs):
    return torch.compile(f, backend="coregrad", fullgraph=True, **kwargs)


def graphs(kind):
    """Reports of one kind (inference, forward, backward); each is one compilation."""
    return [g for g in coregrad.torch.report().graphs if f" {kind}" in g.name]


def traces():
    """How many graphs Dynamo handed over."""
    return len({g.name.split()[1] for g in coregrad.torch.report().graphs})


def check(f, call, make, train=True):
    """The compiled function against eager: values, and gradients of every float input."""
    inputs = make()
    twins = [x.clone() for x in inputs]
    if train:
        for x in (*inputs, *twins):
            x.requires_grad_(x.is_floating_point())
    got, want = call(*inputs), f(*twins)
    torch.testing.assert_close(got, want)
    if not train or not isinstance(got, torch.Tensor) or not got.requires_grad:
        return
    weight = torch.randn_like(want)
    leaves = [x for x in inputs if x.requires_grad]
    eager_leaves = [x for x in twins if x.requires_grad]
    torch.testing.assert_close(
        torch.autograd.grad(got, leaves, weight, allow_unused=True),
        torch.autograd.grad(want, eager_leaves, weight, allow_unused=True),
    )


def attention(x):
    batch, length, width = x.shape
    q, k, v = x.view(batch, length, 3, 2, width // 6).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


#: name -> (function of tensors, function of two sizes that makes them)
CASES = {
    "a size in arithmetic": (lambda x: x * x.shape[0] + x.shape[1] / 2, lambda n, m: [(n, m)]),
    "a size in a power and a root": (
        lambda x: x / x.shape[1] ** 0.5 + (x.shape[0] // 2) * (x.shape[1] % 3),
        lambda n, m: [(n, m)],
    ),
    "arange and full": (
        lambda x: x + torch.arange(x.shape[1]) + torch.full((x.shape[0], 1), x.shape[0]),
        lambda n, m: [(n, m)],
    ),
    "view(-1, n)": (
        lambda x: torch.exp(x).view(-1, x.shape[1]).t(),
        lambda n, m: [(3, max(n, 1), m)],
    ),
    "flatten and back": (
        lambda x: (x.flatten() * 2).view(x.shape[0], -1) if x.numel() else x * 2,
        lambda n, m: [(n, m)],
    ),
    "slices up to a size": (
        lambda x, y: x[: y.shape[0]] + y[: x.shape[0]],
        lambda n, m: [(n, 4), (n, 4)],
    ),
    "concatenation": (lambda x, y: torch.cat([x, y.tanh(), x]), lambda n, m: [(n, 3), (m, 3)]),
    "padding by a size": (
        lambda x: F.pad(x, (x.shape[0], 1)),
        lambda n, m: [(n, m)],
    ),
    "mean and variance": (
        lambda x: (x - x.mean(0)) / (x.var(0, unbiased=False) + 1).sqrt(),
        lambda n, m: [(max(n, 1), m)],
    ),
    "softmax and sums": (lambda x: x.softmax(-1).sum(0) * x.numel(), lambda n, m: [(n, max(m, 1))]),
    "products of matrices": (lambda x, y: x @ y @ x, lambda n, m: [(n, m), (m, n)]),
    "batched products": (lambda x: x @ x.transpose(1, 2), lambda n, m: [(n, m, 5)]),
    "broadcast to a size": (lambda x, y: x[:, None] * y, lambda n, m: [(n,), (m,)]),
    "repeat and expand": (
        lambda x: x.repeat(2, 1) + x.sum(0).expand(2 * x.shape[0], -1),
        lambda n, m: [(n, m)],
    ),
    "attention": (attention, lambda n, m: [(n, max(m, 1), 12)]),
    "convolution": (
        lambda x, w: F.conv2d(x, w, padding=1).relu(),
        lambda n, m: [(n, 2, m + 3, m + 4), (3, 2, 3, 3)],
    ),
    "triangles and masks": (
        lambda x: torch.where(torch.ones(x.shape[1], x.shape[1]).tril() > 0, x.mT @ x, 0.0),
        lambda n, m: [(n, m)],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_random_sizes_with_none_and_one_among_them_are_right(name):
    f, shapes = CASES[name]
    call = compiled(f, dynamic=True)
    rng = random.Random(name)
    sizes = [(3, 4), (0, 3), (1, 5), (4, 1), (5, 0), (1, 1)]
    sizes += [(rng.randint(2, 40), rng.randint(2, 40)) for _ in range(8)]
    rng.shuffle(sizes)
    for n, m in sizes:
        check(f, call, lambda n=n, m=m: [torch.randn(s, dtype=torch.float64) for s in shapes(n, m)])
    for graph in coregrad.torch.report().graphs:
        assert graph.rejected is None, graph.to_text()


#: Of images [2, 3, n, m] and places [2, m, n, 2].
IMAGES = {
    "times 1.5": lambda x, _: F.interpolate(x, scale_factor=1.5),
    "bilinear, times 0.75": lambda x, _: F.interpolate(x, scale_factor=0.75, mode="bilinear"),
    "bicubic, to a size": lambda x, y: F.interpolate(x, size=(y.shape[1] + 3, 7), mode="bicubic"),
    "smoothed": lambda x, _: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
    "samples": lambda x, y: F.grid_sample(x, y, align_corners=False),
    "cubic samples, reflected": lambda x, y: F.grid_sample(
        x, y, "bicubic", "reflection", align_corners=True
    ),
    "adaptive windows": lambda x, _: F.adaptive_max_pool2d(x, (3, 2)),
    "the largest half": lambda x, _: x.topk(x.shape[3] // 2)[0],
    "attention of any width": lambda x, y: F.scaled_dot_product_attention(x, x.flip(2), x.tanh()),
}


@pytest.mark.parametrize("name", IMAGES)
def test_images_of_all_sizes_are_one_compilation(name):
    f = IMAGES[name]
    call = compiled(f, dynamic=True)
    for n, m in ((9, 12), (14, 10), (23, 31), (6, 7), (17, 16)):
        images = [torch.randn(2, 3, n, m).double(), (torch.rand(2, m, n, 2).double() - 0.5) * 2.4]
        check(f, call, lambda images=images: [x.clone() for x in images])
    assert len(graphs("forward")) == 1, coregrad.torch.report()
    assert len(graphs("backward")) == 1


def test_an_image_that_a_linear_layer_settles_is_one_compilation():
    """PyTorch guards that pooled images have 64 elements; no other size is worth a compilation."""

    def f(x, w):
        return F.max_pool2d(x, 2).flatten(1) @ w

    call = compiled(f, dynamic=True)
    for n in (3, 8, 5):
        check(f, call, lambda n=n: [torch.randn(n, 4, 8, 8), torch.randn(64, 5)])
    assert len(graphs("forward")) == len(graphs("backward")) == 1


def test_a_float_of_a_size_is_rounded_as_pytorch_does():
    """Factors of few bits leave a size a symbol; others are for one value of it."""
    factors = (1.5, 0.75, 2.0, 0.1, 1.1, 1 / 3)

    def f(x):
        n = x.shape[0]
        roundings = [g(n * k + 0.5) for k in factors for g in (math.floor, math.ceil, int)]
        return x.sum() + torch.tensor(roundings)

    call = compiled(f, dynamic=True)
    for n in (2, 3, 7, 10, 30):
        x = torch.zeros(n, dtype=torch.int64)
        assert torch.equal(call(x), f(x))


def test_a_size_that_is_returned_is_that_of_the_call():
    f = compiled(lambda x: (x + 1, x.shape[0] * 3, torch.tensor(x.shape[0])), dynamic=True)
    for n in (3, 7, 2, 3):
        y, triple, number = f(torch.zeros(n, 2))
        assert y.shape == (n, 2)
        assert triple == 3 * n
        assert number.item() == n


def test_integers_and_sizes_mix():
    call = compiled(lambda x, n: x[:n].sum(0) * n + x.shape[0], dynamic=True)
    for rows, n in ((5, 3), (9, 4), (6, 6), (7, 2), (5, 0)):
        x = torch.randn(rows, 2)
        torch.testing.assert_close(call(x, n), x[:n].sum(0) * n + rows)


def test_sizes_change_by_themselves_after_the_second_and_are_traced_twice_at_most():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    call = compiled(model)
    for n in (3, 5, 9, 12, 5, 31):
        x = torch.randn(n, 4)
        torch.testing.assert_close(call(x), model(x))
        call(x).sum().backward()
    assert traces() == 2
    assert len(graphs("forward")) == 1 + 1


def test_mark_dynamic_traces_once():
    f = lambda x: (x.sin() * x.shape[0]).sum(1)  # noqa: E731
    call = compiled(f)
    for n in (4, 7, 13, 2):
        x = torch.randn(n, 3)
        torch._dynamo.mark_dynamic(x, 0)
        torch.testing.assert_close(call(x), f(x))
    assert traces() == 1


def test_buffers_follow_batches_of_every_size():
    model, twin = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    call = compiled(model, dynamic=True)
    for n in (6, 9, 6, 2):
        x = torch.randn(n, 4)
        torch.testing.assert_close(call(x), twin(x))
    for got, want in zip(model.buffers(), twin.buffers()):
        torch.testing.assert_close(got, want)


def test_a_mutated_input_of_every_size_and_layout_is_mutated():
    def f(x):
        x.mul_(x.shape[0]).add_(1)
        return x.sum()

    call = torch.compile(f, backend="coregrad", dynamic=True)
    for make in (
        lambda n: torch.randn(n, 4),
        lambda n: torch.randn(4, n).t(),
        lambda n: torch.randn(n, 8)[:, ::2],
        lambda n: torch.randn(n, 6)[:, 1:5],
    ):
        for n in (3, 5, 8):
            x = make(n)
            twin = x.clone()
            torch.testing.assert_close(call(x), f(twin))
            torch.testing.assert_close(x, twin)


@pytest.mark.parametrize("lies", ["from the start", "behind others", "between others", "turned"])
def test_a_view_of_an_overwritten_input_is_one_wherever_that_lies(lies):
    """AOTAutograd gives views the strides that the new value had before it was copied."""
    make = {
        "from the start": lambda n: torch.arange(2.0 * n).view(2, n),
        "behind others": lambda n: torch.arange(4.0 + 2 * n)[4:].view(2, n),
        "between others": lambda n: torch.arange(4.0 * n).view(2, 2 * n)[:, :n],
        "turned": lambda n: torch.arange(4.0 + 2 * n)[4:].view(n, 2).T,
    }[lies]

    def f(x):
        x.mul_(2)
        return x.view(x.shape[0], 1, -1)

    call = torch.compile(f, backend="coregrad", dynamic=True)
    for n in (6, 8, 5):
        x, twin = make(n), make(n)
        y, want = call(x), f(twin)
        torch.testing.assert_close((y, x), (want, twin))
        y.add_(1)
        torch.testing.assert_close(x, twin + 1)


def test_strides_of_a_call_are_its_own():
    f = lambda x: (x * 2).cumsum(0) + x.t().contiguous().t()  # noqa: E731
    call = compiled(f, dynamic=True)
    base = torch.randn(9, 30)
    for x in (base[:5, :6], base[:6, :5], base.t()[:5, :6], base[:5, ::5], base[:1].expand(5, 30)):
        torch.testing.assert_close(call(x), f(x))


def test_a_view_of_an_input_is_a_view_for_every_size():
    call = compiled(lambda x: (x[1:], x.t(), x + 1), dynamic=True)
    for n in (3, 6, 4):
        x = torch.randn(n, 5)
        tail, turned, _ = call(x)
        x.zero_()
        assert tail.shape == (n - 1, 5)
        assert tail.abs().max() == 0
        assert turned.abs().max() == 0


def test_dropout_of_every_size_is_seeded():
    call = compiled(lambda x: F.dropout(x, 0.5), dynamic=True)
    for n in (50, 70, 90):
        x = torch.ones(n, 8)
        torch.manual_seed(1)
        first = call(x)
        torch.manual_seed(1)
        assert torch.equal(call(x), first)
        assert 0.3 < (first == 0).float().mean() < 0.7


def test_a_new_size_is_neither_traced_nor_compiled():
    def f(x, y):
        scores = torch.softmax(x @ y.transpose(0, 1), -1)
        return F.layer_norm(scores @ y, (6,))

    call = compiled(f, dynamic=True)
    for n, m in ((3, 4), (4, 3), (17, 300), (300, 17), (2, 2)):
        check(f, call, lambda n=n, m=m: [torch.randn(n, 6), torch.randn(m, 6)])
    assert traces() == 1
    assert len(graphs("forward")) == len(graphs("backward")) == 1
    report = graphs("forward")[0]
    assert report.sizes_bound == 5
    assert report.guards == []
    assert "bound for 5 sets of sizes" in report.to_text()


def test_what_a_size_decides_is_decided_for_each_call():
    """What cannot be compiled for all sizes is compiled for those that a call brings."""

    def tail(x):
        return x[-20:].sum(0) * x.shape[0]

    def unrolled(x):
        total = x[0]
        for row in x.unbind(0):
            total = (total + row).sin()
        return total

    for f in (tail, unrolled):
        torch._dynamo.reset()
        call = compiled(f, dynamic=True)
        for n in (30, 5, 20, 21, 5, 19, 300):
            check(f, call, lambda n=n: [torch.randn(n, 3)])


class _Sizes:
    """Stands for the sizes of a graph whose calls bring one number."""

    places = [("int", 0, 0)]  # noqa: RUF012

    def of(self, told):
        return told

    def check(self, sizes):
        pass


class _Evens:
    """A template that is for even numbers."""

    gives_views = False

    def admits(self, sizes, args):
        return sizes[0] % 2 == 0

    def entry_for(self, sizes, written):
        return lambda *_: (("template", *sizes),)


def _boxed(kind, sizes):
    return lambda args: [(kind, *sizes)]


def sized_graph(compile_template, compile_for):
    return dynamic.SizedGraph(dynamic.Programs(_Sizes(), compile_template, compile_for))


def test_programs_are_bounded_and_the_latest_stay(monkeypatch):
    monkeypatch.setattr(dynamic, "MAX_BYTES", 3 * 256 * 1024)  # a function of others counts so
    made = []

    def compile_for(sizes, args):
        made.append(sizes[0])
        return _boxed("numbers", sizes)

    call = sized_graph(lambda *_: None, compile_for)
    for n in (2, 3, 4, 2, 5):
        assert call([n]) == [("numbers", n)]
    assert made == [2, 3, 4, 5]
    call([2])  # used after 3, which had to go
    assert made == [2, 3, 4, 5]
    call([3])
    assert made == [2, 3, 4, 5, 3]


@pytest.fixture
def evens_and_numbers():
    """A graph that has a template for even numbers, and what templates were tried for."""
    tried = []

    def compile_template(sizes, args, is_near):
        tried.append((sizes[0], is_near))
        return None if is_near else _Evens()

    return sized_graph(compile_template, lambda sizes, _: _boxed("numbers", sizes)), tried


def test_a_template_is_used_for_what_it_admits_and_tried_near_a_size_else(evens_and_numbers):
    call, tried = evens_and_numbers
    assert call([4]) == [("template", 4)]
    assert call([6]) == [("template", 6)]
    assert call([3]) == [("numbers", 3)]
    assert tried == [(4, False), (3, True)]


def test_a_template_that_is_not_for_the_first_call_is_for_later_ones(evens_and_numbers):
    call, tried = evens_and_numbers
    assert call([1]) == [("numbers", 1)]
    assert call([6]) == [("template", 6)]
    assert tried == [(1, False), (1, True)]


def test_a_view_of_a_base_that_the_call_does_not_show_is_compiled():
    """The traced size of its storage is an expression over the sizes of that base."""
    call = compiled(lambda x: x.tanh() * 2, dynamic=True)
    for x in (
        torch.randn(5, 8).t(),
        torch.randn(7, 9).t()[1:],
        torch.randn(6, 4)[:, 1:],
        torch.randn(9)[3:8],
    ):
        assert torch.allclose(call(x), x.tanh() * 2)
    assert not any(g.rejected for g in coregrad.torch.report().graphs)


def test_another_number_of_threads_makes_no_machine_code():
    model = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.LayerNorm(32))
    call = compiled(model, dynamic=True)
    x = torch.randn(8, 16)
    before = torch.get_num_threads()
    want = call(x)
    want.sum().backward()
    compiled_before = len(coregrad.torch.report().graphs)
    try:
        for threads in (1, 3, 1, 2):
            torch.set_num_threads(threads)
            assert torch.equal(call(x), want)
            call(x).sum().backward()
    finally:
        torch.set_num_threads(before)
    # Dynamo traces once for each number of threads; the kernels are there already.
    for graph in coregrad.torch.report().graphs[compiled_before:]:
        assert graph.plan["kernels_compiled"] == 0


def test_no_more_threads_take_part_than_pytorch_uses(tmp_path):
    """In a process of its own: the trace is written when it ends."""
    program = """
import torch, coregrad.torch
x = torch.randn(2000, 2000)
for threads in (1, 2):
    torch.set_num_threads(threads)
    call = torch.compile(lambda x: (x.tanh() + threads).sin(), backend="coregrad")
    for _ in range(20):
        call(x)
"""
    trace = tmp_path / "trace.json"
    environment = {**os.environ, "COREGRAD_TRACE": str(trace)}
    environment.pop("COREGRAD_NUM_THREADS", None)
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    events = json.loads(trace.read_text())["traceEvents"]
    steps = [e["tid"] for e in events if e.get("cat") == "step"]
    assert set(steps[:20]) == {0}
    if len(os.sched_getaffinity(0)) > 1:
        assert len(set(steps)) > 1


def test_a_forked_child_runs_without_the_threads_of_its_parent():
    """PyTorch's OpenMP threads stay behind in the parent: a child that waited for them would hang."""
    program = """
import os, torch, coregrad.torch
torch.set_num_threads(2)
x = torch.randn(1000, 1000)
call = torch.compile(lambda x: (x.tanh() + 1).sin().sum(1), backend="coregrad")
want = call(x)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(call(x), want) else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_threads_that_bring_new_sizes_at_once_get_their_own():
    f = lambda x: x.tanh() * x.shape[0]  # noqa: E731
    call = compiled(f, dynamic=True)
    call(torch.randn(3, 4))
    wrong = []

    def work(seed):
        rng = random.Random(seed)
        for _ in range(30):
            x = torch.randn(rng.randint(2, 12), 4)
            if not torch.allclose(call(x), f(x), atol=1e-5):
                wrong.append(x.shape)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def windows(x):
    batch, height, width, channels = x.shape
    parts = x.view(batch, height // 4, 4, width // 4, 4, channels).permute(0, 1, 3, 2, 4, 5)
    return parts.reshape(-1, 16, channels).softmax(1)


#: The same for sizes that PyTorch knows a divisor of.
DIVISIBLE = {
    "view with -1": (lambda x: x.view(x.shape[0], -1, 4).softmax(-1), lambda n, m: [(n, 4 * m)]),
    "unflatten": (lambda x: x.unflatten(0, (-1, 4)).sum(1), lambda n, m: [(4 * n, m)]),
    "windows of an image": (windows, lambda n, m: [(2, 4 * n, 4 * m, 5)]),
    "pixel shuffle": (lambda x: F.pixel_shuffle(x, 2) * 2, lambda n, m: [(2, 4 * n, m, 3)]),
    "groups": (lambda x: F.group_norm(x, 3), lambda n, m: [(n, 3 * m, 5)]),
    "halves": (lambda x: F.glu(x), lambda n, m: [(n, 2 * m)]),
    "equal chunks": (lambda x: sum(x.chunk(3, 1)), lambda n, m: [(n, 3 * m)]),
}


@pytest.mark.parametrize("name", DIVISIBLE)
def test_a_size_that_is_divided_serves_all_multiples(name):
    f, shapes = DIVISIBLE[name]
    call = compiled(f, dynamic=True)
    for n, m in ((3, 5), (6, 4), (2, 9), (17, 16)):
        check(f, call, lambda n=n, m=m: [torch.randn(s, dtype=torch.float64) for s in shapes(n, m)])
    assert traces() == 1
    assert len(graphs("forward")) == len(graphs("backward")) == 1


#: The same where a float is computed from sizes.
FLOATS = {
    "variance": (lambda x: x.var(1) * 2, lambda n, m: [(n, m)]),
    "deviation of all": (lambda x: x.std() * x, lambda n, m: [(n, m)]),
    "a quotient of sizes": (lambda x: x * (x.shape[0] / x.shape[1] - 0.5), lambda n, m: [(n, m)]),
    "images of a given size": (
        lambda x: F.interpolate(x, size=(9, 7), mode="bilinear"),
        lambda n, m: [(2, 3, n, m)],
    ),
    "images of another's size": (
        lambda x, y: F.interpolate(x, size=y.shape[2:]) + y,
        lambda n, m: [(2, 3, n, m), (2, 3, m + 1, n + 2)],
    ),
}


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_float_that_sizes_decide_is_that_of_the_call(name, dtype):
    f, shapes = FLOATS[name]
    call = compiled(f, dynamic=True)
    for n, m in ((3, 5), (6, 4), (4, 9), (17, 16)):
        check(f, call, lambda n=n, m=m: [torch.randn(s, dtype=dtype) for s in shapes(n, m)])
    assert max(len(graphs("forward")), len(graphs("backward"))) <= traces()


def test_a_stride_that_no_size_tells_is_read_from_the_call():
    from functorch.compile import aot_function

    from coregrad.torch.backend import GraphCompiler
    from coregrad.torch.options import Options

    arguments = GraphCompiler(Options.make({})).aot_arguments()
    x = torch.randn(20, 30)[:5, ::3].requires_grad_()
    f = lambda x: (x.sin() * x.shape[1]).cumsum(0)  # noqa: E731
    got = aot_function(f, **arguments, dynamic=True)(x)
    torch.testing.assert_close(got, f(x))
    assert not any(g.rejected for g in coregrad.torch.report().graphs)


def test_a_conjugate_view_that_is_saved_or_returned_stays_one():
    def f(x):
        values, vectors = torch.linalg.eig(x)
        return values.conj(), vectors.abs(), (values * vectors).imag

    call = compiled(f, dynamic=True)
    for n in (3, 5):
        x = torch.randn(n, n, dtype=torch.float64)
        x = (x + x.T).requires_grad_()
        twin = x.detach().clone().requires_grad_()
        got, want = call(x), f(twin)
        torch.testing.assert_close(got[0].resolve_conj(), want[0].resolve_conj())
        torch.testing.assert_close(got[1], want[1])
        weights = torch.randn(n, n, dtype=torch.float64)
        torch.testing.assert_close(
            torch.autograd.grad(got[1], x, weights), torch.autograd.grad(want[1], twin, weights)
        )


#: name -> (function of tensors, function of two sizes that makes shapes)
IN_PYTORCH = {
    "a size among the arguments": (
        lambda x: torch.histc(x.sin(), x.shape[0] * 2) + x.shape[1],
        lambda n, m: [(n, m)],
    ),
    "other strides than row-major ones": (
        lambda x: torch.renorm((x * 2).mT, 2, 0, 1.0) + 1,
        lambda n, m: [(n, m)],
    ),
    "a gradient": (lambda x: torch.linalg.svdvals(x).sum() * x, lambda n, m: [(n, m)]),
    "complex results": (lambda x: torch.linalg.eigvals(x * 2).abs().sum(), lambda n, m: [(n, n)]),
    "a step that checks": (
        lambda x: torch.floor_divide((x * 9).long(), (x * 9).long() ** 2 + 1),
        lambda n, m: [(n, m)],
    ),
}


@pytest.mark.parametrize("name", IN_PYTORCH)
def test_a_step_that_runs_in_pytorch_serves_all_sizes(name):
    f, shapes = IN_PYTORCH[name]
    call = compiled(f, dynamic=True)
    for n, m in ((3, 5), (6, 4), (2, 9), (17, 16)):
        check(f, call, lambda n=n, m=m: [torch.randn(s, dtype=torch.float64) for s in shapes(n, m)])
    # PyTorch traces a matrix that is taller than wide anew.
    assert max(len(graphs("forward")), len(graphs("backward"))) <= traces()
    assert not any(g.rejected for g in coregrad.torch.report().graphs)


def test_a_gradient_whose_graph_has_only_products_of_sizes_is_right():
    f = lambda x: x.view(-1).sin().view(-1, 4).cos() * 3  # noqa: E731
    call = compiled(f, dynamic=True)
    for n in (3, 8, 5):
        check(f, call, lambda n=n: [torch.randn(n, 2, 4)])


def test_a_transformer_block_follows_batch_and_length():
    block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    call = compiled(block, dynamic=True)
    for batch, length in ((2, 5), (3, 7), (2, 9), (1, 4), (5, 1)):
        x = torch.randn(batch, length, 16)
        torch.testing.assert_close(call(x), block(x), atol=2e-5, rtol=2e-5)
        call(x).square().sum().backward()
        got = [p.grad.clone() for p in block.parameters()]
        block.zero_grad()
        block(x).square().sum().backward()
        for g, p in zip(got, block.parameters()):
            torch.testing.assert_close(g, p.grad, atol=2e-3, rtol=2e-3)
        block.zero_grad()


def test_integers_that_tracing_settles_are_those_of_the_call():
    """Dynamo makes the second int symbolic; an index that is written to settles it again."""

    def write(x, v, i):
        x[..., i] = v

    def windows(x):
        w = x.unfold(1, 3, 3)
        w.mul_(2)
        return w.sum(0)

    def both(x, i, n):
        x = x.clone()
        x[i] = x[i] * 2 + n
        return x.sum(0) / n, i

    call = compiled(write)
    for i in (1, 2, 3, 4, -1):
        x, y = torch.zeros(4, 7), torch.zeros(4, 7)
        write(x, torch.ones(4), i)
        call(y, torch.ones(4), i)
        assert torch.equal(x, y)
    torch._dynamo.reset()
    call = compiled(windows)
    for n in (12, 18, 24):
        x = torch.arange(4.0 * n).reshape(4, n)
        twin = x.clone()
        torch.testing.assert_close(call(x), windows(twin))
        assert torch.equal(x, twin)
    torch._dynamo.reset()
    call = compiled(both)
    for i, n in ((1, 5), (2, 6), (3, 7), (0, 9)):
        check(
            lambda x, i=i, n=n: both(x, i, n)[0],
            lambda x, i=i, n=n: call(x, i, n)[0],
            lambda: [torch.randn(4, 5)],
        )
        assert call(torch.ones(4, 5), i, n)[1] == i
    assert not any(g.rejected for g in coregrad.torch.report().graphs)


def test_floats_and_truths_that_change_are_those_of_the_call():
    def f(x, scale, flag, i):
        y = x.clone()
        y[i] = y[i] * scale
        return y.sin() if flag else y.cos() * scale

    call = compiled(f)
    for scale, flag, i in ((0.5, True, 1), (1.5, True, 2), (2.5, False, 3), (-3.0, False, 0)):
        check(
            lambda x, a=(scale, flag, i): f(x, *a),
            lambda x, a=(scale, flag, i): call(x, *a),
            lambda: [torch.randn(4, 5)],
        )
