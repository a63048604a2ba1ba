"""x[index] and x[index] = value against NumPy: values, gradients, refusals."""

import numpy as np
import pytest

import coregrad as cg

ARRAY = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
RNG = np.random.default_rng(0)
MASK = RNG.random((2, 3, 4, 5)) < 0.3
FIRST, J = np.array([0, 2, 1, 2]), np.array([3, -1, 0, 1])
COLUMN = np.array([[0], [2]])


M2, M3, M5 = np.array([True, True]), np.array([True, False, True]), np.arange(5) % 2 == 0
M23 = np.array([[True, False, True], [False, False, True]])
M34 = np.arange(12).reshape(3, 4) % 5 == 1

INDICES = [
    0, -1, (1, 2), (1, -1, 3, 0), (), ..., None, (..., 0), (0, ...), (0, ..., 1), (None, 0, None),
    (..., None), np.int64(1), np.array(1), (np.array(-1), 2), True, False, (True, 0), (0, False),
    slice(None), slice(1, None), slice(None, -1), slice(5, 2), slice(-100, 100), slice(None, None, -1),
    (slice(None), slice(None, None, -2)), (0, slice(2, 0, -1)), (0, 0, slice(0, 3, -1)),
    (slice(None), slice(None), slice(3, None, -3), slice(4, 0, -2)), (slice(None, None, 2), ..., 1),
    (slice(None), 1, slice(1, 3)), (None, slice(None), None, 1),
    [0, 1], [0, -1, 0], [], ([1], 0), (slice(None), [0, 2, 1]), (..., [4, 0]), (0, [[0, 1], [2, 0]]),
    np.array([[0, 1], [1, 0]]), np.array([], np.int64), np.array([1, 0], np.uint8),
    (slice(None), FIRST, J), (slice(None), COLUMN, J), (0, FIRST, J), (0, FIRST, slice(None), J),
    (FIRST % 2, FIRST, J, J), (FIRST % 2, slice(None), J), (slice(None), FIRST, slice(None), J),
    (slice(None), FIRST, None, J), (1, slice(None), J), (J * 0, ..., J), (0, slice(None), [0, 1], 2),
    (slice(None), 2, [0, 1]), (slice(None), [0, 1], 2), ([0], slice(None), 0), (None, [1, 0], None),
    (np.array([[1]]), [0, 2]), (slice(None, None, -1), [2, 0], slice(None, None, 2)), ((0, 1), (1, 2)),
    ([True, False],), MASK, MASK[0, 0, 0].repeat(2)[:2], M2, (slice(None), M3), (..., M5), (0, M34), M23,
    (slice(None), M34, 0), (slice(None), M34, J[:1]), (M2, slice(None), [0, 1]), (M2, 0),
    np.zeros((2, 3, 4, 5), bool), (np.zeros(2, bool), slice(None), 0), (0, M3, 1), [True, False],
    (slice(None), [False, True, True]), ([0, 1], M3, 0, 0), (M2, None, M3), (M23, 1, [0, 4, 2]),
]  # fmt: skip


def name_of(index):
    return str(index).replace("\n", "")[:60]


def with_tensors(index):
    """The index with tensors in place of arrays and lists."""
    if isinstance(index, tuple):
        return tuple(with_tensors(part) for part in index)
    if isinstance(index, list):
        return cg.tensor(np.asarray(index) if index else np.zeros(0, np.int64))
    return cg.tensor(index) if isinstance(index, np.ndarray) else index


@pytest.mark.parametrize("index", INDICES, ids=name_of)
@pytest.mark.parametrize("convert", [lambda i: i, with_tensors], ids=["arrays", "tensors"])
def test_what_an_index_picks_is_numpys(index, convert):
    want = ARRAY[index]
    got = cg.tensor(ARRAY)[convert(index)].numpy()
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("index", INDICES, ids=name_of)
@pytest.mark.parametrize("convert", [lambda i: i, with_tensors], ids=["arrays", "tensors"])
def test_what_an_index_sets_is_numpys(index, convert):
    picked = ARRAY[index]
    values = [np.float32(-1), RNG.standard_normal(picked.shape).astype(np.float32)]
    if picked.ndim and picked.shape[-1]:
        values.append(RNG.standard_normal(picked.shape[-1:]).astype(np.float32))
        if not isinstance(index, np.ndarray):  # NumPy takes at most one dimension for a mask
            values.append(RNG.standard_normal((1, 1, *picked.shape)).astype(np.float32))
    numbers = np.arange(ARRAY.size).reshape(ARRAY.shape)[index]
    if len(np.unique(numbers)) != numbers.size:  # nobody says which of several values stays
        values = values[:1]
    for value in values:
        want = ARRAY.copy()
        want[index] = value
        x = cg.tensor(ARRAY)
        view = x[0]
        x[convert(index)] = value if np.ndim(value) == 0 else cg.tensor(value)
        np.testing.assert_array_equal(x.numpy(), want)
        np.testing.assert_array_equal(view.numpy(), ARRAY[0])


def slope_by_numpy(index, seed):
    """Of sum(x[index] * seed) by x."""
    slope = np.zeros(ARRAY.shape, np.float32)
    np.add.at(slope, index, seed)
    return slope


@pytest.mark.parametrize("index", INDICES, ids=name_of)
def test_gradients_of_picking_add_up_where_elements_repeat(index):
    picked = ARRAY[index]
    if not picked.size:
        return
    seed = RNG.integers(1, 5, picked.shape).astype(np.float32)
    got = cg.grad(lambda x: (x[index] * cg.tensor(seed)).sum())(cg.tensor(ARRAY))
    np.testing.assert_array_equal(got.numpy(), slope_by_numpy(index, seed))


@pytest.mark.parametrize("index", INDICES, ids=name_of)
def test_gradients_of_setting_flow_to_the_value_and_around_it(index):
    picked = ARRAY[index]
    numbers = np.arange(ARRAY.size).reshape(ARRAY.shape)[index]
    if not picked.size or len(np.unique(numbers)) != numbers.size:
        return
    seed = RNG.integers(1, 5, ARRAY.shape).astype(np.float32)

    def function(x, value):
        y = x * 2
        y[index] = value * 3
        return (y * cg.tensor(seed)).sum()

    by_x, by_value = cg.grad(function, argnums=(0, 1))(
        cg.tensor(ARRAY), cg.tensor(np.ones(picked.shape, np.float32))
    )
    around = seed * 2
    around[index] = 0
    np.testing.assert_array_equal(by_x.numpy(), around)
    np.testing.assert_array_equal(by_value.numpy(), seed[index] * 3)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (2, "index 2 is out of range for dimension 0 of extent 2"),
        (-3, "index -3 is out of range"),
        ((0, 3), "index 3 is out of range for dimension 1 of extent 3"),
        ((0, 0, 0, 0, 0), "5 indices for 4 dimensions"),
        ((..., ..., 0), "at most one"),
        ([0, 2], "index 2 is out of range for dimension 0 of extent 2"),
        ((slice(None), np.array([[-4]])), "index -4 is out of range for dimension 1 of extent 3"),
        ("a", "indices are integers, slices"),
        (1.0, "got float"),
        (np.float64(1), "got float64"),
        ([0.5], "must be integers or bool, got float64"),
        (np.ones(2, np.complex64), "must be integers or bool, got complex64"),
        ([[0], [0, 1]], "no index is made of"),
        ((slice(None), [0, 1], [0, 1, 2]), r"must broadcast, got \[2\], \[3\]"),
        (np.ones(3, bool), r"a mask must have the extents \[2\].*got \[3\]"),
        ((0, np.ones((3, 5), bool)), r"the extents \[3, 4\]"),
        (MASK[None], "5 indices for 4 dimensions"),
    ],
    ids=str,
)
def test_wrong_indices_are_refused_at_once(index, message):
    x = cg.tensor(ARRAY)
    with pytest.raises(IndexError, match=message):
        x[index]
    with pytest.raises(IndexError, match=message):
        x[index] = 0
    np.testing.assert_array_equal(x.numpy(), ARRAY)
    with pytest.raises((IndexError, ValueError)):
        ARRAY[index]


def test_index_tensors_are_checked_when_values_are_asked_for():
    x = cg.tensor(ARRAY)
    for bad in (2, -3):
        with pytest.raises(IndexError):
            x[cg.tensor([0, bad])].numpy()
    with pytest.raises(IndexError, match="must be integers or bool, got float32"):
        x[cg.tensor([0.0])]


def test_an_index_tensor_without_dimensions_drops_its_dimension():
    x = cg.tensor(ARRAY)
    at = cg.tensor([1, 0])
    np.testing.assert_array_equal(x[at[0]].numpy(), ARRAY[1])
    np.testing.assert_array_equal(x[:, cg.tensor(-1), at].numpy(), ARRAY[:, -1, [1, 0]])
    assert list(range(3))[at[0]] == 1
    with pytest.raises(TypeError, match="an index must be an integer tensor"):
        [1, 2][cg.tensor(1.0)]
    with pytest.raises(TypeError):
        [1, 2][at]


def test_setting_is_a_rebinding():
    array = np.arange(4, dtype=np.float32)
    x = cg.from_numpy(array)
    same, view, later = x, x[1:], x * 2
    x[2] = 9
    assert x.tolist() == [0, 1, 9, 3]
    assert same.tolist() == x.tolist()
    assert view.tolist() == [1, 2, 3]
    assert later.tolist() == [0, 2, 4, 6]
    assert array.tolist() == [0, 1, 2, 3]


def test_values_take_the_dtype_of_the_tensor():
    x = cg.arange(4)
    x[1] = 2.75
    x[2:] = np.array([7.5, True])
    assert (x.dtype, x.tolist()) == (cg.int64, [0, 2, 7, 1])
    x[[0, 1]] = [5, 6]
    assert x.tolist() == [5, 6, 7, 1]
    with pytest.raises(
        cg.ShapeError, match=r"setitem: the value must broadcast to \[2\], got \[3\]"
    ):
        x[:2] = cg.zeros(3)
    with pytest.raises(ValueError, match="does not fit int8"):
        cg.zeros(2, dtype=cg.int8)[0] = 300


def test_a_mask_that_is_set_is_not_computed_before():
    x = cg.tensor(ARRAY) * 1
    before = cg.session_stats()["realizations"]
    x[x > 50] = 0
    x[x[..., 0] < 30] = cg.arange(5)
    assert cg.session_stats()["realizations"] == before
    want = ARRAY.copy()
    want[want > 50] = 0
    want[want[..., 0] < 30] = np.arange(5)
    np.testing.assert_array_equal(x.numpy(), want)


def test_other_places_and_numbers_are_the_same_program():
    x = cg.zeros(20, 3).realize()
    want = np.zeros((20, 3), np.float32)
    for i in range(20):
        x[i, 1] = i
        want[i, 1] = i
        x.realize()
        if i == 0:
            compiled = cg.session_stats()["plans_compiled"]
    np.testing.assert_array_equal(x.numpy(), want)
    assert cg.session_stats()["plans_compiled"] == compiled


@pytest.mark.parametrize("dtype", list(cg.DType))
def test_tensors_of_every_dtype_are_set(dtype):
    x = cg.zeros(4, dtype=dtype)
    x[1] = 1
    x[2:] = cg.ones(2)
    x[x != 0] = np.float32(1)
    scalar = cg.zeros((), dtype=dtype)
    scalar[()] = True
    assert (x.dtype, x.astype(int).tolist()) == (dtype, [0, 1, 1, 1])
    assert scalar.astype(int).tolist() == 1
    if "int" in dtype.name:
        for number in (2**70, np.float64("inf")):
            with pytest.raises(ValueError, match="the number does not fit"):
                x[0] = number


def test_leaves_that_require_a_gradient_refuse():
    w = cg.tensor([1.0, 2.0], requires_grad=True)
    for change in (
        lambda: w.__setitem__(0, 5),
        lambda: w.__iadd__(1),
        lambda: w.__setitem__(w.detach() > 1, 0),
    ):
        with pytest.raises(cg.AutogradError, match="a leaf that requires a gradient"):
            change()
    assert w.tolist() == [1, 2]
    with cg.no_grad():
        w[0] = 5
        w -= 1
    assert (w.tolist(), w.requires_grad, w.is_leaf) == ([4, 1], True, True)
    (w * w).sum().realize().backward()
    assert w.grad.tolist() == [8, 2]


def test_gradients_flow_through_a_tensor_that_was_set():
    w = cg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x = cg.zeros(3)
    x[1:] = w[:2] * 10
    x[0] += w[2]
    assert x.requires_grad
    assert not x.is_leaf
    (x * cg.tensor([1.0, 2.0, 3.0])).sum().realize().backward()
    assert w.grad.tolist() == [20, 30, 1]


def test_updates_in_place_are_seen_by_all_who_hold_the_tensor():
    x = cg.tensor(np.arange(4))
    same, array = x, np.arange(4)
    for name, other in [
        ("iadd", 5), ("isub", 1), ("imul", 3), ("ifloordiv", 2), ("imod", 100), ("ilshift", 2),
        ("irshift", 1), ("iand", 14), ("ior", 1), ("ixor", 7), ("ipow", 2),
    ]:  # fmt: skip
        x = getattr(x, f"__{name}__")(other)
        array = getattr(array, f"__{name}__")(other)
        np.testing.assert_array_equal(x.numpy(), array)
        assert x is same
    y = cg.tensor([1.0, 2.0])
    y /= 4
    assert y.tolist() == [0.25, 0.5]
    m = cg.eye(2)
    m @= m * 2
    assert m.tolist() == [[2, 0], [0, 2]]
    with pytest.raises(cg.DTypeError, match="itruediv: the result is float32, which int64"):
        x /= 2
    with pytest.raises(cg.ShapeError):
        y += cg.zeros((3, 2))
    with pytest.raises(TypeError):
        y += "text"
    assert y.tolist() == [0.25, 0.5]


def test_elements_are_found():
    x = cg.arange(4)
    assert 3 in x
    assert 4 not in x
