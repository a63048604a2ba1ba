"""Tensors from nothing, from data, and what names a dtype, against NumPy and PyTorch."""

import copy

import numpy as np
import pytest
import torch

import coregrad as cg

DTYPES = [d for d in cg.DType if d != cg.bfloat16]


def equal(got, want):
    """Values, shape and dtype are an array's."""
    values = got.numpy()
    assert values.dtype == want.dtype
    assert values.shape == want.shape
    np.testing.assert_array_equal(values, want)


@pytest.mark.parametrize("name", ["zeros", "ones"])
def test_a_shape_is_one_argument_or_several(name):
    make, numpys = getattr(cg, name), getattr(np, name)
    for arguments in [(3,), (2, 3), ((2, 3),), ([2, 3],), ((),), (np.int64(3),), (0, 2)]:
        shape = arguments[0] if len(arguments) == 1 else arguments
        equal(make(*arguments), numpys(shape, np.float32))
    equal(make(2, 3, dtype=cg.int8), numpys((2, 3), np.int8))
    equal(make((2, 3), cg.int8), numpys((2, 3), np.int8))
    for wrong in [(), (1.5,), (2, "x"), (None,)]:
        with pytest.raises(TypeError):
            make(*wrong)
    with pytest.raises(cg.ShapeError, match="extents must not be negative, got -2"):
        make(3, -2)
    with pytest.raises(ValueError, match=f"{name}: the device must be 'cpu'"):
        make(2, device="cuda")


@pytest.mark.parametrize("name", ["empty", "rand", "randn"])
def test_shapes_of_other_contents_have_the_same_forms(name):
    make = getattr(cg, name)
    for x in (make(2, 3), make((2, 3)), make([2, 3])):
        assert (x.shape, x.dtype) == ((2, 3), cg.float32)
    assert make(4).shape == (4,)
    assert make(2, dtype="float64").dtype == cg.float64


@pytest.mark.parametrize("value", [1, 2**40, -3, True, False, 0.5, float("inf"), 2**63 - 1])
def test_full_takes_the_dtype_of_its_value_as_pytorch_does(value):
    equal(cg.full((2, 2), value), torch.full((2, 2), value).numpy())
    equal(cg.full(3, np.asarray(value)[()]), torch.full((3,), value).numpy())


def test_full_refuses_numbers_that_do_not_fit():
    equal(cg.full((2,), 3, "uint8"), np.full(2, 3, np.uint8))
    equal(cg.full((2,), 3, cg.float64), np.full(2, 3.0))
    with pytest.raises(ValueError, match="does not fit uint8: got 300"):
        cg.full((2,), 300, cg.uint8)
    with pytest.raises(TypeError):
        cg.full((2,), 2**64)


RANGES = [
    (5,), (0,), (2, 8, 2), (3, 0, -1), (0, 1, 0.25), (0.5, 3), (5.0,), (0.0, 3.0), (1, 2, 0.3),
    (10, 0, -2.5), (-1.5, 1.5, 1), (2**62, 2**62 + 3), (3, 9, 4),
]  # fmt: skip


@pytest.mark.parametrize("arguments", RANGES, ids=str)
def test_ranges_are_pytorchs(arguments):
    equal(cg.arange(*arguments), torch.arange(*arguments).numpy())


@pytest.mark.parametrize("dtype", DTYPES)
def test_ranges_have_the_dtype_that_is_asked_for(dtype):
    if dtype == cg.DType.bool:
        with pytest.raises(cg.DTypeError):
            cg.arange(3, dtype=dtype)
        return
    equal(cg.arange(2, 9, 3, dtype=dtype), np.arange(2, 9, 3, dtype=dtype.name))
    equal(cg.arange(4.0, dtype=dtype), np.arange(4, dtype=dtype.name))


def test_ranges_refuse_what_they_cannot_count():
    with pytest.raises(ValueError, match="takes whole numbers"):
        cg.arange(0, 1, 0.25, dtype=cg.int64)
    for arguments in [(0, 1, 0), (0, 5, -1), (float("nan"),), (0, float("inf")), (0.0, 1.0, 0.0)]:
        with pytest.raises(ValueError, match="no steps"):
            cg.arange(*arguments)


def test_evenly_spaced_numbers_have_exact_ends():
    for arguments in [(0, 1, 5), (-1, 1, 7), (3, 3, 4), (0, 1, 1), (2, -2, 0)]:
        for endpoint in (True, False):
            want = np.linspace(*arguments, endpoint=endpoint)
            got = cg.linspace(*arguments, dtype=float, endpoint=endpoint).numpy()
            np.testing.assert_allclose(got, want, rtol=1e-15, atol=1e-16)
    equal(cg.linspace(start=0, end=1, steps=3), np.array([0, 0.5, 1], np.float32))


def test_diagonals():
    for n, m, k in [(3, None, 0), (2, 4, 1), (4, 2, -1), (3, 3, 5), (0, 2, 0)]:
        equal(cg.eye(n, m, k), np.eye(n, m, k, np.float32))
    equal(cg.eye(2, dtype=bool), np.eye(2, dtype=bool))


def test_tensors_like_others():
    x = cg.tensor(np.ones((2, 3), np.int16))
    equal(cg.zeros_like(x), np.zeros((2, 3), np.int16))
    equal(cg.ones_like(x, float), np.ones((2, 3)))
    equal(cg.full_like(x, 7), np.full((2, 3), 7, np.int16))
    equal(cg.full_like(x, 0.5, "float32"), np.full((2, 3), 0.5, np.float32))
    assert cg.empty_like(x).dtype == cg.int16
    y = cg.zeros((4, 5), cg.float64)
    for sample in (cg.rand_like(y), cg.randn_like(y)):
        assert (sample.shape, sample.dtype) == ((4, 5), cg.float64)
        assert len(np.unique(sample.numpy())) == 20


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_dtype_has_many_names(dtype):
    numpys = np.dtype(dtype.name)
    for name in (dtype, dtype.name, numpys, numpys.type):
        for made in (
            cg.zeros(2, dtype=name),
            cg.tensor([0, 1], name),
            cg.ones(2).astype(name),
            cg.ones(2).cast(name),
            cg.zeros_like(cg.ones(2), name),
            cg.asarray([1, 0], dtype=name),
        ):
            assert made.dtype == dtype
    assert cg.promote_types(numpys, cg.DType.bool) == dtype


def test_pythons_types_are_dtypes():
    assert [cg.zeros(1, dtype=t).dtype for t in (float, int, bool)] == [
        cg.float64, cg.int64, cg.bool_,
    ]  # fmt: skip
    assert cg.ones(2).sum(dtype=float).dtype == cg.float64
    assert cg.zeros(1, dtype="bfloat16").dtype == cg.bfloat16
    assert cg.zeros(1, dtype=np.dtype(">f4")).dtype == cg.float32
    for wrong in ("float33", complex, np.complex64, "f4", 3, object, np.dtype("U3")):
        with pytest.raises(TypeError):
            cg.zeros(1, dtype=wrong)


def test_tensor_copies_and_the_others_share():
    array = np.arange(6, dtype=np.float32)
    own, shared = cg.tensor(array), cg.from_numpy(array)
    doubled = own * 2
    array[:] = -1
    equal(own, np.arange(6, dtype=np.float32))
    equal(doubled, np.arange(6, dtype=np.float32) * 2)
    equal(shared, array)
    assert np.shares_memory(shared.numpy(), array)
    assert np.shares_memory(cg.asarray(array).numpy(), array)
    assert np.shares_memory(cg.asarray(array, copy=False).numpy(), array)
    assert not np.shares_memory(cg.asarray(array, copy=True).numpy(), array)
    assert cg.asarray(own) is own
    assert cg.asarray(own, copy=True) is not own


def test_asarray_says_where_a_copy_must_be():
    array = np.arange(6, dtype=np.float32)
    for wrong in (3, [1, 2], array[::-1]):
        with pytest.raises(ValueError, match="without a copy"):
            cg.asarray(wrong, copy=False)
    with pytest.raises(ValueError, match="float32 cannot be float64 without a copy"):
        cg.asarray(array, dtype=float, copy=False)
    equal(cg.asarray(array[::-1]), array[::-1])
    equal(cg.asarray(array, dtype=int), array.astype(int))
    equal(cg.asarray(True), np.array(True))
    equal(cg.asarray([[1.5]]), np.array([[1.5]], np.float32))


def test_lists_keep_the_digits_of_the_dtype_that_is_asked_for():
    equal(cg.tensor([0.1, 1], cg.float64), np.array([0.1, 1]))
    equal(cg.tensor([2**53 + 1]), np.array([2**53 + 1]))
    equal(cg.tensor([]), np.array([], np.float32))
    equal(cg.tensor(np.float64(0.1)), np.array(0.1))
    equal(cg.tensor([1.5, 2.5], int), np.array([1, 2]))
    with pytest.raises(OverflowError):
        cg.tensor([300], cg.uint8)
    with pytest.raises(cg.DTypeError):
        cg.tensor(["a"])


def test_arrays_of_any_layout_come_in():
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    for turned in (array.T, array[:, ::2], array[::-1], array.transpose(1, 0, 2)[..., ::-2]):
        equal(cg.tensor(turned), turned)
    equal(cg.tensor(array.astype(">i4")), array)
    equal(cg.tensor(np.broadcast_to(np.float32(2), (2, 2))), np.full((2, 2), 2, np.float32))
    with pytest.raises(TypeError, match="a NumPy array is needed"):
        cg.from_numpy([1, 2])


def test_the_copy_of_a_tensor_is_a_constant():
    x = cg.tensor([1.0, 2.0], requires_grad=True)
    assert not cg.tensor(x * 2).requires_grad
    equal(cg.tensor(x), np.array([1, 2], np.float32))
    equal(cg.tensor(x, float), np.array([1.0, 2.0]))


def test_clones_are_tensors_of_their_own():
    x = cg.tensor([1.0, 2.0], requires_grad=True)
    for other in (x.clone(), copy.copy(x), +x):
        assert other is not x
        (other * 3).sum().realize().backward()
    assert x.grad.tolist() == [9, 9]
    first = cg.arange(3)
    second = copy.copy(first)
    second[0] = 7
    assert (first.tolist(), second.tolist()) == ([0, 1, 2], [7, 1, 2])


def test_deep_copies_own_their_memory_and_gradient():
    array = np.ones(3, np.float32)
    x = cg.from_numpy(array)
    deep = copy.deepcopy(x)
    array[0] = 5
    assert deep.tolist() == [1, 1, 1]
    w = cg.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().realize().backward()
    v = copy.deepcopy({"w": w, "again": w})
    assert v["w"] is v["again"]
    assert v["w"].requires_grad
    assert v["w"].grad.tolist() == [2, 4]
    v["w"].grad = None
    assert w.grad.tolist() == [2, 4]
    with pytest.raises(cg.AutogradError, match="deepcopy"):
        copy.deepcopy(w * 2)
    narrow = cg.tensor([1.5, 2.5], cg.bfloat16)
    assert copy.deepcopy(narrow).bits().tolist() == narrow.bits().tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_is_seen_through_the_buffer_protocol(dtype):
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype.name)
    x = cg.from_numpy(array)
    view = memoryview(x)
    assert view.readonly
    assert (view.shape, view.itemsize, view.nbytes) == ((2, 3), x.itemsize, x.nbytes)
    np.testing.assert_array_equal(np.asarray(view), array)
    assert np.shares_memory(np.asarray(view), array)
    assert bytes(cg.tensor(array.T)) == array.T.tobytes()
    del x, array
    assert np.asarray(view)[1, 0] == 1


def test_buffers_that_cannot_be_are_refused():
    with pytest.raises(BufferError, match="bfloat16"):
        memoryview(cg.zeros(2, dtype="bfloat16"))
    with pytest.raises((BufferError, ValueError)):
        np.frombuffer(cg.zeros(4), np.float32)[0] = 1
    with pytest.raises(cg.IndexError):
        memoryview(cg.arange(3)[cg.tensor([5])])
    np.testing.assert_array_equal(np.asarray(cg.ones(2, dtype="bfloat16")), [1, 1])


def test_what_would_lose_a_gradient_is_refused():
    w = cg.tensor([1.0, 2.0], requires_grad=True)
    for x in (w, w * 2):
        for call in (np.asarray, np.array, np.concatenate, cg.tensor, lambda x: np.ravel([x])):
            with pytest.raises(cg.AutogradError, match="detach"):
                call([x]) if call is not np.asarray else call(x)
        for call in (memoryview, np.from_dlpack, torch.from_dlpack):
            with pytest.raises(BufferError, match="detach"):
                call(x)
        np.testing.assert_array_equal(np.asarray(x.detach()), x.numpy())
        with cg.no_grad():
            np.testing.assert_array_equal(np.asarray(x), x.numpy())


class Consumer:
    """What an older or newer library asks of a tensor, through NumPy."""

    def __init__(self, tensor, **options):
        self.tensor, self.options = tensor, options

    def __dlpack__(self, **_):
        return self.tensor.__dlpack__(**self.options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


@pytest.mark.parametrize("dtype", DTYPES)
def test_dlpack_serves_old_and_new_consumers(dtype):
    array = np.array([[0, 1], [1, 1], [0, 0]], dtype.name).T
    x = cg.from_numpy(array)
    for options, shares in [
        ({}, False),
        ({"max_version": (0, 8)}, False),
        ({"max_version": (1, 0)}, True),
        ({"max_version": (1, 0), "copy": False}, True),
        ({"max_version": (1, 0), "copy": True}, False),
        ({"copy": True}, False),
        ({"max_version": (1, 1), "dl_device": (1, 0), "stream": None}, True),
    ]:
        got = np.from_dlpack(Consumer(x, **options))
        np.testing.assert_array_equal(got, array)
        assert np.shares_memory(got, array) == shares, options
    for options in ({"copy": False}, {"dl_device": (2, 0)}, {"stream": 1}):
        with pytest.raises(BufferError):
            x.__dlpack__(**options)
    np.testing.assert_array_equal(torch.from_dlpack(x).numpy(), array)
    np.testing.assert_array_equal(np.from_dlpack(x), array)


def test_dlpack_brings_bfloat16_to_pytorch_and_back():
    x = cg.tensor([[1.5, -2.0], [0.25, 3.0]], cg.bfloat16).transpose(0, 1).realize()
    old = torch.utils.dlpack.from_dlpack(x.__dlpack__())
    old[0, 0] = 7
    there = torch.from_dlpack(x)
    assert there.dtype == torch.bfloat16
    assert there.tolist() == [[1.5, 0.25], [-2, 3]]
    back = cg.from_dlpack(there)
    assert (back.dtype, back.tolist()) == (cg.bfloat16, there.tolist())
    shared, own = cg.from_dlpack(there), cg.tensor(there)
    there[0, 0] = 9  # PyTorch does not know of read-only memory
    assert (own.tolist()[0][0], shared.tolist()[0][0]) == (1.5, 9)
    assert cg.from_dlpack(there, copy=True).tolist() == there.tolist()
    assert old.tolist() == [[7, 0.25], [-2, 3]]


def test_a_pending_tensor_is_shown_without_computing_it():
    x = cg.arange(3) * 2
    before = cg.session_stats()["realizations"]
    assert repr(x) == "tensor(<pending>, shape=(3,), dtype=int64)"
    assert f"{[x]}" == "[tensor(<pending>, shape=(3,), dtype=int64)]"
    assert cg.session_stats()["realizations"] == before
    assert str(x) == "tensor([0, 2, 4], dtype=int64)"
    assert repr(x) == str(x)
    assert f"{x}" == str(x)
    assert f"{cg.tensor(1.25):.1f}" == "1.2"
    w = cg.tensor([1.0], requires_grad=True)
    assert repr(w) == "tensor([1.], dtype=float32, requires_grad=True)"


def test_large_tensors_are_summarised():
    text = str(cg.zeros((200, 200)))
    assert "..." in text
    assert len(text) < 500


def test_what_a_tensor_says_of_itself():
    x = cg.zeros((2, 3, 4), dtype=cg.int16)
    assert (x.ndim, x.size, x.itemsize, x.nbytes, x.device) == (3, 24, 2, 48, "cpu")
    assert x.to_device("cpu") is x
    with pytest.raises(ValueError, match="to_device"):
        x.to_device("cuda")
    assert x.astype(cg.int16, copy=False) is x
    assert x.astype(cg.int16) is not x
