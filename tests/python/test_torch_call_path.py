"""How Dynamo's bytecode reaches the programs, and that autograd cannot tell."""

import copy
import io
import pickle
import threading
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import coregrad
import coregrad.torch
from coregrad.torch import call_path, compat, importer
from coregrad.torch.metadata import GraphRejected

pytestmark = pytest.mark.usefixtures("fresh_torch")


def compiled(f, **kwargs):
    return torch.compile(f, backend="coregrad", **kwargs)


def call_paths():
    return [graph.call_path.to_text() for graph in coregrad.torch.report().graphs]


def assert_direct():
    assert call_paths()
    assert set(call_paths()) == {"direct"}


def assert_wrapped(reason):
    assert any(reason in path for path in call_paths()), call_paths()


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def polynomial(x):
    return (x * x * x).sin()


# Which graphs


def test_inference_and_training_of_a_usual_model_are_direct():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
    f = compiled(model)
    f(torch.randn(5, 4)).sum().backward()
    with torch.no_grad():
        f(torch.randn(5, 4))
    assert_direct()


def test_a_linear_layer_over_three_dimensions_is_direct_and_its_output_is_no_view():
    model = nn.Linear(4, 3)
    out = compiled(model)(torch.randn(2, 5, 4))
    assert_direct()
    assert not out._is_view()
    out.sin_()
    out.sum().backward()
    assert model.weight.grad is not None


def test_profiler_marks_around_each_call_are_left_out_for_this_backend_alone():
    def marks(backend):
        call = torch.compile(polynomial, backend=backend)
        call(torch.ones(3))
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            call(torch.ones(3))
        return [e.name for e in profile.events() if "bytecode" in e.name]

    assert marks("coregrad") == []
    assert torch._dynamo.config.record_runtime_overhead
    torch._dynamo.reset()  # which forgets callbacks
    assert marks("coregrad") == []
    torch._dynamo.reset()
    assert marks("eager") != []


def compiled_functions(scope):
    return [value for name, value in scope.items() if name.startswith("__compiled_fn")]


@pytest.mark.parametrize(
    ("f", "is_direct"),
    [
        (polynomial, True),
        (lambda x: x.reshape(-1, 1) + 1, True),
        (lambda x: torch.rand_like(x) + x, False),  # the seed is drawn in Python
        (lambda x: torch.linalg.matrix_exp(x), False),  # a step in PyTorch
    ],
)
def test_bytecode_calls_programs_that_enter_no_python_code_themselves(f, is_direct):
    scope = f.__globals__
    before = compiled_functions(scope)
    x = torch.randn(3, 3)
    torch.manual_seed(0)
    compiled(f)(x)
    (made,) = [v for v in compiled_functions(scope) if not any(v is b for b in before)]
    assert isinstance(made, types.BuiltinFunctionType) == is_direct


def test_the_graphs_of_a_broken_frame_are_all_called_directly():
    def broken(x):
        y = x * 2
        torch._dynamo.graph_break()
        return y.sin()

    before = len(compiled_functions(globals()))
    x = torch.randn(3)
    torch.testing.assert_close(compiled(broken)(x), broken(x))
    made = compiled_functions(globals())[before:]
    assert [type(v) for v in made] == [types.BuiltinFunctionType] * 2


def test_profiler_marks_come_back_after_a_compilation_that_never_ended(monkeypatch):
    monkeypatch.setattr(call_path._frame, "marks_left_out", True)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(record_runtime_overhead=False):
        compiled(polynomial)(torch.ones(3))
        assert torch._dynamo.config.record_runtime_overhead


def test_outputs_that_alias_inputs_keep_the_wrappers_and_stay_views():
    x = torch.randn(3, 4)
    turned, double = compiled(lambda x: (x.t(), x * 2))(x)
    assert_wrapped("alias_of_input")
    assert turned._base is x
    torch.testing.assert_close(double, x * 2)


@pytest.mark.parametrize("with_grad", [False, True])
def test_outputs_that_alias_each_other_share_memory(with_grad):
    def f(x):
        y = x * 2
        return y, y[1:]

    y, tail = compiled(f)(torch.randn(3, 4, requires_grad=with_grad))
    assert tail._is_view()
    with torch.no_grad():
        y.zero_()
    assert tail.abs().max() == 0
    if with_grad:
        assert_wrapped("alias_of_intermediate")
    else:
        assert_direct()


def test_an_input_returned_as_it_is_keeps_the_wrappers():
    x = torch.randn(3)
    same, _ = compiled(lambda x: (x, x + 1))(x)
    assert same is x


def test_an_input_with_gradient_that_is_mutated_keeps_the_wrappers():
    def f(x):
        x.mul_(2)
        return x.sin().sum()

    a = leaf(4)
    b = a.detach().clone().requires_grad_()
    got, want = compiled(f)(a * 1), f(b * 1)
    got.backward()
    want.backward()
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(a.grad, b.grad)
    assert_wrapped("mutated outside of the graph")


def test_symbolic_sizes_are_called_directly():
    """Sizes that the backward needs are saved; views that the forward makes can be written to."""

    def several(x):
        y = x.tanh() * x.shape[0]
        return y, y[1:].t(), x.shape[0] * 2

    f = compiled(several, dynamic=True)
    for rows in (3, 5, 4):
        x = leaf(rows, 2)
        y, part, number = f(x)
        part.add_(1)  # both share memory
        torch.testing.assert_close(y[1:].t(), part)
        assert number == 2 * rows
        y.sum().backward()
        torch.testing.assert_close(x.grad, rows * (1 - x.detach().tanh() ** 2))
    f = compiled(lambda x: (x.tanh() * x.shape[0]).sum(0).view(2, -1).expand(3, 2, 1), dynamic=True)
    for rows in (3, 5, 4):
        x = leaf(rows, 2)
        f(x).sum().backward()
        torch.testing.assert_close(x.grad, 3 * rows * (1 - x.detach().tanh() ** 2))
    assert call_paths()[-1] == "direct"


def test_a_size_that_changes_becomes_symbolic_and_stays_right():
    f = compiled(lambda x: (x * x).sum(1))
    for rows in (3, 5, 6):
        x = leaf(rows, 2)
        f(x).sum().backward()
        torch.testing.assert_close(x.grad, 2 * x.detach())


def test_a_graph_that_runs_in_pytorch_keeps_the_wrappers(monkeypatch):
    def refuse(*_):
        raise GraphRejected("a test")

    monkeypatch.setattr(importer.Importer, "run", refuse)
    x = torch.randn(211, dtype=torch.float64, requires_grad=True)
    compiled(lambda x: torch.view_as_real(torch.fft.fft(x)).square().sum())(x).backward()
    torch.testing.assert_close(x.grad, 422 * x.detach())
    assert_wrapped("runs in PyTorch")


def test_complex_values_in_pytorch_s_steps_need_no_wrappers():
    # A prime number of elements: no transform of ours.
    x = torch.randn(211, dtype=torch.float64, requires_grad=True)
    compiled(lambda x: torch.view_as_real(torch.fft.fft(x)).square().sum())(x).backward()
    torch.testing.assert_close(x.grad, 422 * x.detach())
    assert_direct()


def test_a_detached_result_beside_a_view_of_the_same_memory_needs_no_gradient():
    def f(x):
        y = torch.exp(x)
        return y[:3], y.detach()

    for with_grad in (False, True):
        got = compiled(f)(torch.zeros(4, requires_grad=with_grad))
        want = f(torch.zeros(4, requires_grad=with_grad))
        assert [g.requires_grad for g in got] == [w.requires_grad for w in want]
        assert got[0].untyped_storage()._cdata == got[1].untyped_storage()._cdata
        torch._dynamo.reset()


def test_a_pytorch_whose_metadata_is_new_keeps_the_wrappers(monkeypatch):
    known = {name: set(fields) for name, fields in compat._KNOWN.items()}
    known["ViewAndMutationMeta"].remove("tokens")
    monkeypatch.setattr(compat, "_KNOWN", known)
    x = torch.randn(3, requires_grad=True)
    out = compiled(polynomial)(x)
    torch.testing.assert_close(out, polynomial(x))
    assert_wrapped("metadata that is new to us (tokens)")


def test_the_report_says_why_a_graph_keeps_the_wrappers():
    compiled(lambda x: (x.t(), x * 2))(torch.randn(3, 4))
    text = str(coregrad.torch.report())
    assert "called through AOTAutograd: an output is an alias (alias_of_input)" in text
    assert '"call_path"' in coregrad.torch.report().to_json()


def test_a_report_can_still_draw_a_graph_that_is_called_directly():
    f = compiled(lambda x: x * 2 + 1)
    f(torch.randn(3))
    assert "digraph" in coregrad.torch.report().graphs[0].to_dot()


# Inference


def test_results_under_inference_mode_are_inference_tensors():
    f = compiled(polynomial)
    with torch.inference_mode():
        out = f(torch.randn(3))
    assert out.is_inference()
    assert f(torch.randn(3)).is_inference() is False


def test_no_gradients_are_recorded_under_no_grad():
    f = compiled(polynomial)
    x = leaf(3)
    with torch.no_grad():
        assert not f(x).requires_grad
    assert f(x).requires_grad
    assert_direct()


def test_mutated_buffers_bump_their_versions_without_gradients():
    model = nn.BatchNorm1d(4)
    f = compiled(model)
    before = model.running_mean._version
    with torch.no_grad():
        for calls in (1, 2, 3):
            f(torch.randn(8, 4))
            assert model.num_batches_tracked.item() == calls
            assert model.running_mean._version == before + calls
    assert_direct()


def test_a_mutated_input_bumps_its_version_and_stale_saved_tensors_are_found():
    x, w = torch.randn(4), leaf(4)
    product = (x * w).sum()  # saves x
    compiled(lambda x: x.add_(1) * 2)(x)
    assert_direct()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_a_mutated_inference_tensor_has_no_version_to_bump():
    with torch.inference_mode():
        x = torch.zeros(3)
        compiled(lambda x: x.add_(1) * 2)(x)
    assert x.sum() == 3


def test_dropout_reads_the_default_generator_at_each_call():
    f = compiled(lambda x: F.dropout(x, 0.5))
    x = torch.ones(200)
    torch.manual_seed(3)
    first, second = f(x), f(x)
    torch.manual_seed(3)
    assert torch.equal(first, f(x))
    assert not torch.equal(first, second)
    assert_direct()


def test_constant_tensors_of_the_graph_are_read():
    table = torch.tensor([2.0, 3.0, 4.0])
    f = compiled(lambda x: x * torch.tensor([2.0, 3.0, 4.0]) + table)
    torch.testing.assert_close(f(torch.ones(3)), table * 2)


def test_errors_of_a_direct_call_are_typed():
    with pytest.raises(IndexError):
        compiled(lambda w, i: F.embedding(i, w))(torch.randn(4, 2), torch.tensor([1, 9]))
    assert_direct()


def test_an_error_inside_a_fallback_of_a_direct_call_reaches_the_caller():
    @torch.library.custom_op("coregrad_call_path::fail", mutates_args=())
    def fail(x: torch.Tensor) -> torch.Tensor:
        raise LookupError("on purpose")

    fail.register_fake(torch.empty_like)
    with pytest.raises(LookupError, match="on purpose"):
        compiled(lambda x: fail(x * 2) + 1)(torch.randn(3))
    assert_direct()


def test_a_fallback_is_not_cast_a_second_time_by_autocast():
    f = compiled(lambda x: torch.linalg.vector_norm(torch.special.airy_ai(x), 3.0))
    x = torch.randn(5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(f(x), torch.linalg.vector_norm(torch.special.airy_ai(x), 3.0))


def test_a_part_of_a_complex_tensor_that_is_still_to_be_negated_is_read_negated():
    f = compiled(lambda x: x * 2)
    x = leaf(3)
    out = f(x)
    pair = torch.complex(torch.randn(3), torch.randn(3))
    negated = pair.conj().imag
    assert negated.is_neg()
    out.backward(negated)
    torch.testing.assert_close(x.grad, -2 * pair.imag)
    y = torch.randn((), requires_grad=True)
    compiled(lambda y: y * 3)(y).backward(pair[0].conj().imag)
    torch.testing.assert_close(y.grad, -3 * pair[0].imag)


# Gradients


def test_gradients_of_inputs_that_are_no_parameters_are_right():
    x, y = leaf(3, 4), leaf(4)
    z = torch.randn(3, 4)
    grads = torch.autograd.grad(compiled(lambda x, y, z: (x * y + z).tanh().sum())(x, y, z), (x, y))
    want = torch.autograd.grad((x * y + z).tanh().sum(), (x, y))
    for got, expected in zip(grads, want):
        torch.testing.assert_close(got, expected)
    assert_direct()


def test_gradients_accumulate_over_calls_and_over_backwards():
    x = leaf(4)
    f = compiled(polynomial)
    for _ in range(3):
        f(x).sum().backward()
    want = torch.autograd.grad(polynomial(x).sum(), x)[0]
    torch.testing.assert_close(x.grad, 3 * want)


def test_retain_graph_allows_many_backwards_and_without_it_the_second_is_refused():
    x = leaf(4)
    out = compiled(polynomial)(x).sum()
    for _ in range(3):
        out.backward(retain_graph=True)
    torch.testing.assert_close(x.grad, 3 * torch.autograd.grad(polynomial(x).sum(), x)[0])
    out.backward()
    with pytest.raises(RuntimeError, match="second time"):
        out.backward()


def test_create_graph_gives_gradients_but_a_second_derivative_is_refused_by_name():
    x = leaf(4)
    (grad,) = torch.autograd.grad(compiled(polynomial)(x).sum(), x, create_graph=True)
    torch.testing.assert_close(grad, torch.autograd.grad(polynomial(x).sum(), x)[0])
    assert grad.requires_grad
    with pytest.raises(RuntimeError, match="create_graph"):
        grad.sum().backward()


def test_a_second_derivative_is_refused_also_where_only_the_gradient_depends_on_the_input():
    with pytest.raises(RuntimeError, match="create_graph"):
        torch.autograd.functional.hessian(lambda t: compiled(polynomial)(t).sum(), torch.randn(3))


def test_an_input_modified_after_the_forward_is_found_in_the_backward():
    x = leaf(4)
    y = x * 1
    out = compiled(polynomial)(y)
    y.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_an_output_modified_after_the_forward_is_found_if_the_backward_reads_it():
    x = leaf(4)
    out = compiled(lambda x: x.tanh())(x)
    out.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


def test_an_output_can_be_modified_in_place_if_nobody_saved_it():
    x = leaf(4)
    out = compiled(lambda x: x * 3)(x)
    out.mul_(2)
    out.sum().backward()
    torch.testing.assert_close(x.grad, torch.full((4,), 6.0))


def test_an_output_that_is_also_a_saved_view_can_be_modified_after_a_clone():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh())
    twin = copy.deepcopy(model)
    x = torch.randn(2, 5, 4)
    out, want = compiled(model)(x), twin(x)
    (out.clone().mul_(2)).sum().backward()
    (want * 2).sum().backward()
    torch.testing.assert_close(model[0].weight.grad, twin[0].weight.grad)


@pytest.mark.parametrize("layout", ["expanded", "transposed", "sliced", "large and expanded"])
def test_incoming_gradients_of_any_layout_are_read_correctly(layout):
    shape = (300, 200) if layout.startswith("large") else (4, 6)
    x = leaf(*shape)
    gradient = {
        "expanded": lambda: torch.randn(4, 1).expand(4, 6),
        "transposed": lambda: torch.randn(6, 4).t(),
        "sliced": lambda: torch.randn(8, 12)[::2, ::2],
        "large and expanded": lambda: torch.randn(1, 1).expand(300, 200),
    }[layout]()
    compiled(polynomial)(x).backward(gradient)
    torch.testing.assert_close(x.grad, torch.autograd.grad(polynomial(x), x, gradient)[0])
    assert_direct()


def test_gradients_of_transposed_outputs_and_inputs_are_right():
    x = torch.randn(5, 3).t().requires_grad_()
    f = lambda x: (x * 2).t() @ x.sin()  # noqa: E731
    gradient = torch.randn(5, 5)
    compiled(f)(x).backward(gradient)
    torch.testing.assert_close(x.grad, torch.autograd.grad(f(x), x, gradient)[0])


def test_outputs_without_gradient_count_as_zero():
    x = leaf(4)
    first, second = compiled(lambda x: (x.sin(), x * x))(x)
    first.sum().backward()
    torch.testing.assert_close(x.grad, x.detach().cos())
    first, second = compiled(lambda x: (x.exp(), x * x))(x)
    (grad,) = torch.autograd.grad(second.sum(), x)
    torch.testing.assert_close(grad, 2 * x.detach())


def test_integer_and_detached_outputs_do_not_require_gradients():
    x = leaf(3, 4)
    value, index, detached = compiled(lambda x: (x.exp(), x.argmax(1), (x * 2).detach()))(x)
    assert value.requires_grad
    assert not index.requires_grad
    assert not detached.requires_grad
    value.sum().backward()
    torch.testing.assert_close(x.grad, x.detach().exp())
    assert_direct()


def test_inputs_that_need_no_gradient_get_none():
    x, y = leaf(3), torch.randn(3)
    compiled(lambda x, y: x * y)(x, y).sum().backward()
    assert y.grad is None
    torch.testing.assert_close(x.grad, y)


def test_autograd_does_not_go_on_to_what_made_an_input_that_is_detached_inside():
    x, y = leaf(3), leaf(3)
    visited = []
    made = y * 2
    made.register_hook(visited.append)
    compiled(lambda x, y: x * y.detach())(x, made).sum().backward()
    assert visited == []
    assert y.grad is None
    torch.testing.assert_close(x.grad, made.detach())


def test_detached_inputs_and_outputs_cut_the_graph():
    x = leaf(3)
    f = compiled(polynomial)
    f(f(x).detach().requires_grad_()).sum().backward()
    assert x.grad is None
    assert not f(x.detach()).requires_grad


def test_frozen_parameters_get_no_gradient():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].weight.requires_grad_(False)
    compiled(model)(torch.randn(2, 3)).sum().backward()
    assert model[0].weight.grad is None
    assert model[0].bias.grad is not None


def test_hooks_on_tensors_modules_and_nodes_are_called():
    calls = []
    model = nn.Linear(3, 2)
    model.weight.register_hook(lambda g: calls.append("weight") or g * 2)
    model.weight.register_post_accumulate_grad_hook(lambda p: calls.append("accumulated"))
    f = compiled(model)
    x = leaf(4, 3)
    out = f(x)
    out.grad_fn.register_hook(lambda *_: calls.append("node"))
    out.register_hook(lambda g: calls.append("output"))
    out.sum().backward()
    assert sorted(calls) == ["accumulated", "node", "output", "weight"]
    torch.testing.assert_close(model.weight.grad, 2 * x.detach().sum(0).expand(2, 3))


def test_module_hooks_are_called_around_a_compiled_module():
    calls = []
    outer = nn.Sequential(nn.Linear(3, 3))
    outer.register_full_backward_hook(lambda *_: calls.append("backward"))
    outer.register_forward_hook(lambda *_: calls.append("forward"))
    f = compiled(outer)
    f(leaf(2, 3)).sum().backward()
    assert calls == ["forward", "backward"]


def test_hooks_on_saved_tensors_see_what_is_saved():
    packed = []
    x = leaf(4)
    f = compiled(polynomial)
    f(x)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: packed.append(t.shape) or t.numpy(force=True), torch.from_numpy
    ):
        out = f(x)
    out.sum().backward()
    assert packed
    torch.testing.assert_close(x.grad, torch.autograd.grad(polynomial(x).sum(), x)[0])


def test_training_under_autocast_casts_in_the_graph_and_nowhere_else():
    model = nn.Linear(4, 4)
    f = compiled(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = f(torch.randn(2, 4))
        assert out.dtype == torch.bfloat16
        out.float().sum().backward()
    assert model.weight.grad.dtype == torch.float32


def test_checkpointing_around_a_compiled_function_gives_the_same_gradient():
    from torch.utils.checkpoint import checkpoint

    x = leaf(4)
    checkpoint(compiled(polynomial), x, use_reentrant=False).sum().backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(polynomial(x).sum(), x)[0])


def test_backward_inside_a_compiled_function_runs_after_a_graph_break():
    def step(x):
        loss = polynomial(x).sum()
        loss.backward()
        return loss * 2

    x = leaf(4)
    compiled(step)(x)
    torch.testing.assert_close(x.grad, torch.autograd.grad(polynomial(x).sum(), x)[0])


def test_a_fallback_in_the_backward_runs_under_no_dynamo_frame_and_is_right():
    def step(x):
        loss = torch.special.i1(x).sum()
        loss.backward()
        return loss

    x = leaf(4)
    compiled(step)(x)
    torch.testing.assert_close(x.grad, torch.autograd.grad(torch.special.i1(x).sum(), x)[0])


def test_compiled_autograd_around_the_backward_gives_the_same_gradient():
    x = leaf(4)
    out = compiled(polynomial)(x).sum()
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager")):
        out.backward()
    torch.testing.assert_close(x.grad, torch.autograd.grad(polynomial(x).sum(), x)[0])


def test_a_backward_compiled_without_determinism_is_refused_once_it_is_asked_for():
    x = leaf(4)
    out = compiled(polynomial)(x).sum()
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.raises(RuntimeError, match="deterministic"):
            out.backward()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_backward_that_is_never_called_is_never_compiled():
    x = leaf(4)
    out = compiled(polynomial)(x)
    assert [g.name.split()[-1] for g in coregrad.torch.report().graphs] == ["forward"]
    out.sum().backward()
    assert [g.name.split()[-1] for g in coregrad.torch.report().graphs] == ["forward", "backward"]


def test_saved_tensors_are_freed_after_the_backward():
    x = leaf(1 << 20)
    out = compiled(lambda x: x.sin().exp().sin())(x)
    node = out.grad_fn
    out.sum().backward()
    with pytest.raises(RuntimeError, match="already been freed"):
        node.saved_tensors  # noqa: B018


# Functorch


@pytest.mark.parametrize(
    "transform",
    [
        lambda f, x: torch.func.grad(lambda t: f(t).sum())(x),
        lambda f, x: torch.func.vmap(f)(x),
        lambda f, x: torch.func.jvp(f, (x,), (torch.ones_like(x),))[1],
        lambda f, x: torch.func.jacrev(f)(x),
    ],
    ids=["grad", "vmap", "jvp", "jacrev"],
)
def test_transforms_around_a_compiled_function_equal_those_around_the_plain_one(transform):
    x = torch.randn(3, 2)
    f = compiled(polynomial)
    f(x)
    f(x.clone().requires_grad_())
    torch.testing.assert_close(transform(f, x), transform(polynomial, x))


def test_transforms_inside_a_compiled_function_are_compiled():
    x = torch.randn(3, 2)
    gradient = torch.func.grad(lambda t: polynomial(t).sum())
    torch.testing.assert_close(compiled(gradient)(x), gradient(x))


def test_a_tensor_that_outlived_its_transform_is_taken_for_what_it_wraps():
    kept = []
    torch.func.grad(lambda t: (kept.append(t * 1), t.sum())[1])(torch.arange(3.0))
    torch.testing.assert_close(compiled(polynomial)(kept[0]), polynomial(torch.arange(3.0)))


def test_batched_gradients_are_refused():
    x = leaf(4)
    out = compiled(polynomial)(x)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(out, x, torch.eye(4), is_grads_batched=True)


# Around the call


def test_threads_call_one_compiled_function_at_once():
    f = compiled(lambda x, w: (x @ w).tanh())
    w = torch.randn(16, 16)
    f(torch.randn(8, 16, requires_grad=True), w).sum().backward()
    failures = []

    def work(seed):
        generator = torch.Generator().manual_seed(seed)
        for _ in range(20):
            x = torch.randn(8, 16, generator=generator).requires_grad_()
            f(x, w).sum().backward()
            want = torch.autograd.grad((x @ w).tanh().sum(), x)[0]
            if not torch.allclose(x.grad, want, atol=1e-5):
                failures.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []


def test_a_compiled_model_can_be_copied_saved_and_loaded():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    f = compiled(model)
    x = torch.randn(5, 3)
    want = f(x)
    want.sum().backward()
    twin = copy.deepcopy(f)
    torch.testing.assert_close(twin(x), want)
    file = io.BytesIO()
    torch.save(f.state_dict(), file)
    file.seek(0)
    other = compiled(copy.deepcopy(model))
    other.load_state_dict(torch.load(file))
    torch.testing.assert_close(other(x), want)
    torch.testing.assert_close(pickle.loads(pickle.dumps(model))(x), want)


def test_a_training_loop_follows_eager():
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    twin = copy.deepcopy(model)
    f = compiled(model)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9) for m in (model, twin)]
    for _ in range(5):
        x, y = torch.randn(16, 4), torch.randint(0, 3, (16,))
        for call, optimizer in zip((f, twin), optimizers):
            optimizer.zero_grad()
            F.cross_entropy(call(x), y).backward()
            optimizer.step()
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values()):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert_direct()


def test_subclasses_of_tensor_come_out_as_in_eager():
    class Marked(torch.Tensor):
        pass

    x = torch.randn(3).as_subclass(Marked)
    out = compiled(lambda x: x * 2)(x)
    assert type(out) is type(x * 2)
    torch.testing.assert_close(out.as_subclass(torch.Tensor), x.as_subclass(torch.Tensor) * 2)


def test_an_entry_names_the_arguments_it_misses():
    make = coregrad._core.EntryTemplate
    program_free = make(None, 2, [], None, [("input", 1), ("fixed", 7)]).bind()
    x, y = torch.ones(1), torch.zeros(1)
    assert program_free(x, y) == (y, 7)
    with pytest.raises(coregrad.CoreGradError, match="takes 2 inputs, got 1"):
        program_free(x)
    with pytest.raises(ValueError, match="result 2 of 2"):
        make(None, 2, [], None, [("input", 2)])
