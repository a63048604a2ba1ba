"""What programs do around torch.compile: aliased inputs, checkpointing, transforms, compiled optimizers,
complex and sparse tensors, graph breaks, resets.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from functorch.compile import aot_function
from torch import nn
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils.checkpoint import checkpoint

import coregrad.torch
from coregrad.torch.aliasing import guard_sharing
from coregrad.torch.backend import GraphCompiler
from coregrad.torch.options import Options


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    coregrad.torch.reset()
    torch.manual_seed(0)


def compiled(f, **kwargs):
    return torch.compile(f, backend="coregrad", **kwargs)


def graphs():
    return coregrad.torch.report().graphs


def leaf(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


# Aliased and mutated inputs


def test_a_returned_view_lies_where_the_input_of_the_call_lies_in_its_storage():
    def f(x):
        return x[1:], x.view(2, 3).t(), x * 2

    arguments = GraphCompiler(Options.make({})).aot_arguments()
    base = torch.arange(40.0)
    for call in (compiled(f), aot_function(f, **arguments)):
        for x in (base[9:15], base[4:10], base[:6], torch.randn(6)):
            for got, wanted in zip(call(x)[:2], f(x)):
                assert torch.equal(got, wanted)
                assert got.data_ptr() == wanted.data_ptr()
                assert got.stride() == wanted.stride()


KINDS = ["twice", "overlap", "apart", "other strides", "other storages"]


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("dynamic", [False, True])
def test_one_compiled_function_sees_writes_through_every_kind_of_alias(first, dynamic):
    def f(x, y):
        x.add_(1)
        z = y * 2
        y.mul_(3)
        return x + y, z

    def inputs(kind):
        base = torch.arange(24.0).view(4, 6)
        if kind == "twice":
            x = base[:2]
            return base, x, x
        if kind == "overlap":
            return base, base[:2], base[1:3]
        if kind == "apart":
            return base, base[:2], base[2:]
        if kind == "other storages":
            return base, base[:2], base[2:].clone()
        return base, base.t()[:2, :4], base[:2, 2:]

    call = compiled(f, dynamic=dynamic)
    for kind in [first, *KINDS, first]:
        base, x, y = inputs(kind)
        twin, tx, ty = inputs(kind)
        for got, want in zip(call(x, y), f(tx, ty), strict=True):
            torch.testing.assert_close(got, want)
        torch.testing.assert_close(base, twin)


def test_a_written_input_may_share_memory_with_one_that_is_read():
    def f(x, y):
        x.mul_(2)
        return (x * y).sum()

    call = compiled(f)
    for start in (0, 2, 4, 1, 0):  # of what is read; the writes reach four elements
        base, twin = torch.arange(8.0), torch.arange(8.0)
        torch.testing.assert_close(
            call(base[:4], base[start : start + 4]), f(twin[:4], twin[start : start + 4])
        )
        torch.testing.assert_close(base, twin)


def test_only_a_call_that_shares_memory_otherwise_runs_in_pytorch():
    base = torch.zeros(8)
    ways = []
    module = torch.fx.symbolic_trace(lambda x, y: x + y)
    module.forward = lambda *args: ways.append("PyTorch")
    traced = (base[:4], base[2:6])
    call = guard_sharing(lambda *args: ways.append("compiled"), module, traced, [0])
    call(*traced)
    call(base[1:5], base[3:7])
    call(base[:4], base[4:])
    call(base[:4], torch.zeros(4))
    assert ways == ["compiled", "compiled", "PyTorch", "PyTorch"]


def test_gradients_of_written_inputs_that_overlap_otherwise_than_before_are_right():
    def f(x, y, w):
        x.mul_(2)
        return (x * y.exp() * w).sum()

    call = compiled(f)
    for start in (0, 2, 4):
        grads = []
        for run in (call, f):
            base, w = torch.linspace(0, 1, 8), torch.full((4,), 3.0, requires_grad=True)
            run(base[:4], base[start : start + 4], w).backward()
            grads.append(w.grad)
        torch.testing.assert_close(grads[0], grads[1])


def test_an_input_that_is_a_parameter_and_an_argument_gets_both_gradients():
    model = nn.Linear(3, 3)
    call = compiled(lambda w, x: model(x) @ w)
    x = torch.randn(2, 3)
    call(model.weight, x).sum().backward()
    got = model.weight.grad.clone()
    model.zero_grad()
    (model(x) @ model.weight).sum().backward()
    torch.testing.assert_close(got, model.weight.grad)


def test_the_same_leaf_twice_gets_the_sum_of_its_gradients():
    x = leaf(3)
    call = compiled(lambda a, b: (a * b.exp()).sum())
    call(x, x).backward()
    torch.testing.assert_close(x.grad, (x * x.exp() + x.exp()).detach())
    other = leaf(3)
    x.grad = None
    call(x, other).backward()
    torch.testing.assert_close(x.grad, other.exp().detach())


def test_metadata_and_data_of_inputs_may_change_inside():
    def f(x):
        x.unsqueeze_(0)
        y = x.sin_()
        x.resize_(x.shape)
        return y.sum(0)

    for make in (lambda: torch.ones(3, 2), lambda: torch.ones(2, 3).t()):
        x, twin = make(), make()
        torch.testing.assert_close(compiled(f)(x), f(twin))
        assert x.shape == twin.shape
        assert x.stride() == twin.stride()
        torch.testing.assert_close(x, twin)


def test_an_output_that_is_a_view_of_an_input_passes_its_gradient():
    a, b = leaf(3, 4), leaf(3, 4)
    f = lambda x: (x.t()[1:], x.view(-1), x * 2)  # noqa: E731
    for x, outputs in ((a, compiled(f)(a * 1)), (b, f(b * 1))):
        sum(o.sin().sum() for o in outputs).backward()
        assert outputs[0]._is_view()
        assert x.grad is not None
    assert a.shape == b.shape
    b.data.copy_(a.data)
    a.grad = b.grad = None
    sum(o.sin().sum() for o in compiled(f)(a * 1)).backward()
    sum(o.sin().sum() for o in f(b * 1)).backward()
    torch.testing.assert_close(a.grad, b.grad)


# Modes


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_model_moves_between_training_and_modes_without_gradient(mode):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    twin = copy.deepcopy(model)
    call = compiled(model)
    for training in (True, False, True, False):
        model.train(training), twin.train(training)
        x = torch.randn(5, 4)
        with mode():
            out = call(x)
            torch.testing.assert_close(out, twin(x))
            assert not out.requires_grad
        call(x).sum().backward()
        twin(x).sum().backward()
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)
        for p, q in zip(model.buffers(), twin.buffers(), strict=True):
            torch.testing.assert_close(p, q)


def test_gradients_may_be_switched_off_and_on_inside():
    def f(x):
        y = x * 2
        with torch.no_grad():
            z = y * 3
        with torch.enable_grad():
            w = y * 4
        return y + z, w

    a, b = leaf(3), leaf(3)
    b.data.copy_(a.data)
    for x, call in ((a, compiled(f)), (b, f)):
        s, w = call(x)
        (s * x + w * w).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


# Checkpointing


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_around_compiled_layers_gives_the_same_gradients(use_reentrant):
    layers = [nn.Sequential(nn.Linear(6, 6), nn.Tanh()) for _ in range(3)]
    calls = [compiled(layer) for layer in layers]
    grads = []
    for group in (layers, calls):
        x = torch.linspace(-1, 1, 12).view(2, 6).requires_grad_()
        y = x
        for layer in group:
            y = checkpoint(layer, y, use_reentrant=use_reentrant)
        y.square().sum().backward()
        grads.append([x.grad, *(p.grad.clone() for layer in layers for p in layer.parameters())])
        for layer in layers:
            layer.zero_grad()
    torch.testing.assert_close(grads[0], grads[1])


def test_checkpointing_inside_a_compiled_function_is_compiled():
    block = nn.Sequential(nn.Linear(6, 12), nn.GELU(), nn.Linear(12, 6))
    f = lambda x: checkpoint(block, checkpoint(block, x, use_reentrant=False), use_reentrant=False)  # noqa: E731
    grads = []
    x = torch.randn(3, 6)
    for call in (f, compiled(f, fullgraph=True)):
        call(x).square().sum().backward()
        grads.append([p.grad.clone() for p in block.parameters()])
        block.zero_grad()
    torch.testing.assert_close(grads[0], grads[1])
    assert all(g.rejected is None for g in graphs())


def test_checkpointed_dropout_inside_repeats_its_mask():
    call = compiled(
        lambda x: checkpoint(lambda t: F.dropout(t, 0.5), x, use_reentrant=False), fullgraph=True
    )
    x = torch.ones(1000, requires_grad=True)
    y = call(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert 0.3 < (y == 0).float().mean() < 0.7


# Transforms

FUNCTION = lambda x: (x.sin() * x.square().sum()).sum()  # noqa: E731
TRANSFORMS = {
    "grad": lambda f: grad(f),
    "grad of grad": lambda f: grad(lambda x: grad(f)(x).square().sum()),
    "jacrev": lambda f: jacrev(lambda x: f(x) * x),
    "jacfwd": lambda f: jacfwd(lambda x: f(x) * x),
    "hessian": lambda f: hessian(f),
    "vmap of grad": lambda f: lambda x: vmap(grad(f))(torch.stack([x, 2 * x, -x])),
    "vjp": lambda f: lambda x: vjp(f, x)[1](torch.tensor(2.0)),
    "jvp": lambda f: lambda x: jvp(f, (x,), (torch.ones_like(x),)),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_inside_a_compiled_function_are_as_in_eager(name):
    f = TRANSFORMS[name](FUNCTION)
    x = torch.randn(4)
    torch.testing.assert_close(compiled(f, fullgraph=True)(x), f(x))
    for graph in graphs():
        assert graph.rejected is None, graph.to_text()
        assert not graph.fallbacks, graph.to_text()


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_around_a_compiled_function_are_right_or_refused(name):
    call = compiled(FUNCTION)
    x = torch.randn(4)
    call(x)  # also when the plain call was compiled before
    refused = None
    try:
        got = TRANSFORMS[name](call)(x)
    except RuntimeError as error:
        refused = str(error)
    if refused is None:
        torch.testing.assert_close(got, TRANSFORMS[name](FUNCTION)(x))
    else:
        assert any(word in refused for word in ("torch.func", "functorch", "double backward"))


def test_gradients_for_each_sample_are_those_of_a_loop():
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    params = {name: p.detach() for name, p in model.named_parameters()}
    xs, ys = torch.randn(6, 4), torch.randint(0, 3, (6,))

    def loss(params, x, y):
        return F.cross_entropy(functional_call(model, params, (x[None],)), y[None])

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0))
    got = compiled(per_sample, fullgraph=True)(params, xs, ys)
    for i in range(6):
        want = grad(loss)(params, xs[i], ys[i])
        for name in params:
            torch.testing.assert_close(got[name][i], want[name])


def test_ensembles_of_stacked_parameters_run_compiled():
    models = [nn.Linear(3, 2) for _ in range(4)]
    params, buffers = torch.func.stack_module_state(models)
    params = {name: p.detach() for name, p in params.items()}
    base = copy.deepcopy(models[0])

    def run(params, buffers, x):
        return vmap(lambda p, b: functional_call(base, (p, b), (x,)))(params, buffers)

    x = torch.randn(5, 3)
    got = compiled(run, fullgraph=True)(params, buffers, x)
    torch.testing.assert_close(got, torch.stack([m(x) for m in models]))


# Complex and sparse tensors


def test_complex_inputs_and_outputs_are_as_in_eager():
    def f(z, x):
        return (
            z.conj() * x + torch.fft.fft(x),
            z.abs().sum(),
            torch.view_as_real(z.resolve_conj()).sum(),
        )

    z, x = torch.randn(5, dtype=torch.complex64), torch.randn(5)
    for got, want in zip(compiled(f)(z, x), f(z, x), strict=True):
        torch.testing.assert_close(got, want)
    for got, want in zip(compiled(f)(z.conj(), x), f(z.conj(), x), strict=True):
        torch.testing.assert_close(got, want)


def test_complex_inputs_train_as_in_eager():
    grads = []
    start = torch.randn(4, dtype=torch.complex64)
    f = lambda z: (z * z.conj() + z.exp()).abs().sum()  # noqa: E731
    for call in (f, compiled(f)):
        z = start.clone().requires_grad_()
        call(z).backward()
        grads.append(z.grad)
    torch.testing.assert_close(grads[0], grads[1])


@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_sparse_inputs_are_as_in_eager(layout):
    dense = torch.randn(4, 5) * (torch.rand(4, 5) > 0.5)
    sparse = dense.to_sparse() if layout == "coo" else dense.to_sparse_csr()
    x = torch.randn(5, 3)
    f = lambda s, x: torch.mm(s, x) + 1  # noqa: E731
    torch.testing.assert_close(compiled(f)(sparse, x), f(sparse, x))


def test_sparse_gradients_of_an_embedding_are_right():
    table = nn.Embedding(10, 4, sparse=True)
    ids = torch.tensor([1, 3, 3])
    compiled(table)(ids).sum().backward()
    got = table.weight.grad
    table.weight.grad = None
    table(ids).sum().backward()
    torch.testing.assert_close(got.to_dense(), table.weight.grad.to_dense())


# Optimizers

OPTIMIZERS = {
    "sgd with momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=torch.tensor(0.01)),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_step_of_an_optimizer_follows_eager(name):
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 2)).double()
    twin = copy.deepcopy(model)
    ours, theirs = (OPTIMIZERS[name](list(m.parameters())) for m in (model, twin))
    step = compiled(ours.step)
    for _ in range(4):
        x = torch.randn(6, 5, dtype=torch.float64)
        for m in (model, twin):
            m.zero_grad()
            m(x).square().sum().backward()
        step()
        theirs.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        # PyTorch's traceable steps have their bias corrections in float32.
        torch.testing.assert_close(p, q, rtol=1e-5, atol=1e-6)
    for graph in graphs():
        assert graph.rejected is None, graph.to_text()
        assert not graph.fallbacks, graph.to_text()


def test_a_scheduler_changes_the_rate_of_a_compiled_step():
    model, twin = nn.Linear(3, 1), nn.Linear(3, 1)
    twin.load_state_dict(model.state_dict())
    rate = torch.tensor(0.1)
    ours = torch.optim.SGD(model.parameters(), lr=rate)
    theirs = torch.optim.SGD(twin.parameters(), lr=0.1)
    schedules = [torch.optim.lr_scheduler.StepLR(o, 1, 0.5) for o in (ours, theirs)]
    step = compiled(ours.step)
    for _ in range(4):
        x = torch.randn(4, 3)
        for m in (model, twin):
            m.zero_grad()
            m(x).square().mean().backward()
        step(), theirs.step()
        for s in schedules:
            s.step()
    torch.testing.assert_close(model.weight, twin.weight)


def test_a_whole_training_step_with_a_compiled_optimizer_lowers_the_loss_like_eager():
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    twin = copy.deepcopy(model)
    x, y = torch.randn(32, 4), torch.randn(32, 1)
    losses = []
    for m, compile_it in ((model, True), (twin, False)):
        optimizer = torch.optim.Adam(m.parameters(), lr=0.01)
        net = compiled(m) if compile_it else m
        step = compiled(optimizer.step) if compile_it else optimizer.step
        for _ in range(10):
            optimizer.zero_grad()
            loss = F.mse_loss(net(x), y)
            loss.backward()
            step()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-3, atol=1e-4)


# Hooks


def test_hooks_of_every_kind_see_the_same_in_both_worlds():
    def run(wrap):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
        seen = {}
        model[0].register_forward_pre_hook(lambda m, args: (args[0] * 2,))
        model[1].register_forward_hook(lambda m, args, out: out + 1)
        model[2].weight.register_hook(lambda g: g * 3)
        model[0].bias.register_post_accumulate_grad_hook(lambda p: seen.update(bias=p.grad.clone()))
        x = torch.ones(2, 3, requires_grad=True)
        x.register_hook(lambda g: seen.update(x=g.clone()))
        wrap(model)(x).sum().backward()
        return {**seen, **{n: p.grad for n, p in model.named_parameters()}, "x.grad": x.grad}

    torch.testing.assert_close(run(compiled), run(lambda m: m))


# Graph breaks, resets, copies


def test_graph_breaks_keep_values_gradients_and_mutations():
    def f(x, log):
        y = x.sin()
        log.append(y.sum().item())
        y = y * 2 if y.sum() > 0 else y - 1
        y.add_(1)
        print(end="")
        return y.cos()

    call = compiled(f)
    for sign in (1.0, -1.0, 1.0):
        a = (sign * torch.rand(5)).requires_grad_()
        b = a.detach().clone().requires_grad_()
        ours, theirs = [], []
        got, want = call(a, ours), f(b, theirs)
        torch.testing.assert_close(got, want)
        assert ours == pytest.approx(theirs)
        got.sum().backward()
        want.sum().backward()
        torch.testing.assert_close(a.grad, b.grad)
    assert len(graphs()) > 2


@pytest.mark.parametrize("reset", [torch.compiler.reset, torch._dynamo.reset])
def test_a_reset_forgets_reports_and_compiles_anew(reset):
    model = nn.Linear(3, 2)
    call = compiled(model)
    x = torch.randn(4, 3)
    want = call(x)
    assert graphs()
    reset()
    assert not graphs()
    torch.testing.assert_close(call(x), want)
    assert graphs()


def test_a_backward_that_outlives_a_reset_is_right():
    x = leaf(4)
    y = compiled(lambda t: t.tanh().sum())(x)
    torch.compiler.reset()
    y.backward()
    torch.testing.assert_close(x.grad, 1 - x.detach().tanh() ** 2)


def test_a_module_compiled_in_place_is_copied_and_pickled_without_its_code(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    model.compile(backend="coregrad")
    x = torch.randn(2, 3)
    want = model(x)
    torch.testing.assert_close(copy.deepcopy(model)(x), want)
    torch.save(model, tmp_path / "model.pt")
    loaded = torch.load(tmp_path / "model.pt", weights_only=False)
    torch.testing.assert_close(loaded(x), want)
    assert list(model.state_dict()) == ["0.weight", "0.bias"]


def test_stances_and_disabled_parts_run_in_eager():
    @torch.compiler.disable
    def outside(x):
        return x.numpy(force=True).sum()

    call = compiled(lambda x: x * 2 + float(outside(x)))
    x = torch.ones(3)
    assert torch.equal(call(x), x * 2 + 3)
    with torch.compiler.set_stance("force_eager"):
        before = len(graphs())
        assert torch.equal(call(x * 2), x * 4 + 6)
        assert len(graphs()) == before


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x * 2).unfold(0, 3, 1),
        lambda x: (x * 2).as_strided((3, 3), (1, 2)),
        lambda x: (x * 2).expand(3, 7),
        lambda x: ((x * 2).unfold(0, 3, 2), (x * 3).unfold(0, 2, 1)),
    ],
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_gradients_of_outputs_whose_elements_share_memory(f, dynamic):
    x = leaf(7)
    roots = f(x) if isinstance(f(x), tuple) else (f(x),)
    weights = [torch.randn(root.shape) for root in roots]
    (wanted,) = torch.autograd.grad(roots, x, weights)
    got = compiled(f, dynamic=dynamic)(x)
    (grad,) = torch.autograd.grad(got, x, weights)
    torch.testing.assert_close(grad, wanted)
