"""Programs of torch.export through coregrad.torch.compile_exported, against the module in eager."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import coregrad.torch
from coregrad.torch import compile_exported


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    coregrad.torch.reset()
    torch.manual_seed(0)


def assert_native():
    graphs = coregrad.torch.report().graphs
    assert graphs
    for graph in graphs:
        assert graph.rejected is None, graph.to_text()
        assert not graph.fallbacks, graph.to_text()


def as_module(f):
    class Module(nn.Module):
        def forward(self, *args, **kwargs):
            return f(*args, **kwargs)

    return Module()


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        return self.norm(x + self.mix(x, x, x, need_weights=False)[0])


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3)), (4, 8)),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten()
        ),
        (2, 3, 9, 9),
    ),
    "attention": (Attention, (2, 5, 16)),
    "lstm": (lambda: nn.LSTM(8, 6, num_layers=2, batch_first=True), (3, 5, 8)),
    "gru": (lambda: nn.GRU(8, 6, bidirectional=True), (3, 5, 8)),
}


@pytest.mark.parametrize("name", MODELS)
def test_an_exported_model_gives_what_eager_gives(name):
    make, shape = MODELS[name]
    model, x = make().eval(), torch.randn(shape)
    call = compile_exported(torch.export.export(model, (x,)))
    for _ in range(2):
        x = torch.randn(shape)
        torch.testing.assert_close(call(x), model(x))
    assert_native()


def test_parameters_are_read_at_each_call():
    model, x = nn.Linear(3, 2), torch.randn(4, 3)
    program = torch.export.export(model, (x,))
    call = compile_exported(program)
    call(x)
    with torch.no_grad():
        for p in program.parameters():
            p.mul_(3)
    with torch.no_grad():
        torch.testing.assert_close(call(x), program.module()(x))


def test_buffers_of_the_program_follow_the_calls():
    model, twin = nn.BatchNorm1d(4), nn.BatchNorm1d(4)
    x = torch.randn(6, 4)
    program = torch.export.export(model, (x,))
    call = compile_exported(program)
    for _ in range(3):
        x = torch.randn(6, 4)
        torch.testing.assert_close(call(x), twin(x))
    for name, buffer in twin.named_buffers():
        torch.testing.assert_close(program.state_dict[name], buffer)
    assert_native()


def test_an_input_that_the_module_writes_to_is_written_to():
    f = as_module(lambda x, y: x.add_(y).sum())
    x, y = torch.randn(3, 4), torch.randn(3, 4)
    call = compile_exported(torch.export.export(f, (x.clone(), y)))
    twin = x.clone()
    torch.testing.assert_close(call(x, y), f(twin, y))
    torch.testing.assert_close(x, twin)


def test_nested_inputs_keywords_and_outputs_keep_their_structure():
    f = as_module(
        lambda x, pair, *, scale: {"sum": x + pair[0], "rest": (pair[1] * scale, 7, None)}
    )
    args, kwargs = (torch.randn(3), (torch.randn(3), torch.randn(2))), {"scale": torch.tensor(2.0)}
    call = compile_exported(torch.export.export(f, args, kwargs))
    got, want = call(*args, **kwargs), f(*args, **kwargs)
    assert got.keys() == want.keys()
    torch.testing.assert_close(got["sum"], want["sum"])
    torch.testing.assert_close(got["rest"][0], want["rest"][0])
    assert got["rest"][1:] == (7, None)
    with pytest.raises(ValueError, match="keyword mismatch"):
        call(*args, scale=kwargs["scale"], other=1)


def test_constants_and_repeated_outputs_are_right():
    table = torch.arange(6.0).view(2, 3)
    f = as_module(lambda x: (x @ table, x @ table, x, x.t()))
    x = torch.randn(4, 2)
    got = compile_exported(torch.export.export(f, (x,)))(x)
    for g, w in zip(got, f(x), strict=True):
        torch.testing.assert_close(g, w)


def test_dynamic_dimensions_take_every_size_within_their_range():
    model = Attention().eval()
    batch, length = torch.export.Dim("batch", min=1, max=9), torch.export.Dim("length", max=64)
    shapes = {"x": {0: batch, 1: length}}
    program = torch.export.export(model, (torch.randn(2, 5, 16),), dynamic_shapes=shapes)
    call = compile_exported(program)
    for size in ((3, 7), (1, 4), (9, 2), (3, 7), (5, 33)):
        x = torch.randn(*size, 16)
        torch.testing.assert_close(call(x), model(x))
    assert len(coregrad.torch.report().graphs) == 2  # a batch of one is compiled for itself
    with pytest.raises(RuntimeError, match="to be <= 9, but got 10"):
        call(torch.randn(10, 3, 16))


def test_an_input_of_another_static_shape_is_refused():
    call = compile_exported(torch.export.export(nn.Linear(3, 2), (torch.randn(4, 3),)))
    with pytest.raises(RuntimeError, match="to be equal to 4, but got 5"):
        call(torch.randn(5, 3))


def test_results_carry_no_gradient_and_inputs_that_ask_for_one_are_refused():
    x = torch.randn(4, 3, requires_grad=True)
    call = compile_exported(torch.export.export(nn.Linear(3, 2), (x.detach(),)))
    assert not call(x.detach()).requires_grad
    with pytest.raises(RuntimeError, match="is for inference"):
        call(x)
    with torch.no_grad():
        call(x)


def test_an_exported_module_trains_through_torch_compile():
    model, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.randn(5, 3)
    module = torch.export.export(model, (x,)).module()
    torch.compile(module, backend="coregrad")(x).sum().backward()
    model(x).sum().backward()
    for got, want in zip(module.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(got.grad, want.grad)


def test_an_operator_without_lowering_runs_in_pytorch_or_is_refused():
    f = as_module(lambda x: torch.special.airy_ai(x) + 1)
    program = torch.export.export(f, (torch.randn(3),))
    x = torch.randn(3)
    torch.testing.assert_close(compile_exported(program)(x), f(x))
    with pytest.raises(coregrad.UnsupportedError, match="airy_ai"):
        compile_exported(program, options={"fallback": "error"})


def test_a_program_that_was_saved_and_loaded_gives_the_same(tmp_path):
    model, x = nn.Sequential(nn.Linear(3, 4), nn.SiLU()), torch.randn(2, 3)
    program = torch.export.export(model, (x,))
    torch.export.save(program, tmp_path / "model.pt2")
    with torch.no_grad():
        loaded = compile_exported(torch.export.load(tmp_path / "model.pt2"))
        assert torch.equal(loaded(x), compile_exported(program)(x))


def test_random_numbers_follow_the_seed():
    f = as_module(lambda x: F.dropout(x, 0.5, training=True))
    x = torch.ones(100, 8)
    call = compile_exported(torch.export.export(f, (x,)))
    torch.manual_seed(3)
    first = call(x)
    torch.manual_seed(3)
    assert torch.equal(call(x), first)
    assert not torch.equal(call(x), first)


def test_something_else_is_refused_by_type():
    with pytest.raises(TypeError, match="ExportedProgram, got Linear"):
        compile_exported(nn.Linear(2, 2))
