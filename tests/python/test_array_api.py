"""The array API standard: what a tensor's namespace has, against NumPy's, which has the standard."""

import numpy as np
import pytest

import coregrad as cg
from coregrad import array_api

NAMES = """
e inf nan newaxis pi
arange asarray empty empty_like eye from_dlpack full full_like linspace meshgrid ones ones_like tril triu
zeros zeros_like
bool int8 int16 int32 int64 uint8 uint16 uint32 float32 float64
astype can_cast finfo iinfo isdtype result_type
abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert bitwise_or
bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1 floor
floor_divide greater greater_equal hypot imag isfinite isinf isnan less less_equal log log1p log2 log10
logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply negative nextafter
not_equal positive pow real reciprocal remainder round sign signbit sin sinh square sqrt subtract tan
tanh trunc
take take_along_axis
__array_namespace_info__ __array_api_version__
matmul matrix_transpose tensordot vecdot
broadcast_arrays broadcast_to concat expand_dims flip moveaxis permute_dims repeat reshape roll squeeze
stack tile unstack
argmax argmin count_nonzero nonzero searchsorted where
unique_all unique_counts unique_inverse unique_values
argsort sort
cumulative_prod cumulative_sum max mean min prod std sum var
all any diff
""".split()  # noqa: SIM905

METHODS = """
__abs__ __add__ __and__ __array_namespace__ __bool__ __complex__ __dlpack__ __dlpack_device__ __eq__
__float__ __floordiv__ __ge__ __getitem__ __gt__ __index__ __int__ __invert__ __le__ __lshift__ __lt__
__matmul__ __mod__ __mul__ __ne__ __neg__ __or__ __pos__ __pow__ __rshift__ __setitem__ __sub__
__truediv__ __xor__ to_device dtype device mT ndim shape size T
""".split()  # noqa: SIM905

A = np.random.default_rng(3).standard_normal((2, 3, 4)).astype(np.float32)
B = np.random.default_rng(4).standard_normal((4, 3)).astype(np.float32)
N = np.array([[3, 1, 2], [1, 3, 3]])
V = np.array([4, 1, 7, 1])
MASK = A > 0


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_the_standard_is_there(name):
    assert hasattr(array_api, name)
    assert hasattr(cg, name)


def test_tensors_have_the_standards_methods():
    for name in METHODS:
        assert hasattr(cg.Tensor, name), name
    for name in METHODS:
        reflected = name.replace("__", "__r", 1)
        if name[2:-2] in ("add", "and", "floordiv", "lshift", "matmul", "mod", "mul", "or", "pow",
                          "rshift", "sub", "truediv", "xor"):  # fmt: skip
            assert hasattr(cg.Tensor, reflected), reflected
            assert hasattr(cg.Tensor, name.replace("__", "__i", 1)), name


def test_a_tensor_names_its_namespace():
    x = cg.ones(2)
    assert x.__array_namespace__() is array_api
    assert x.__array_namespace__(api_version="2024.12") is array_api
    with pytest.raises(ValueError, match=r"no version '1999\.12'"):
        x.__array_namespace__(api_version="1999.12")
    info = array_api.__array_namespace_info__()
    assert info.dtypes(kind="real floating") == {"float32": cg.float32, "float64": cg.float64}
    assert list(info.dtypes(kind=("bool", "unsigned integer"))) == [
        "bool",
        "uint8",
        "uint16",
        "uint32",
    ]
    assert info.default_dtypes()["integral"] == cg.arange(2).dtype
    assert info.capabilities()["max dimensions"] == 64
    assert cg.zeros([1] * 64).ndim == 64
    with pytest.raises(cg.CoreGradError):
        cg.zeros([1] * 65)


CASES = {
    "astype": lambda xp, a, b, n, v, m: xp.astype(a, xp.int32),
    "broadcast_arrays": lambda xp, a, b, n, v, m: xp.broadcast_arrays(a, b[:, 0]),
    "broadcast_to": lambda xp, a, b, n, v, m: xp.broadcast_to(v, (2, 4)),
    "clip": lambda xp, a, b, n, v, m: xp.clip(a, -0.5, 0.5),
    "clip of one bound": lambda xp, a, b, n, v, m: [xp.clip(n, 2, None), xp.clip(n, None, 2)],
    "concat": lambda xp, a, b, n, v, m: xp.concat([a, a], axis=1),
    "concat of rows": lambda xp, a, b, n, v, m: xp.concat((a, b), axis=None),
    "conj": lambda xp, a, b, n, v, m: xp.conj(a),
    "real": lambda xp, a, b, n, v, m: xp.real(a),
    "imag": lambda xp, a, b, n, v, m: xp.imag(a),
    "count_nonzero": lambda xp, a, b, n, v, m: [
        xp.count_nonzero(m), xp.count_nonzero(m, axis=(0, 1), keepdims=True),
    ],
    "cumulative_sum": lambda xp, a, b, n, v, m: [
        xp.cumulative_sum(a, axis=1), xp.cumulative_sum(v, include_initial=True),
        xp.cumulative_sum(n, axis=1, dtype=xp.float64),
    ],
    "cumulative_prod": lambda xp, a, b, n, v, m: [
        xp.cumulative_prod(a, axis=-1, include_initial=True), xp.cumulative_prod(v),
    ],
    "diff": lambda xp, a, b, n, v, m: [
        xp.diff(a), xp.diff(a, axis=0), xp.diff(v, n=2), xp.diff(m, axis=1), xp.diff(v, n=0),
        xp.diff(v, n=9), xp.diff(v, prepend=v[:1], append=v[-2:]),
    ],
    "divide": lambda xp, a, b, n, v, m: xp.divide(a, 2.0),
    "expand_dims": lambda xp, a, b, n, v, m: [xp.expand_dims(a, axis=1), xp.expand_dims(v, axis=-1)],
    "flip": lambda xp, a, b, n, v, m: [xp.flip(a), xp.flip(a, axis=1), xp.flip(a, axis=(0, -1))],
    "matmul": lambda xp, a, b, n, v, m: xp.matmul(a, b),
    "matrix_transpose": lambda xp, a, b, n, v, m: xp.matrix_transpose(a),
    "meshgrid": lambda xp, a, b, n, v, m: [
        *xp.meshgrid(v, n[0]), *xp.meshgrid(v, n[0], v[:2], indexing="ij"), *xp.meshgrid(v),
    ],
    "moveaxis": lambda xp, a, b, n, v, m: [
        xp.moveaxis(a, 0, -1), xp.moveaxis(a, (0, 1), (2, 0)), xp.moveaxis(a, [-1], [0]),
    ],
    "nonzero": lambda xp, a, b, n, v, m: [*xp.nonzero(m), *xp.nonzero(v - 1)],
    "permute_dims": lambda xp, a, b, n, v, m: xp.permute_dims(a, axes=(2, 0, 1)),
    "repeat": lambda xp, a, b, n, v, m: [
        xp.repeat(a, 2), xp.repeat(a, 2, axis=1), xp.repeat(n, v[:3], axis=1), xp.repeat(v, v),
    ],
    "roll": lambda xp, a, b, n, v, m: [
        xp.roll(a, 5), xp.roll(a, 1, axis=1), xp.roll(a, shift=(1, -1), axis=(0, 2)),
        xp.roll(a, 1, axis=(0, 1)),
    ],
    "searchsorted": lambda xp, a, b, n, v, m: [
        xp.searchsorted(xp.sort(v), n), xp.searchsorted(xp.sort(v), n, side="right"),
        xp.searchsorted(v, n, sorter=xp.argsort(v)),
    ],
    "sign": lambda xp, a, b, n, v, m: [xp.sign(a / (a * (a > 0))), xp.sign(n - 2)],
    "sort": lambda xp, a, b, n, v, m: [xp.sort(a), xp.sort(a, axis=0), xp.sort(n, stable=True)],
    "argsort": lambda xp, a, b, n, v, m: [xp.argsort(a), xp.argsort(v, stable=True)],
    "squeeze": lambda xp, a, b, n, v, m: xp.squeeze(a[:1, :, :1], axis=(0, 2)),
    "stack": lambda xp, a, b, n, v, m: xp.stack([v, v + 1], axis=-1),
    "std": lambda xp, a, b, n, v, m: [
        xp.std(a), xp.std(a, axis=1), xp.std(a, axis=(0, 2), correction=1.0, keepdims=True),
    ],
    "var": lambda xp, a, b, n, v, m: [xp.var(a), xp.var(a, axis=0, correction=1)],
    "take": lambda xp, a, b, n, v, m: [
        xp.take(a, n[0] - 1, axis=1), xp.take(v, n), xp.take(a, n - 4, axis=-1), xp.take(a, n),
    ],
    "take_along_axis": lambda xp, a, b, n, v, m: [
        xp.take_along_axis(a, xp.argsort(a)), xp.take_along_axis(n, n[:, :1] - 4, axis=1),
    ],
    "tensordot": lambda xp, a, b, n, v, m: [
        xp.tensordot(a, b, axes=1), xp.tensordot(a, b, axes=([2, 1], [0, 1])),
        xp.tensordot(b, b), xp.tensordot(n, v, axes=0),
    ],
    "tile": lambda xp, a, b, n, v, m: [xp.tile(a, (2,)), xp.tile(v, (2, 3))],
    "tril": lambda xp, a, b, n, v, m: [xp.tril(a), xp.triu(a, k=1)],
    "unique_all": lambda xp, a, b, n, v, m: [*xp.unique_all(n), *xp.unique_all(m)],
    "unique": lambda xp, a, b, n, v, m: [
        xp.sort(xp.unique_values(v)), *xp.unique_counts(v), *xp.unique_inverse(n),
    ],
    "unstack": lambda xp, a, b, n, v, m: [*xp.unstack(a), *xp.unstack(a, axis=-1)],
    "vecdot": lambda xp, a, b, n, v, m: [xp.vecdot(a, b[:, 0]), xp.vecdot(a, a, axis=1)],
    "where": lambda xp, a, b, n, v, m: xp.where(m, a, xp.zeros_like(a)),
    "others": lambda xp, a, b, n, v, m: [
        xp.negative(a), xp.positive(n), xp.multiply(a, 2), xp.subtract(n, v[:3]),
        xp.bitwise_invert(n), xp.pow(n, 2), xp.full_like(n, 5), xp.isnan(a), xp.max(a, axis=1),
        xp.argmax(a, axis=1, keepdims=True), xp.all(m, axis=0), xp.sum(a, axis=(0, 1)),
        xp.mean(a, axis=-1, keepdims=True), xp.prod(n), xp.eye(2, 3, k=1, dtype=xp.int64),
        xp.linspace(0, 1, num=4, endpoint=False, dtype=xp.float64), xp.reshape(a, (4, 6)),
        xp.floor_divide(n, 2), xp.remainder(n, 2), xp.asarray(n, dtype=xp.float64, copy=True),
        xp.arange(1, 7, 2), xp.full((2,), 3), xp.zeros(2, dtype=xp.bool), xp.expm1(a),
    ],
}  # fmt: skip


def listed(results):
    return list(results) if isinstance(results, list | tuple) else [results]


@pytest.mark.parametrize("name", CASES)
def test_functions_of_the_standard_are_numpys(name):
    function = CASES[name]
    operands = (A, B, N, V, MASK)
    with np.errstate(all="ignore"):
        want = listed(function(np, *operands))
    got = listed(function(array_api, *map(cg.tensor, operands)))
    assert len(got) == len(want)
    for ours, numpys in zip(got, want, strict=True):
        assert isinstance(ours, cg.Tensor)
        assert ours.shape == numpys.shape
        assert ours.dtype.name == numpys.dtype.name
        np.testing.assert_allclose(ours.numpy(), numpys, rtol=1e-5, atol=1e-5)


def test_functions_refuse_what_they_cannot_take():
    x = cg.ones(2, 3)
    for call, error in [
        (lambda: cg.moveaxis(x, (0, 1), (0,)), ValueError),
        (lambda: cg.moveaxis(x, (0, 1), (1, 1)), ValueError),
        (lambda: cg.moveaxis(x, 2, 0), IndexError),
        (lambda: cg.broadcast_arrays(x, cg.ones(2)), cg.ShapeError),
        (lambda: cg.meshgrid(x), cg.ShapeError),
        (lambda: cg.meshgrid(cg.ones(2), indexing="yx"), ValueError),
        (lambda: cg.repeat(x, [1, 2, 3], axis=0), cg.ShapeError),
        (lambda: cg.take(x, cg.tensor([3]), axis=1).numpy(), IndexError),
        (lambda: cg.take(x, [3], axis=1), IndexError),
        (lambda: cg.nonzero(cg.ones(())), cg.ShapeError),
        (lambda: cg.vecdot(x, cg.ones(2)), cg.ShapeError),
        (lambda: cg.tensordot(x, x, axes=1), cg.ShapeError),
        (lambda: cg.cumulative_sum(x), ValueError),
        (lambda: cg.diff(x, n=-1), ValueError),
        (lambda: cg.finfo(cg.int8), cg.DTypeError),
        (lambda: cg.iinfo(cg.float32), cg.DTypeError),
        (lambda: cg.isdtype(cg.int8, "whole"), TypeError),
        (lambda: cg.result_type(), ValueError),
        (lambda: array_api.searchsorted(x[0], x, side="middle"), ValueError),
    ]:
        with pytest.raises(error):
            call()


def test_nothing_is_clipped_without_bounds():
    assert cg.clip(cg.arange(3)).tolist() == [0, 1, 2]
    assert np.clip(cg.arange(3), 1, 5).tolist() == [1, 1, 2]


def test_limits_of_dtypes():
    for name in ("float16", "float32", "float64"):
        ours, numpys = cg.finfo(name), np.finfo(name)
        for what in ("bits", "eps", "max", "min", "smallest_normal"):
            assert getattr(ours, what) == getattr(numpys, what)
        assert ours.dtype.name == name
    for name in ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"):
        ours, numpys = cg.iinfo(cg.zeros(1, dtype=name)), np.iinfo(name)
        assert (ours.bits, ours.max, ours.min) == (numpys.bits, numpys.max, numpys.min)
    narrow = cg.finfo(cg.bfloat16)
    assert cg.full((1,), narrow.max, cg.bfloat16).bits().tolist() == [0x7F7F]
    assert cg.full((1,), narrow.smallest_normal, cg.bfloat16).bits().tolist() == [0x0080]
    one = cg.full((1,), 1 + narrow.eps, cg.bfloat16)
    assert one.bits().tolist() == [0x3F81]


def test_result_types_are_what_operations_give():
    tensors = [cg.ones(2, dtype=d) for d in cg.DType] + [cg.ones((), dtype=d) for d in cg.DType]
    for x in tensors:
        for y in [*tensors, True, 2, 0.5]:
            assert cg.result_type(x, y) == (x * y).dtype, (x.dtype, y)
            assert cg.result_type(y, x) == (y * x).dtype
    assert cg.result_type(cg.int8, "uint8", np.float32) == cg.float32


def test_casts_that_keep_the_kind():
    for a in cg.DType:
        for b in cg.DType:
            if cg.bfloat16 not in (a, b) and cg.float16 not in (a, b):
                assert cg.can_cast(a, b) == np.can_cast(a.name, b.name) or {a.name, b.name} & {
                    "float32", "float64",
                }  # fmt: skip
    assert cg.can_cast(cg.ones(1), float)
    assert not cg.can_cast(cg.float64, cg.float32)


def test_kinds_of_dtypes():
    kinds = ["bool", "signed integer", "unsigned integer", "integral", "real floating", "numeric",
             "complex floating"]  # fmt: skip
    for dtype in cg.DType:
        if dtype != cg.bfloat16:
            for kind in kinds:
                assert cg.isdtype(dtype, kind) == np.isdtype(np.dtype(dtype.name), kind)
    assert cg.isdtype(cg.bfloat16, "real floating")
    assert cg.isdtype("float32", np.float32)
    assert cg.isdtype(cg.int8, ("bool", (cg.int8,)))


def test_gradients_flow_through_compositions():
    x = cg.tensor(B)
    for function, want in [
        (lambda t: cg.take(t, cg.tensor([0, 0, 2]), axis=0).sum(), [[2], [0], [1], [0]] + 0 * B),
        (lambda t: cg.diff(t, axis=0).sum(), np.array([-1, 0, 0, 1])[:, None] + 0 * B),
        (lambda t: cg.tensordot(t, t).sum(), 2 * B),
        (lambda t: cg.vecdot(t, t).sum(), 2 * B),
        (lambda t: cg.moveaxis(t, 0, 1)[1].sum(), np.array([0, 1, 0]) + 0 * B),
        (lambda t: cg.unique_values(t).sum(), np.ones_like(B)),
        (lambda t: cg.repeat(t, 3, axis=0).sum(), 3 + 0 * B),
    ]:  # fmt: skip
        np.testing.assert_allclose(cg.grad(function)(x).numpy(), want, rtol=1e-6)
