"""The lazy tensor from Python: borders without copies, indexing, gradients, documentation."""

import ast
import doctest
from pathlib import Path

import numpy as np
import pytest

import coregrad as cg
from coregrad import (
    _checkpoint,
    _compile,
    _core,
    _creation,
    _dtypes,
    _standard,
    _tensor,
    _transforms,
    array_api,
    data,
    nn,
    optim,
)


def test_arrays_come_in_and_go_out_without_a_copy():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = cg.from_numpy(array)
    assert np.shares_memory(tensor.numpy(), array)
    turned = cg.from_numpy(array.T)
    assert np.shares_memory(turned.numpy(), array)
    np.testing.assert_array_equal((turned + 1).numpy(), array.T + 1)
    assert not tensor.numpy().flags.writeable


def test_an_array_outlives_its_tensor():
    values = (cg.arange(0, 1000) * 2).numpy()
    for _ in range(10):
        (cg.arange(0, 1000) * 3).numpy()
    np.testing.assert_array_equal(values, np.arange(1000) * 2)


def test_reversed_arrays_are_copied():
    array = np.arange(5, dtype=np.int64)[::-1]
    np.testing.assert_array_equal(cg.tensor(array).numpy(), array)


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.int64, np.float32, np.float64])
def test_every_dtype_crosses_the_border(dtype):
    array = np.array([[0, 1], [1, 1]], dtype=dtype)
    back = cg.tensor(array).numpy()
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


def test_unsupported_element_types_are_named():
    with pytest.raises(cg.DTypeError, match="not supported"):
        cg.tensor(np.zeros(2, dtype=np.complex64))


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        slice(1, 3),
        (slice(None), 1),
        (..., 2),
        (None, 0),
        (slice(None, None, 2), slice(1, -1)),
    ],
)
def test_indexing_follows_numpy(index):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(cg.tensor(array)[index].numpy(), array[index])


def test_wrong_indices_raise():
    x = cg.zeros((2, 3))
    with pytest.raises(IndexError):
        x[2]
    with pytest.raises(IndexError):
        x[0, 0, 0]
    with pytest.raises(ValueError, match="step cannot be zero"):
        x[::0]


def test_numbers_on_either_side_keep_the_dtype():
    x = cg.tensor([1.0, 2.0])
    np.testing.assert_array_equal((1 - x).numpy(), [0, -1])
    np.testing.assert_array_equal((2 / x).numpy(), [2, 1])
    assert (cg.arange(0, 3) + 1).dtype == cg.int64
    assert (x > 1).tolist() == [False, True]
    with pytest.raises(TypeError):
        x + "text"


def test_shapes_that_do_not_fit_are_value_errors_too():
    with pytest.raises(ValueError, match="matmul"):
        cg.zeros((2, 3)) @ cg.zeros((4, 5))
    assert issubclass(cg.ShapeError, cg.CoreGradError)


def test_backward_says_to_realise_first():
    x = cg.tensor([1.0], requires_grad=True)
    with pytest.raises(cg.AutogradError, match=r"call \.realize\(\) first"):
        (x * 2).sum().backward()


def test_value_and_grad_takes_several_arguments():
    function = cg.value_and_grad(lambda a, b: (a * b).sum(), argnums=(0, 1))
    value, (da, db) = function(cg.tensor([1.0, 2.0]), cg.tensor([3.0, 4.0]))
    assert value.item() == 11
    assert da.tolist() == [3, 4]
    assert db.tolist() == [1, 2]


def test_a_training_loop_compiles_nothing_after_its_first_steps():
    cg.manual_seed(0)
    layer = cg.nn.Linear(3, 2)
    optimizer = optim.Adam(layer.parameters(), lr=0.1)
    x, labels = cg.randn((8, 3)).realize(), cg.tensor(np.arange(8) % 2)
    compiled, losses = None, []
    for step in range(12):
        loss = cg.cross_entropy(layer(x), labels).realize()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step == 2:
            compiled = cg.session_stats()["plans_compiled"]
    assert cg.session_stats()["plans_compiled"] == compiled
    assert losses[-1] < losses[0]


def test_sizes_and_numbers_that_change_compile_nothing_from_the_third_on():
    w = cg.tensor(np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32))
    for step, n in enumerate([7, 16, 33, 5, 100, 2, 64]):
        x = np.random.default_rng(n).standard_normal((n, 12)).astype(np.float32)
        known = cg.tensor(x)
        if step == 2:
            compiled = cg.session_stats()["plans_compiled"]
        got = cg.softmax(known @ w * (0.5 + step), -1).mean(0).numpy()
        scores = x.astype(np.float64) @ w.numpy().astype(np.float64) * (0.5 + step)
        shifted = np.exp(scores - scores.max(-1, keepdims=True))
        want = (shifted / shifted.sum(-1, keepdims=True)).mean(0)
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-6)
    assert cg.session_stats()["plans_compiled"] == compiled


def test_no_grad_is_a_context_and_a_decorator():
    x = cg.tensor([1.0], requires_grad=True)

    @cg.no_grad()
    def double(t, depth):
        return double(t, depth - 1) if depth else t * 2

    assert not double(x, 2).requires_grad
    guard = cg.no_grad()
    with guard:
        with guard:
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad


def test_the_seed_decides_random_numbers():
    cg.manual_seed(5)
    first = cg.rand((4,)).tolist()
    cg.manual_seed(5)
    assert cg.rand((4,)).tolist() == first


def test_tensors_work_as_numbers_and_in_numpy():
    x = cg.tensor([1.5])
    assert float(x) == 1.5
    assert bool(x)
    np.testing.assert_array_equal(np.asarray(cg.tensor([1.0, 2.0])), [1, 2])
    assert "float32" in repr(x)


OURS = [
    _checkpoint, _compile, _creation, _dtypes, _standard, _tensor, _transforms, array_api, data,
    nn.functional, nn.init, nn.module, optim,
]  # fmt: skip


@pytest.mark.parametrize("module", [cg, *OURS])
def test_examples_in_the_documentation_run(module):
    assert doctest.testmod(module).failed == 0


def test_examples_of_the_extension_module_run():
    runner, parser = doctest.DocTestRunner(), doctest.DocTestParser()
    for owner in (_core, _core.Tensor, _core.functional):
        for name in dir(owner):
            documentation = getattr(owner, name).__doc__ or ""
            runner.run(parser.get_doctest(documentation, {}, name, None, 0))
    assert runner.summarize(verbose=False).failed == 0
    assert runner.tries > 20


def test_type_stubs_name_what_the_extension_module_has():
    folder = Path(_core.__file__).parent / "_core"
    assert folder.is_dir(), f"no type stubs in {folder}: build the target coregrad_stubs"
    for name, module in (("__init__", _core), ("functional", _core.functional)):
        tree = ast.parse((folder / f"{name}.pyi").read_text())
        imported = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        defined = {
            getattr(node, "name", None) or getattr(getattr(node, "target", None), "id", None)
            for node in tree.body
        }
        public = {name for name in dir(module) if not name.startswith("_")}
        assert public - defined - imported == set()
    tensor = next(n for n in ast.parse((folder / "__init__.pyi").read_text()).body
                  if isinstance(n, ast.ClassDef) and n.name == "Tensor")  # fmt: skip
    methods = {n.name for n in tensor.body if isinstance(n, ast.FunctionDef)}
    assert {"item", "__getitem__", "numpy", "backward"} <= methods
