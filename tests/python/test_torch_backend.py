"""torch.compile(backend="coregrad"): state, aliasing, fallbacks, reports. Models: test_torch_parity."""

import copy
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import coregrad
import coregrad.torch
from coregrad.torch import importer
from coregrad.torch.lowering import ROWS
from coregrad.torch.parity.judge import compare_all

pytestmark = pytest.mark.usefixtures("fresh_torch")


def test_batch_norm_updates_its_buffers_in_place_and_bumps_their_versions():
    model = nn.BatchNorm1d(4)
    twin = copy.deepcopy(model)
    compiled = torch.compile(model, backend="coregrad")
    pointer, version = model.running_mean.data_ptr(), model.running_mean._version
    for _ in range(3):
        x = torch.randn(8, 4)
        compiled(x)
        twin(x)
    assert model.running_mean.data_ptr() == pointer
    assert model.running_mean._version > version
    assert model.num_batches_tracked.item() == 3
    torch.testing.assert_close(model.running_mean, twin.running_mean)
    torch.testing.assert_close(model.running_var, twin.running_var)


def test_dropout_follows_manual_seed_and_its_gradient_uses_the_same_mask():
    f = torch.compile(lambda x: F.dropout(x, 0.25), backend="coregrad")
    x = torch.ones(4000, requires_grad=True)
    torch.manual_seed(7)
    first = f(x)
    first.sum().backward()
    torch.manual_seed(7)
    again = f(x)
    other = f(x)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x.grad, first.detach())
    assert abs((first != 0).float().mean().item() - 0.75) < 0.03
    assert set(first.unique().tolist()) <= {0.0, float(torch.tensor(1 / 0.75))}


def test_random_numbers_of_one_graph_are_independent():
    def f(x):
        return F.dropout(x, 0.5), F.dropout(x, 0.5), torch.rand_like(x), torch.rand_like(x)

    torch.manual_seed(3)
    masks = [v > 0.5 for v in torch.compile(f, backend="coregrad")(torch.ones(10000))]
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs((a == b).float().mean().item() - 0.5) < 0.03


def test_an_operator_without_lowering_runs_in_pytorch_inside_the_graph():
    def f(x):
        return torch.special.airy_ai(x * 2) + 1

    x = torch.randn(3, 4)
    torch.testing.assert_close(torch.compile(f, backend="coregrad", fullgraph=True)(x), f(x))
    summary = coregrad.torch.report().to_dict()
    assert summary["num_graphs"] == 1
    assert summary["num_fallback"] == 1
    assert "airy_ai" in next(iter(summary["fallbacks"]))


def test_fallback_error_refuses_and_names_the_operator():
    f = torch.compile(
        lambda x: torch.special.airy_ai(x), backend="coregrad", options={"fallback": "error"}
    )
    with pytest.raises(Exception, match="airy_ai"):
        f(torch.randn(3))


def test_an_error_inside_a_fallback_reaches_the_caller():
    f = torch.compile(lambda x: torch.linalg.cholesky(x), backend="coregrad")
    with pytest.raises(torch.linalg.LinAlgError):
        f(-torch.eye(3))


def test_concurrent_runs_of_one_program_get_their_own_errors():
    f = torch.compile(lambda x: torch.linalg.cholesky(x).sum(), backend="coregrad")
    good = torch.eye(3) * 4
    bad = [torch.diag(torch.tensor(d)) for d in ([-1.0, 1, 1], [1.0, -1, 1], [1.0, 1, -1])]
    want = f(good)
    wrong = []

    def call(number):
        for _ in range(100):
            try:
                got = f(good) if number == 3 else f(bad[number])
                if number != 3 or not torch.equal(got, want):
                    wrong.append(f"{number}: no error")
            except torch.linalg.LinAlgError as error:
                # The message names the minor that is not positive.
                if number == 3 or f"order {number + 1}" not in str(error):
                    wrong.append(f"{number}: {error}")

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]


def test_a_fallback_may_have_results_that_nobody_reads():
    def f(x):
        return torch.linalg.slogdet(x)[1] + 1, torch.mode(x, 0)[1]

    x = torch.eye(4) + 0.1 * torch.randn(4, 4)
    compiled = torch.compile(f, backend="coregrad")
    for _ in range(20):
        for got, want in zip(compiled(x), f(x)):
            torch.testing.assert_close(got, want)


def test_an_error_inside_a_lowering_is_named_in_the_report_and_refused_on_request(monkeypatch):
    def broken(b, x):
        return b.g.reshape(x, [7, 7])

    monkeypatch.setitem(ROWS, torch.ops.aten.tanh.default, broken)
    x = torch.randn(3)
    torch.testing.assert_close(torch.compile(torch.tanh, backend="coregrad")(x), torch.tanh(x))
    (reason,) = coregrad.torch.report().to_dict()["graphs"][0]["fallbacks"]["aten.tanh.default"]
    assert "ShapeError: reshape" in reason
    assert reason in str(coregrad.torch.report())
    torch._dynamo.reset()
    strict = torch.compile(torch.tanh, backend="coregrad", options={"fallback": "error"})
    with pytest.raises(Exception, match=r"aten\.tanh\.default \(ShapeError: reshape"):
        strict(x)


def test_complex_eigenvalues_are_one_step_in_pytorch_with_a_reason():
    def f(x):
        return torch.linalg.eigvals(x).abs().sum()

    x = torch.randn(4, 4)
    torch.testing.assert_close(torch.compile(f, backend="coregrad")(x), f(x))
    (graph,) = coregrad.torch.report().graphs
    (reasons,) = graph.fallbacks.values()
    assert "complex" in reasons[0]
    assert graph.num_native == 2


def test_an_output_that_views_an_input_is_a_view_of_it():
    f = torch.compile(lambda x: (x.t(), x[1:], x * 2), backend="coregrad")
    x = torch.randn(3, 4)
    turned, tail, _ = f(x)
    x.zero_()
    assert turned.abs().max() == 0
    assert tail.abs().max() == 0
    assert turned.shape == (4, 3)


def test_outputs_that_share_storage_in_eager_share_it_compiled():
    def f(x):
        y = x * 2
        return y, y[1:], y.t()

    x = torch.randn(3, 4)
    y, tail, turned = torch.compile(f, backend="coregrad")(x)
    for got, want in zip((y, tail, turned), f(x)):
        torch.testing.assert_close(got, want)
    y.zero_()
    assert tail.abs().max() == 0
    assert turned.abs().max() == 0


def test_an_input_mutated_by_the_function_is_mutated():
    def f(x, y):
        x.mul_(2).add_(y)
        return x.sum()

    x, y = torch.randn(5), torch.randn(5)
    twin = x.clone()
    got, want = torch.compile(f, backend="coregrad")(x, y), f(twin, y)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(x, twin)


def test_strided_inputs_and_strided_gradients_are_read_correctly():
    f = torch.compile(lambda x: torch.tanh(x) * 3, backend="coregrad")
    x = torch.randn(6, 5).t()[::2].requires_grad_()
    grad = torch.randn(6, 3).t()
    f(x).backward(grad)
    torch.testing.assert_close(x.grad, grad * 3 * (1 - torch.tanh(x.detach()) ** 2))


def test_retain_graph_allows_a_second_backward():
    f = torch.compile(lambda x: (x * x).sum(), backend="coregrad")
    x = torch.randn(4, requires_grad=True)
    out = f(x)
    out.backward(retain_graph=True)
    first = x.grad.clone()
    out.backward()
    torch.testing.assert_close(x.grad, 2 * first)


def test_two_models_compile_and_run_side_by_side():
    a, b = nn.Linear(3, 4), nn.Linear(4, 2)
    ca, cb = (torch.compile(m, backend="coregrad") for m in (a, b))
    x = torch.randn(5, 3)
    cb(ca(x)).sum().backward()
    grads = [p.grad.clone() for m in (a, b) for p in m.parameters()]
    for m in (a, b):
        m.zero_grad()
    b(a(x)).sum().backward()
    for got, p in zip(grads, [p for m in (a, b) for p in m.parameters()]):
        torch.testing.assert_close(got, p.grad)


def test_dynamic_sizes_give_one_program_each_and_right_answers():
    f = torch.compile(lambda x: torch.softmax(x, 1) * x.shape[0], backend="coregrad", dynamic=True)
    for rows in (3, 5, 7, 5):
        x = torch.randn(rows, 4, requires_grad=True)
        out = f(x)
        out.square().sum().backward()
        y = x.detach().clone().requires_grad_()
        (torch.softmax(y, 1) * rows).square().sum().backward()
        torch.testing.assert_close(out, torch.softmax(x, 1) * rows)
        torch.testing.assert_close(x.grad, y.grad)


def test_a_graph_that_the_compiler_fails_on_runs_in_pytorch_with_a_warning(monkeypatch):
    def fail(*_):
        raise KeyError("no such thing")

    monkeypatch.setattr(importer.Importer, "run", fail)
    x = torch.randn(3, requires_grad=True)
    noted = {"expected_warning": coregrad.torch.CompilerFaultWarning, "match": "KeyError: 'no such"}
    with pytest.warns(**noted):
        out = torch.compile(lambda x: torch.tanh(x) * 2, backend="coregrad")(x)
    with pytest.warns(**noted):
        out.sum().backward()
    torch.testing.assert_close(out, torch.tanh(x) * 2)
    torch.testing.assert_close(x.grad, 2 - 2 * torch.tanh(x.detach()) ** 2)
    assert "no such thing" in str(coregrad.torch.report())
    torch._dynamo.reset()
    strict = torch.compile(torch.tanh, backend="coregrad", options={"fallback": "error"})
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="no such thing"):
        strict(x)


def test_a_bad_index_raises_as_in_eager_and_names_the_operators_that_gather():
    f = torch.compile(lambda w, i: F.embedding(i, w), backend="coregrad")
    with pytest.raises(IndexError, match=r"index 9 .* extent 4, in embedding"):
        f(torch.randn(4, 2), torch.tensor([1, 9]))

    loss = torch.compile(lambda w, i, t: F.cross_entropy(F.embedding(i, w), t), backend="coregrad")
    indices, targets = torch.tensor([1, 0]), torch.tensor([0, 7])
    with pytest.raises(IndexError, match=r"index 7 .* in one of: embedding, nll_loss_forward"):
        loss(torch.randn(4, 2), indices, targets)


def test_run_fx_runs_a_symbolically_traced_module():
    module = torch.fx.symbolic_trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()))
    x = torch.randn(2, 4)
    torch.testing.assert_close(coregrad.torch.run_fx(module, x), module(x).detach())


def test_an_unknown_option_is_refused_by_name():
    f = torch.compile(lambda x: x + 1, backend="coregrad", options={"falback": "error"})
    with pytest.raises(Exception, match="falback"):
        f(torch.ones(2))


@pytest.mark.parametrize("executor", ["plan", "unfused", "interpreter"])
def test_every_executor_gives_the_same_results_and_gradients(executor):
    def f(x, w):
        return F.softmax(F.gelu(x @ w) + 1, -1).square().sum(0)

    x, w = (torch.randn(9, 7, requires_grad=True), torch.randn(7, 12, requires_grad=True))
    compiled = torch.compile(f, backend="coregrad", options={"executor": executor})
    torch.testing.assert_close(compiled(x, w), f(x, w))
    for got, expected in zip(
        torch.autograd.grad(compiled(x, w).norm(), (x, w)),
        torch.autograd.grad(f(x, w).norm(), (x, w)),
    ):
        torch.testing.assert_close(got, expected)


def test_the_unfused_executor_has_a_kernel_for_each_node():
    steps = {}
    for executor in ("plan", "unfused"):
        coregrad.torch.reset()
        torch._dynamo.reset()
        f = torch.compile(
            lambda x: x.exp().sin().tanh(), backend="coregrad", options={"executor": executor}
        )
        f(torch.ones(5))
        steps[executor] = coregrad.torch.report().graphs[0].plan["steps"]
    assert steps == {"plan": 1, "unfused": 3}


def test_the_report_is_text_and_json():
    torch.compile(lambda x: x.exp() + 1, backend="coregrad")(torch.ones(2))
    report = coregrad.torch.report()
    assert "2 of 2 operators native" in str(report)
    assert '"num_native": 2' in report.to_json()


def test_a_gradient_that_views_the_incoming_one_follows_its_place_in_storage():
    f = torch.compile(lambda x, y: torch.select_scatter(x, y, 2, -1), backend="coregrad")
    x = torch.randn(5, 5, 10)[:, :, 1::2].requires_grad_()
    y = torch.randn(5, 5, requires_grad=True)
    grad = torch.randn(5, 5, 5)
    got = torch.autograd.grad(f(x, y), (x, y), grad)
    want = torch.autograd.grad(torch.select_scatter(x, y, 2, -1), (x, y), grad)
    for a, b in zip(got, want):
        assert torch.equal(a, b)


def test_run_fx_views_an_input_wherever_it_lies_in_its_storage():
    module = torch.fx.symbolic_trace(lambda x, y: (x.t(), y.t()))
    base = torch.randn(6, 4)
    got = coregrad.torch.run_fx(module, base[2:5], base[:2])
    assert torch.equal(got[0], base[2:5].t())
    assert torch.equal(got[1], base[:2].t())


def test_as_strided_reads_the_storage_not_the_elements():
    def f(x):
        return torch.as_strided(x, (2, 3), (1, 2), 1) * 1, torch.as_strided_copy(x, (2, 2), (1, 2))

    base = torch.randn(5, 4)
    for x in (base, base.t(), base[1:4], base[:, 1:3], base[::2]):
        for got, want in zip(torch.compile(f, backend="coregrad")(x), f(x)):
            assert torch.equal(got, want)


def test_what_a_fallback_saves_for_its_gradient_fits_the_strides_it_was_traced_with():
    f = torch.compile(torch.linalg.det, backend="coregrad")
    base = torch.randn(5, 5, dtype=torch.float64)
    wide = torch.randn(10, 10, dtype=torch.float64)
    for x in (base, base.t(), wide[::2, 1::2], wide[0, :5].expand(5, 5) + torch.eye(5)):
        x = x.detach().requires_grad_()
        (got,) = torch.autograd.grad(f(x), x)
        (want,) = torch.autograd.grad(torch.linalg.det(x), x)
        torch.testing.assert_close(got, want)


def test_sums_and_products_of_nothing_are_constants():
    def f(x):
        total = x.sum((0, 1), keepdim=True)
        return total, x / total, x.prod(1), x.sum() + 1, x.norm()

    for shape in ((0, 0), (5, 0), (0, 5)):
        x = torch.zeros(shape, requires_grad=True)
        for got, want in zip(torch.compile(f, backend="coregrad")(x), f(x)):
            assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("sum", "plain"),
        ("sum", "weighted"),
        ("sum", "by frequency"),
        ("mean", "plain"),
        ("mean", "by frequency"),
        ("max", "plain"),
    ],
)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("padding", [None, 2])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_embedding_bags_are_right(mode, last, padding, kind, dtype):
    index = torch.tensor([1, 2, 2, 0, 6, 3, 2, 2, 1], dtype=dtype)
    offsets = torch.tensor(
        [0, 3, 3, 6, 9 if last else 8], dtype=dtype
    )  # an empty bag is among them
    leaves = [torch.randn(7, 5, requires_grad=True)]
    if kind == "weighted":
        leaves.append(torch.randn(9, requires_grad=True))

    def f(table, weights=None):
        return F.embedding_bag(
            index,
            table,
            offsets,
            mode=mode,
            per_sample_weights=weights,
            include_last_offset=last,
            padding_idx=padding,
            scale_grad_by_freq=kind == "by frequency",
        )

    # Eager's scaling is not the inverse frequency of its documentation, so it stays with PyTorch.
    options = {} if kind == "by frequency" else {"fallback": "error"}
    compiled = torch.compile(f, backend="coregrad", fullgraph=True, options=options)
    expected, got = f(*leaves), compiled(*leaves)
    torch.testing.assert_close(got, expected)
    grad = torch.randn_like(got)
    for g, e in zip(
        torch.autograd.grad(got, leaves, grad), torch.autograd.grad(expected, leaves, grad)
    ):
        torch.testing.assert_close(g, e)
    with torch.no_grad():
        torch.testing.assert_close(compiled(*leaves), expected)


def test_weight_norm_and_its_gradient_are_native():
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(5, 4), dim=0)
    x = torch.randn(3, 5)
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    compiled = torch.compile(layer, backend="coregrad", options={"fallback": "error"})
    got = torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters()))
    for g, e in zip(got, expected):
        torch.testing.assert_close(g, e)


GROUPED = {
    "plain": ({}, None),
    "causal": ({"is_causal": True}, None),
    "truths": ({}, lambda: torch.rand(5, 7) < 0.7),
    "no key": ({}, lambda: torch.zeros(5, 7, dtype=torch.bool)),
    "floats": ({}, lambda: torch.randn(5, 7)),
    "of each head": ({"scale": 0.3}, lambda: torch.randn(2, 6, 5, 7)),
    "of each batch": ({}, lambda: torch.randn(2, 1, 1, 7)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", GROUPED)
def test_attention_of_groups_of_heads_equals_eager_and_repeats_no_key(name, dtype):
    kwargs, make_mask = GROUPED[name]
    mask = make_mask() if make_mask is not None else None
    mask = mask.to(dtype) if mask is not None and mask.is_floating_point() else mask

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True, **kwargs)

    strict = torch.compile(attend, backend="coregrad", options={"fallback": "error"})
    shapes = [(2, 6, 5, 8), (2, 2, 7, 8), (2, 2, 7, 8)]
    inputs = [torch.randn(s, dtype=dtype, requires_grad=True) for s in shapes]
    wide = [x.detach().double().requires_grad_() for x in inputs]
    reference_mask = mask.double() if mask is not None and mask.is_floating_point() else mask
    reference = F.scaled_dot_product_attention(*wide, reference_mask, enable_gqa=True, **kwargs)
    weight = torch.randn(shapes[0], dtype=dtype)
    results = {}
    for label, f in (("ours", strict), ("eager", attend)):
        out = f(*inputs)
        results[label] = [out, *torch.autograd.grad(out, inputs, weight)]
    exact = [reference, *torch.autograd.grad(reference, wide, weight.double())]
    message = compare_all(results["ours"], results["eager"], exact)
    assert message is None, message


def test_attention_of_groups_of_heads_makes_no_memory_of_repeated_keys():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    # One query and many keys, as a decoder has them: keys are 256 KB, repeated they are 2 MB.
    q, k, v = torch.randn(1, 16, 1, 64), torch.randn(1, 2, 512, 64), torch.randn(1, 2, 512, 64)
    got = torch.compile(attend, backend="coregrad", options={"fallback": "error"})(q, k, v)
    torch.testing.assert_close(got, attend(q, k, v))
    (graph,) = coregrad.torch.report().graphs
    assert graph.plan["temporary_bytes"] < 3 * 16 * 512 * 4


def test_attention_refuses_groups_as_eager_does():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)

    q, k = torch.randn(2, 6, 5, 8), torch.randn(2, 4, 7, 8)
    with pytest.raises(RuntimeError):
        attend(q, k, k)
    with pytest.raises(Exception, match=r"key and value|heads|size of tensor|must"):
        torch.compile(attend, backend="coregrad")(q, k, k)
    torch._dynamo.reset()
    for shapes in (
        ((2, 6, 0, 8), (2, 2, 7, 8)),
        ((0, 6, 5, 8), (0, 2, 7, 8)),
        ((2, 6, 5, 8), (2, 2, 0, 8)),
    ):
        q, k = (torch.randn(s) for s in shapes)
        got = torch.compile(attend, backend="coregrad", dynamic=False)(q, k, k)
        torch.testing.assert_close(got, attend(q, k, k), equal_nan=True)
