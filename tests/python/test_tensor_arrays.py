"""Tensors beside arrays: forms of arguments, operators with NumPy on either side, NumPy's functions."""

import operator

import numpy as np
import pytest
import torch

import coregrad as cg

ARRAY = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)


def check(got, want, exact=True):
    assert isinstance(got, cg.Tensor)
    values = got.numpy()
    assert values.shape == want.shape
    if exact:
        np.testing.assert_array_equal(values, want)
    else:
        np.testing.assert_allclose(values, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("reshape", (4, 6)), ("reshape", (-1, 2)), ("permute", (2, 0, 1)), ("flip", (0, 2)),
        ("tile", (2, 1, 3)), ("broadcast_to", (5, 2, 3, 4)), ("expand", (5, 2, 3, 4)),
        ("transpose", (2, 1, 0)),
    ],
)  # fmt: skip
def test_several_numbers_are_a_shape(name, arguments):
    x = cg.tensor(ARRAY)
    want = getattr(torch.tensor(ARRAY), {"broadcast_to": "expand", "transpose": "permute"}
                   .get(name, name))(*arguments).numpy()  # fmt: skip
    check(getattr(x, name)(*arguments), want)
    check(getattr(x, name)(arguments), want)
    check(getattr(x, name)(list(arguments)), want)
    with pytest.raises(TypeError):
        getattr(x, name)(*arguments[:-1], 1.5)


def test_forms_of_single_dimensions():
    x = cg.tensor(ARRAY)
    check(x.flip(1), np.flip(ARRAY, 1))
    check(x.reshape(24), ARRAY.reshape(24))
    check(x.reshape(-1), ARRAY.reshape(-1))
    check(x.transpose(0, 1), ARRAY.swapaxes(0, 1))
    check(x.transpose(), ARRAY.transpose())
    check(x.mT, ARRAY.swapaxes(1, 2))
    check(x.T, ARRAY.T)
    check(cg.ones(1, 2, 1).squeeze(), np.ones(2))
    check(cg.squeeze(cg.ones(1, 2, 1)), np.ones(2))
    check(cg.ones(1, 2, 1).squeeze(0), np.ones((2, 1)))
    check(cg.ones(1, 2, 1).squeeze(0, 2), np.ones(2))
    check(cg.ones(1, 2, 1).squeeze(axis=-1), np.ones((1, 2)))
    check(cg.ones(3, 1).expand(2, -1, 4), np.ones((2, 3, 4)))
    with pytest.raises(TypeError):
        x.reshape()
    with pytest.raises(cg.ShapeError):
        x.reshape(5, 5)
    with pytest.raises(IndexError):
        _ = cg.ones(3).mT


REDUCTIONS = ["sum", "prod", "mean", "amax", "amin", "max", "min", "any", "all"]


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), (1,)])
def test_reductions_take_axis_and_keepdims(name, axis):
    x = cg.tensor(ARRAY)
    numpys = getattr(np, name)
    for keepdims in (False, True):
        want = numpys(ARRAY, axis=axis, keepdims=keepdims)
        for got in (
            getattr(x, name)(axis=axis, keepdims=keepdims),
            getattr(cg, name)(x, axis=axis, keepdims=keepdims),
            getattr(x, name)(dim=axis, keepdim=keepdims),
            getattr(x, name)(axis, keepdims=keepdims),
            numpys(x, axis=axis, keepdims=keepdims),
        ):
            check(got, want, exact=False)
    with pytest.raises(TypeError):
        getattr(x, name)(axis=axis, out=np.zeros(()))
    with pytest.raises(TypeError):
        getattr(x, name)(axes=axis)


@pytest.mark.parametrize("name", ["var", "std"])
def test_deviations_by_numpy_are_numpys(name):
    x = cg.tensor(ARRAY)
    numpys = getattr(np, name)
    check(numpys(x), numpys(ARRAY), exact=False)
    check(numpys(x, axis=1, ddof=1, keepdims=True), numpys(ARRAY, axis=1, ddof=1, keepdims=True),
          exact=False)  # fmt: skip
    check(getattr(x, name)(axis=1), numpys(ARRAY, axis=1, ddof=1), exact=False)  # PyTorch's
    assert numpys(x, dtype=np.float64).dtype == cg.float64


@pytest.mark.parametrize(
    ("call", "numpys"),
    [
        (lambda x: x.argmax(axis=1), lambda a: a.argmax(axis=1)),
        (lambda x: x.argmin(axis=-1, keepdims=True), lambda a: a.argmin(axis=-1, keepdims=True)),
        (lambda x: x.cumsum(axis=1), lambda a: a.cumsum(axis=1)),
        (lambda x: x.sort(axis=0), lambda a: np.sort(a, axis=0)),
        (lambda x: cg.cat([x, x], axis=1), lambda a: np.concatenate([a, a], axis=1)),
        (lambda x: cg.stack([x, x], axis=1), lambda a: np.stack([a, a], axis=1)),
        (lambda x: cg.roll(x, 1, axis=1), lambda a: np.roll(a, 1, axis=1)),
        (lambda x: x.flip(axis=(0, 1)), lambda a: np.flip(a, axis=(0, 1))),
        (lambda x: x.unsqueeze(axis=1), lambda a: a[:, None]),
        (np.argmax, np.argmax),
        (np.cumsum, None),
        (lambda x: np.squeeze(x[:1]), lambda a: np.squeeze(a[:1])),
        (lambda x: np.transpose(x, (1, 0, 2)), lambda a: np.transpose(a, (1, 0, 2))),
    ],
)
def test_other_functions_take_axis_too(call, numpys):
    if numpys is None:  # of all elements in a row: tensors have no such sum
        with pytest.raises(TypeError):
            cg.tensor(ARRAY).cumsum(axis=None)
        return
    check(call(cg.tensor(ARRAY)), numpys(ARRAY), exact=False)


BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
]
BITS = ["and_", "or_", "xor", "lshift", "rshift"]


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("turned", [False, True])
def test_arrays_on_either_side_give_tensors(name, turned):
    function = getattr(operator, name)
    a = np.abs(ARRAY) + 1
    b = (np.arange(12, dtype=np.float32).reshape(3, 4) % 3) + 1
    for left, right in [
        (a, b),
        (a, np.float32(2)),
        (a, 2),
        (a, np.float64(1.5)),
        (b, np.array(2, "f4")),
    ]:
        got = function(right, cg.tensor(left)) if turned else function(cg.tensor(left), right)
        want = function(right, left) if turned else function(left, right)
        check(got, want.astype(got.numpy().dtype), exact=False)
        assert got.dtype in (cg.float32, cg.bool_)


@pytest.mark.parametrize("name", BITS)
@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int32", "int64", "uint32"])
def test_bits_of_integers_are_bits(name, dtype):
    if dtype == "bool" and "shift" in name:
        return
    function = getattr(operator, name)
    a = np.array([0, 1, 5, 12, 100], dtype)
    b = np.array([1, 0, 3, 2, 1], dtype)
    check(function(cg.tensor(a), cg.tensor(b)), function(a, b))
    check(function(a, cg.tensor(b)), function(a, b))
    check(function(cg.tensor(a), b), function(a, b))
    one = True if dtype == "bool" else 1
    assert function(cg.tensor(a), cg.tensor(b)).dtype.name == dtype
    check(function(cg.tensor(a), one), function(a, np.array(1, dtype)))
    check(function(one, cg.tensor(b)), function(np.array(1, dtype), b))
    check(~cg.tensor(a), ~a)


def test_bits_of_floats_are_refused():
    x = cg.ones(2)
    for call in (lambda: x & x, lambda: x | 1, lambda: ~x, lambda: x << 1):
        with pytest.raises(cg.DTypeError):
            call()


def test_products_with_arrays():
    a, b = ARRAY[0], ARRAY[1].T
    check(cg.tensor(a) @ b, a @ b, exact=False)
    check(a @ cg.tensor(b), a @ b, exact=False)
    with pytest.raises(TypeError):
        cg.tensor(a) @ 2
    with pytest.raises(TypeError):
        2 @ cg.tensor(a)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, a: a * x,
        lambda x, a: x * a,
        lambda x, a: a / (x * x + 1),
        lambda x, a: np.float32(2) * x - a,
        lambda x, a: a @ x.T,
        lambda x, a: np.exp(x) * np.float64(0.5),
        lambda x, a: np.maximum(x, a),
        lambda x, a: np.sum(x * a, axis=0) + np.mean(x),
        lambda x, a: np.power(np.abs(x), 1.5) + np.arctan2(a, x),
    ],
)
def test_gradients_pass_by_arrays(function):
    a, x = ARRAY[0], ARRAY[1]
    got = cg.grad(lambda t: function(t, a).sum())(cg.tensor(x))
    step = 1e-3
    want = np.zeros_like(x, dtype=np.float64)
    for place in np.ndindex(*x.shape):
        ends = []
        for sign in (1, -1):
            moved = x.astype(np.float64)
            moved[place] += sign * step
            ends.append(np.sum(function(moved, a.astype(np.float64))))
        want[place] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(got.numpy(), want, rtol=2e-3, atol=2e-3)


def test_an_array_that_changes_later_changes_no_result():
    a = np.ones(3, np.float32)
    y = cg.ones(3) + a
    z = a * cg.ones(3)
    a[:] = 100
    assert (y.tolist(), z.tolist()) == ([2, 2, 2], [1, 1, 1])


def test_numbers_of_numpy_count_as_pythons():
    x = cg.arange(3)
    for number in (np.int8(2), np.int64(2), np.uint16(2)):
        for got in (x * number, number * x, x + number, number - x):
            assert got.dtype == cg.int64
    assert (x * np.float64(0.5)).dtype == cg.float32
    assert (cg.ones(2, dtype=cg.float16) * np.float64(0.5)).dtype == cg.float16
    assert (x == np.bool_(True)).tolist() == [False, True, False]
    assert cg.maximum(x, np.int32(1)).tolist() == [1, 1, 2]
    for other in (np.complex64(1j), np.zeros(3, np.complex64), "text", object(), np.uint64(2**63)):
        with pytest.raises(TypeError):
            x * other


UNARY = [
    "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "ceil", "cos", "cosh",
    "exp", "exp2", "expm1", "fabs", "floor", "isfinite", "isinf", "isnan", "log", "log10", "log1p",
    "log2", "logical_not", "negative", "positive", "reciprocal", "rint", "sign", "signbit", "sin",
    "sinh", "sqrt", "square", "tan", "tanh", "trunc",
]  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_numpys_functions_of_elements_give_tensors(name):
    x = np.array([0.25, 0.5, 0.75], np.float32) + (1 if name == "arccosh" else 0)
    check(getattr(np, name)(cg.tensor(x)), getattr(np, name)(x), exact=False)


def test_what_numpy_cannot_do_with_tensors_is_refused():
    x, array = cg.ones(3), np.zeros(3, np.float32)
    for call in (
        lambda: np.add(x, 1, out=array),
        lambda: np.add.reduce(x),
        lambda: np.multiply.outer(x, x),
        lambda: np.add(x, 1, where=array > 0),
        lambda: np.heaviside(x, 0),
        lambda: np.frompyfunc(abs, 1, 1)(x),
        lambda: operator.iadd(array, x),
    ):
        with pytest.raises(TypeError):
            call()
    assert array.tolist() == [0, 0, 0]


def test_whole_division_and_rest_at_once():
    a = np.array([-7, 7, 5])
    for got, want in zip(divmod(cg.tensor(a), 3), divmod(a, 3), strict=True):
        check(got, want)
    for got, want in zip(divmod(20, cg.tensor(a)), divmod(20, a), strict=True):
        check(got, want)
    assert complex(cg.tensor(1.5)) == 1.5 + 0j
