"""LSTM, GRU and RNN through torch.compile: outputs, states and gradients against eager in float64."""

import contextlib
import copy

import pytest
import torch
from torch import nn

import coregrad.torch

pytestmark = pytest.mark.usefixtures("fresh_torch")

SLACK = 2e-5


def compiled(f, **kwargs):
    return torch.compile(f, backend="coregrad", fullgraph=True, **kwargs)


def assert_all_native():
    for graph in coregrad.torch.report().graphs:
        assert graph.rejected is None, graph.to_text()
        assert not graph.fallbacks, graph.to_text()


def leaves(value):
    return torch.utils._pytree.tree_leaves(value)


def outcome(model, call, inputs, weights):
    """Outputs, then gradients of inputs and parameters for a weighted sum of the outputs."""
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    model.zero_grad(set_to_none=True)
    outputs = leaves(call(*inputs))
    sum((o * w).sum() for o, w in zip(outputs, weights)).backward()
    gradients = [x.grad for x in inputs] + [p.grad for p in model.parameters()]
    return [o.detach() for o in outputs] + gradients


def assert_close(got, eager, exact):
    assert len(got) == len(eager) == len(exact)
    for g, e, x in zip(got, eager, exact):
        assert (g is None) == (e is None)
        if g is None:
            continue
        assert g.shape == e.shape
        assert g.dtype == e.dtype
        limit = 2 * (e.double() - x).abs().max().item() + SLACK * max(x.abs().max().item(), 1e-3)
        assert (g.double() - x).abs().max().item() <= limit


def check(model, call, inputs):
    exact_model = copy.deepcopy(model).double()
    doubled = [x.double() for x in inputs]
    with torch.no_grad():
        weights = [torch.randn_like(o) for o in leaves(exact_model(*doubled))]
    exact = outcome(exact_model, exact_model, doubled, weights)
    single = [w.float() for w in weights]
    eager = outcome(model, model, inputs, single)
    assert_close(outcome(model, call, inputs, single), eager, exact)
    with torch.no_grad():
        count = len(weights)
        assert_close(leaves(call(*inputs)), eager[:count], exact[:count])


CASES = {
    "lstm": lambda: nn.LSTM(5, 6),
    "lstm with layers, both directions, batch first": lambda: nn.LSTM(
        5, 6, num_layers=2, bidirectional=True, batch_first=True
    ),
    "lstm without biases": lambda: nn.LSTM(5, 6, bias=False),
    "lstm with projections": lambda: nn.LSTM(5, 6, num_layers=2, proj_size=3, bidirectional=True),
    "lstm with projections without biases": lambda: nn.LSTM(5, 6, proj_size=3, bias=False),
    "gru": lambda: nn.GRU(5, 6),
    "gru with layers, both directions, batch first": lambda: nn.GRU(
        5, 6, num_layers=2, bidirectional=True, batch_first=True
    ),
    "gru without biases": lambda: nn.GRU(5, 6, bias=False),
    "rnn with tanh, layers and both directions": lambda: nn.RNN(
        5, 6, num_layers=2, bidirectional=True
    ),
    "rnn with relu": lambda: nn.RNN(5, 6, nonlinearity="relu"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_recurrent_layer_trains_and_infers_as_exactly_as_eager(name):
    model = CASES[name]()
    check(model, compiled(model), [torch.randn(4, 3, 5)])
    assert_all_native()


@pytest.mark.parametrize("name", CASES)
def test_given_initial_states_are_used_and_get_gradients(name):
    model = CASES[name]()
    x = torch.randn(4, 3, 5)
    outputs = leaves(model(x))
    states = [torch.randn_like(s) for s in outputs[1:]]

    class WithStates(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x, *states):
            return self.net(x, tuple(states) if len(states) == 2 else states[0])

    module = WithStates()
    check(module, compiled(module), [x, *states])
    assert_all_native()


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_loop_over_a_cell_trains_as_exactly_as_eager(cell):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = cell(5, 6)

        def forward(self, x):
            state, outputs = None, []
            for step in x.unbind(0):
                state = self.cell(step, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
            return torch.stack(outputs), state

    model = Loop()
    check(model, compiled(model), [torch.randn(4, 3, 5)])
    assert_all_native()


@pytest.mark.parametrize("shape", [(4, 5), (1, 3, 5), (4, 1, 5), (2, 0, 5)])
def test_sequences_without_batch_and_of_small_sizes_are_right(shape):
    for model in (nn.LSTM(5, 6, 2), nn.GRU(5, 6, bidirectional=True), nn.RNN(5, 6)):
        x = torch.randn(shape)
        for got, expected in zip(leaves(compiled(model)(x)), leaves(model(x)), strict=True):
            torch.testing.assert_close(got, expected)


def test_an_empty_sequence_is_refused_as_in_eager():
    model = nn.GRU(5, 6)
    for call in (model, compiled(model), torch.compile(model, backend="coregrad")):
        with pytest.raises(
            Exception, match=r"sequence length to be larger than 0|at least one tensor"
        ):
            call(torch.randn(0, 3, 5))


def test_only_the_last_state_may_be_used():
    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.head = nn.LSTM(5, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.net(x)[1][0][-1])

    model = Classifier()
    check(model, compiled(model), [torch.randn(3, 4, 5)])
    assert_all_native()


def test_dropout_between_layers_is_drawn_in_training_and_absent_in_evaluation():
    model = nn.LSTM(5, 64, num_layers=2, dropout=0.5)
    x = torch.randn(4, 3, 5)
    call = compiled(model)
    torch.manual_seed(3)
    first = call(x)[0]
    torch.manual_seed(3)
    assert torch.equal(call(x)[0], first)
    assert not torch.equal(call(x)[0], first)
    model.eval()
    torch.testing.assert_close(call(x)[0], model(x)[0])
    # With a rate of one nothing of the first layer is left, and with none nothing is missing.
    model.train()
    for rate in (0.0, 1.0):
        model.dropout = rate
        torch.testing.assert_close(call(x)[0], model(x)[0])


def test_other_backends_still_break_the_graph_at_a_recurrent_module():
    model = nn.LSTM(5, 6)
    compiled(model)(torch.randn(4, 3, 5))
    torch._dynamo.reset()
    with pytest.raises(torch._dynamo.exc.Unsupported, match="RNN, GRU, or LSTM"):
        torch.compile(model, backend="eager", fullgraph=True)(torch.randn(4, 3, 5))
    assert not torch._dynamo.config.allow_rnn


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_packed_sequences_run_in_eager(make):
    model = make(5, 6, bidirectional=True)
    lengths = torch.tensor([4, 2, 1])
    packed = nn.utils.rnn.pack_padded_sequence(torch.randn(4, 3, 5), lengths)
    call = torch.compile(model, backend="coregrad")
    for got, expected in zip(leaves(call(packed)), leaves(model(packed)), strict=True):
        assert torch.equal(got, expected) if isinstance(got, torch.Tensor) else got == expected
    call(packed)[0].data.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_a_recurrent_layer_under_autocast_gives_what_eager_gives():
    model = nn.LSTM(5, 6)
    x = torch.randn(4, 3, 5)
    expected = model(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = compiled(model)(x)[0]
        # oneDNN has no LSTM of bfloat16 for some processors: as near to float32's then.
        with contextlib.suppress(RuntimeError):
            expected = model(x)[0]
    torch.testing.assert_close(got.float(), expected.float(), atol=2e-2, rtol=2e-2)
    got.float().sum().backward()


def test_a_longer_sequence_compiles_anew_and_is_right():
    model = nn.GRU(5, 6)
    call = compiled(model)
    for steps in (3, 7, 5, 1, 2):
        x = torch.randn(steps, 3, 5)
        torch.testing.assert_close(call(x)[0], model(x)[0])


def test_dynamic_lengths_and_batches_are_right():
    model = nn.LSTM(5, 6, 2)
    call = compiled(model, dynamic=True)
    for steps, batch in ((3, 4), (7, 2), (2, 5)):
        check(model, call, [torch.randn(steps, batch, 5)])


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_one_compilation_serves_every_length(layer):
    model = layer(5, 6, bidirectional=True)
    call = compiled(model, dynamic=True)
    check(model, call, [torch.randn(9, 4, 5)])
    count = len(coregrad.torch.report().graphs)
    for steps, batch in ((4, 3), (31, 2), (17, 8), (100, 4)):
        check(model, call, [torch.randn(steps, batch, 5)])
    assert len(coregrad.torch.report().graphs) == count
    assert_all_native()


def test_equal_time_steps_share_their_machine_code():
    model = nn.LSTM(8, 16)
    out, _ = compiled(model)(torch.randn(24, 4, 8))
    out.sum().backward()
    for graph in coregrad.torch.report().graphs:
        assert graph.plan["kernels"] - graph.plan["kernel_cache_hits"] <= 20, graph.to_text()


def test_saved_views_of_equal_constants_that_were_merged_are_right():
    # AOTAutograd merges the two zeros; the second one's views have a storage without an owner.
    def f(x, w):
        a, b = torch.zeros(2, 3, 6), torch.zeros(2, 3, 6)
        return (x * w * (a[0] + b[0])).sum() + (x * w * (a[1] + b[1] + 1)).sum()

    x, w = torch.randn(3, 6), torch.randn(3, 6, requires_grad=True)
    compiled(f)(x, w).backward()
    torch.testing.assert_close(w.grad, x)
