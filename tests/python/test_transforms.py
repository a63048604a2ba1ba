"""Gradients over trees, products with Jacobians, Jacobians and Hessians; torch.func is the judge."""

import numpy as np
import pytest
import torch

import coregrad as cg


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(library):
    def f(w, x):
        return library.tanh(x @ w) ** 2 * x.sum()

    return f


W, X = array(4, 3), array(5, 4, seed=1)


def close(got, want):
    np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=2e-4, atol=2e-4)


def test_gradients_of_trees_and_what_comes_with_a_value():
    def loss(tree, x):
        h = x @ tree["layers"][0] + tree["layers"][1]
        return (h * h).sum(), {"h": h, "name": tree["name"]}

    tree = {"layers": [cg.tensor(W), cg.tensor(array(3))], "name": "n"}
    (value, aux), slopes = cg.value_and_grad(loss, has_aux=True)(tree, cg.tensor(X))
    theirs = [torch.tensor(W, requires_grad=True), torch.tensor(array(3), requires_grad=True)]
    h = torch.tensor(X) @ theirs[0] + theirs[1]
    (h * h).sum().backward()
    assert abs(value.item() - (h * h).sum().item()) < 1e-3
    close(aux["h"], h)
    assert not aux["h"].requires_grad
    assert aux["name"] == slopes["name"] == "n"
    close(slopes["layers"][0], theirs[0].grad)
    close(slopes["layers"][1], theirs[1].grad)
    slope, aux = cg.grad(loss, 1, has_aux=True)(tree, cg.tensor(X))
    assert slope.shape == (5, 4)
    both = cg.grad(lambda a, b: (a * b).sum(), (1, 0))(cg.tensor([2.0]), cg.tensor([3.0]))
    assert [g.item() for g in both] == [2, 3]


def test_products_with_jacobians_are_pytorchs():
    ours, theirs = network(cg), network(torch)
    y, pull = cg.vjp(ours, cg.tensor(W), cg.tensor(X))
    want, their_pull = torch.func.vjp(theirs, torch.tensor(W), torch.tensor(X))
    close(y, want)
    for seed in (3, 4):
        ct = array(5, 3, seed=seed)
        for got, expected in zip(pull(cg.tensor(ct)), their_pull(torch.tensor(ct)), strict=True):
            close(got, expected)
    tangents = array(4, 3, seed=5), array(5, 4, seed=6)
    y, product = cg.jvp(ours, (cg.tensor(W), cg.tensor(X)), [cg.tensor(t) for t in tangents])
    want, expected = torch.func.jvp(
        theirs, (torch.tensor(W), torch.tensor(X)), tuple(torch.tensor(t) for t in tangents)
    )
    close(y, want)
    close(product, expected)


def test_jacobians_and_hessians_are_pytorchs():
    x = array(3)

    def f(library):
        return lambda x, k: library.stack([library.exp(x) * k, x * x.sum()])

    for argnums in (0, 1):
        got = cg.jacrev(f(cg), argnums)(cg.tensor(x), cg.tensor(array(3, seed=2)))
        want = torch.func.jacrev(f(torch), argnums)(torch.tensor(x), torch.tensor(array(3, seed=2)))
        close(got, want)

    def g(library):
        return lambda x: (library.sin(x) * x.sum() ** 2).sum()

    close(cg.hessian(g(cg))(cg.tensor(x)), torch.func.hessian(g(torch))(torch.tensor(x)))
    assert cg.jacrev(lambda x: x.slice(0, 0, 0))(cg.tensor(x)).shape == (0, 3)


def test_third_derivatives_and_compiled_ones():
    f = lambda x: (x**4).sum()  # noqa: E731
    third = cg.grad(lambda x: cg.grad(lambda x: cg.grad(f)(x).sum())(x).sum())
    for h in (third, cg.compile(third)):
        assert h(cg.tensor([2.0])).item() == pytest.approx(48)
    jac = cg.compile(lambda w, x: cg.jvp(network(cg), (w, x), (w, x))[1])
    want = torch.func.jvp(network(torch), (torch.tensor(W), torch.tensor(X)),
                          (torch.tensor(W), torch.tensor(X)))[1]  # fmt: skip
    for _ in range(2):
        close(jac(cg.tensor(W), cg.tensor(X)), want)


def test_mistakes_are_named():
    with pytest.raises(cg.ValueError, match="argument 2 is none of 1"):
        cg.grad(lambda x: x.sum(), 2)(cg.tensor([1.0]))
    with pytest.raises(cg.AutogradError, match="must return one element"):
        cg.grad(lambda x: x)(cg.tensor([1.0, 2.0]))
    with pytest.raises(cg.AutogradError, match="does not depend on argument 1"):
        cg.grad(lambda t: t[0].sum())([cg.tensor([1.0]), cg.tensor([2.0])])
    with pytest.raises(cg.ShapeError, match=r"vjp: expected tensors of \[\[2\]\], got \[\[3\]\]"):
        cg.vjp(lambda x: x * 2, cg.tensor([1.0, 2.0]))[1](cg.tensor([1.0, 2.0, 3.0]))
