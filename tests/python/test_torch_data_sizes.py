"""Sizes that depend on data: `nonzero`, masks, `unique`, `item()` and what follows from them."""

import pytest
import torch
import torch.nn.functional as F

import coregrad.torch

pytestmark = pytest.mark.usefixtures("fresh_torch")

SIZES = (5, 9, 2, 1, 17, 33)


@pytest.fixture(autouse=True)
def whole_graphs():
    """Dynamo breaks its graphs at such operators unless it is told not to."""
    with torch._dynamo.config.patch(
        capture_dynamic_output_shape_ops=True, capture_scalar_outputs=True
    ):
        yield


def compiled(f, **kwargs):
    return torch.compile(f, backend="coregrad", fullgraph=True, **kwargs)


def graphs():
    return coregrad.torch.report().graphs


def clones(args):
    return [x.detach().clone().requires_grad_(x.requires_grad) for x in args]


def learnt(*shape):
    return torch.randn(shape, requires_grad=True)


def check(f, call, args):
    """Values, gradients and what is written to arguments, against eager."""
    twins = clones(args)
    torch.manual_seed(1)
    want = f(*args)
    torch.manual_seed(1)
    got = call(*twins)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(twins, args)
    outputs = [
        [t for t in (r if isinstance(r, tuple) else (r,)) if getattr(t, "requires_grad", False)]
        for r in (got, want)
    ]
    assert len(outputs[0]) == len(outputs[1])
    if outputs[1]:
        for tensors in outputs:
            sum((t * torch.arange(t.numel()).view(t.shape)).sum() for t in tensors).backward()
        for x, twin in zip(args, twins, strict=True):
            torch.testing.assert_close(twin.grad, x.grad)


def normalised_neighbours(x, edges):
    """What a graph convolution computes: edges without loops, loops of its own, degrees."""
    edges = edges[:, edges[0] != edges[1]]
    loops = torch.arange(x.shape[0])
    edges = torch.cat([edges, torch.stack([loops, loops])], 1)
    degrees = torch.zeros(x.shape[0]).scatter_add(0, edges[1], torch.ones(edges.shape[1]))
    weights = degrees[edges[0]].rsqrt() * degrees[edges[1]].rsqrt()
    return torch.zeros_like(x).index_add(0, edges[1], x[edges[0]] * weights[:, None])


def two_masks(x):
    y = x[x > 0]
    z = y[y < 1.0]
    return z * z, y.sum()


def masked_write(x):
    y = x.clone()
    y[x > 0] = x[x > 0] * 3
    return y


def split_by_data(x, n):
    a, b, c = torch.split(x, n.tolist())
    return a.sum() + b.exp().sum() - c.sum()


def first_rows(x, n):
    k = n.sum().item()
    torch._check(k >= 0)
    torch._check(k <= x.shape[0])
    return x[:k].sum(0)


def written_input(x):
    where = x.nonzero()
    x.add_(1)
    return where, x * 2


def views(x):
    where = x.nonzero()
    return where[:, 0], x.view(-1), where


def unique(x):
    values, inverse = torch.unique(x, return_inverse=True)
    return values * 2, inverse + 1


def boxes(scores, corners):
    """Detection: candidates above a threshold, by falling score."""
    keep = (scores > 0.5).nonzero().squeeze(1)
    order = scores[keep].argsort(descending=True)
    return scores[keep][order], corners[keep][order] * 2


#: name -> (function, what it is called with for a size)
CASES = {
    "a mask": (lambda x, w: (x[x > 0] * 2 + 1).sum() * w, lambda n: [learnt(n, 7), learnt()]),
    "a mask of columns": (lambda x: x[:, x[0] > 0] * 2, lambda n: [learnt(3, n)]),
    "a mask of rows": (lambda x: x[x[:, 0] > 0].softmax(-1), lambda n: [learnt(n, 3)]),
    "two masks": (two_masks, lambda n: [learnt(n, 9)]),
    "masked_select": (
        lambda x: torch.masked_select(x, x > 0).sin() * 2,
        lambda n: [torch.randn(n, 3)],
    ),
    "a mask with nothing in it": (lambda x: x[x > 9].exp().sum() + x, lambda n: [learnt(n)]),
    "a masked write": (masked_write, lambda n: [learnt(3, n)]),
    "nonzero": (
        lambda x: x[x.nonzero()[:, 0], x.nonzero()[:, 1]].exp(),
        lambda n: [torch.randn(n, 7).relu()],
    ),
    "argwhere": (lambda x: torch.argwhere(x > 0) * 2, lambda n: [torch.randn(n, 3)]),
    "unique": (unique, lambda n: [torch.randint(0, n, (30,))]),
    "unique_consecutive": (
        lambda x: torch.unique_consecutive(x, return_counts=True),
        lambda n: [torch.randint(0, 3, (n,))],
    ),
    "repeat_interleave": (
        lambda x, r: torch.repeat_interleave(x, r, dim=0) * 2,
        lambda n: [learnt(n, 3), torch.arange(n) % 4],
    ),
    "split by data": (split_by_data, lambda n: [learnt(n + 5, 3), torch.tensor([2, n, 3])]),
    "item as a size": (
        lambda x, n: torch.zeros(n.max().item(), x.shape[0]) + x,
        lambda n: [learnt(n + 1), torch.tensor([1, n])],
    ),
    "item as a length": (first_rows, lambda n: [learnt(n + 2, 4), torch.tensor(n)]),
    "item of arange": (lambda n: torch.arange(n.item()) * 2, lambda n: [torch.tensor(n)]),
    "item as a float": (
        lambda x, y: x * y.sum().item() + 1,
        lambda n: [learnt(n), torch.randn(3)],
    ),
    "item that is returned": (
        lambda x: (x + 1, x.sum().item()),
        lambda n: [torch.arange(n) / 2],
    ),
    "an integer that is returned": (
        lambda x: (x + 1, x.long().sum().item()),
        lambda n: [10 * torch.randn(n)],
    ),
    "a truth that is returned": (
        lambda x: (x + 1, (x.sum() > 0).item()),
        lambda n: [torch.randn(n)],
    ),
    "full of an item": (
        lambda x: torch.full((4,), x.sum().item()) + x.sum(),
        lambda n: [torch.randn(n)],
    ),
    "an input that is written": (written_input, lambda n: [torch.randn(n).relu()]),
    "views as outputs": (views, lambda n: [torch.randn(n, 4).relu()]),
    "dropout of a mask": (
        lambda x: F.dropout(x[x > 0], 0.0).sum() + x.sum(),
        lambda n: [learnt(n, 6)],
    ),
    "a graph convolution": (
        normalised_neighbours,
        lambda n: [learnt(n, 8), torch.randint(0, n, (2, 3 * n))],
    ),
    "boxes": (boxes, lambda n: [torch.rand(n), torch.randn(n, 4)]),
}


@pytest.mark.parametrize("dynamic", [True, None], ids=["dynamic", "by itself"])
@pytest.mark.parametrize("name", CASES)
def test_what_follows_from_data_is_right_for_every_size(name, dynamic):
    f, make = CASES[name]
    call = compiled(f, dynamic=dynamic)
    for n in SIZES:
        torch.manual_seed(n)
        check(f, call, make(n))
    for graph in graphs():
        assert graph.rejected is None, graph.to_text()


def test_one_compilation_serves_whatever_the_data_tell():
    call = compiled(lambda x: (x[x > 0] * 2).sum(), dynamic=True)
    call(torch.arange(-3.0, 4.0))
    count = len(graphs())
    for n in (20, 31, 47):
        x = torch.arange(-3.0, n)
        assert call(x) == x[x > 0].sum() * 2
    assert len(graphs()) == count


def test_what_is_said_about_a_size_is_checked_at_every_call():
    call = compiled(first_rows, dynamic=True)
    x = torch.randn(6, 4)
    torch.testing.assert_close(call(x, torch.tensor(3)), x[:3].sum(0))
    for bad in (7, -1):
        with pytest.raises(RuntimeError, match="assert"):
            call(x, torch.tensor(bad))
    torch.testing.assert_close(call(x, torch.tensor(6)), x.sum(0))


def test_parts_that_do_not_add_up_are_refused():
    call = compiled(split_by_data, dynamic=True)
    call(torch.randn(10, 3), torch.tensor([2, 5, 3]))
    with pytest.raises(RuntimeError):
        call(torch.randn(10, 3), torch.tensor([2, 5, 4]))


def test_equal_masks_of_two_layers_are_found_once():
    def f(x, edges):
        return normalised_neighbours(normalised_neighbours(x, edges).relu(), edges)

    call = compiled(f, dynamic=True)
    for n in (6, 11):
        check(f, call, [learnt(n, 8), torch.randint(0, n, (2, 3 * n))])
    found = [g.fallbacks for g in graphs() if g.fallbacks]
    assert all(list(f) == ["aten.nonzero.default"] for f in found)
    assert all(len(f["aten.nonzero.default"]) == 1 for f in found)


def test_a_size_that_is_told_to_be_unknown_serves_every_value():
    f = lambda x, y: torch.cat([x * 2, y]).sum(0)  # noqa: E731
    call = compiled(f)
    for n in (4, 1, 0, 9):
        x = torch.randn(n, 3)
        torch._dynamo.decorators.mark_unbacked(x, 0)
        y = torch.randn(2, 3)
        torch.testing.assert_close(call(x, y), f(x, y))
    assert len({g.name.split()[1] for g in graphs()}) == 1  # traced once
    assert not any(g.fallbacks for g in graphs())


def test_an_operator_that_runs_in_pytorch_is_an_error_where_that_is_wanted():
    call = compiled(lambda x: x.nonzero() * 2, options={"fallback": "error"})
    with pytest.raises(Exception, match="nonzero"):
        call(torch.ones(3))


def test_a_copy_of_a_graph_runs_without_gradients_and_under_inference_mode():
    call = compiled(lambda x: x[x > 0] * 2, dynamic=True)
    x = torch.randn(9, requires_grad=True)
    with torch.inference_mode():
        torch.testing.assert_close(call(x), x[x > 0] * 2)
    with torch.no_grad():
        torch.testing.assert_close(call(x), x[x > 0] * 2)


def test_what_a_section_saves_is_kept_for_the_gradient():
    """The backward runs long after the frame of its forward is gone."""
    call = compiled(lambda x: (x[x > 0].exp() * x.sum()).sum(), dynamic=True)
    xs = [torch.randn(n, requires_grad=True) for n in (8, 13, 21)]
    results = [call(x) for x in xs]
    for x, y in reversed(list(zip(xs, results, strict=True))):
        (got,) = torch.autograd.grad(y, x)
        (want,) = torch.autograd.grad((x[x > 0].exp() * x.sum()).sum(), x)
        torch.testing.assert_close(got, want)
