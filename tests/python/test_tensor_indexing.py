"""Orders, scatters and parts of floats of tensors, in all dtypes and odd shapes, against PyTorch."""

import numpy as np
import pytest
import torch

import coregrad as cg

NAN, INF = float("nan"), float("inf")
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32]


def ours(value):
    return cg.from_dlpack(value) if isinstance(value, torch.Tensor) else value


def theirs(value):
    return torch.from_dlpack(value.realize())


def agrees(name, *args, positions=True, rtol=0, **options):
    """One function, or method, of both libraries gives the same dtypes, shapes and values."""
    function = getattr(cg, name)
    got = function(*map(ours, args), **{k: ours(v) for k, v in options.items()})
    library = torch if hasattr(torch, name) else torch.Tensor
    want = getattr(library, name)(*args, **options)
    pairs = [(got, want)] if isinstance(want, torch.Tensor) else list(zip(got, want, strict=True))
    for got_one, want_one in pairs if positions else pairs[:1]:
        result = theirs(got_one)
        assert result.dtype == want_one.dtype
        torch.testing.assert_close(result, want_one, rtol=rtol, atol=0, equal_nan=True)


def distinct(dtype, *shape):
    count = int(np.prod(shape))
    generator = torch.Generator().manual_seed(count)
    return (torch.randperm(count, generator=generator) - count // 2).reshape(shape).to(dtype)


def tied(dtype, *shape):
    return torch.from_numpy(np.random.default_rng(2).integers(0, 3, shape)).to(dtype)


def index(high, *shape):
    return torch.from_numpy(np.random.default_rng(high).integers(0, high, shape))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_orders_are_pytorchs(dtype):
    x = distinct(dtype, 4, 5, 6)
    for dim in (0, 1, -1):
        for name in ("median", "nanmedian", "mode"):
            agrees(name, x, dim)
            agrees(name, x, dim, True)
        agrees("kthvalue", x, 2, dim)
        agrees("cummax", tied(dtype, 4, 5, 6), dim)
        agrees("cummin", tied(dtype, 4, 5, 6), dim)
        agrees("mode", tied(dtype, 4, 7, 5), dim, positions=False)
    agrees("median", x)
    agrees("nanmedian", x)
    scalar = torch.tensor(3).to(dtype)
    for name in ("median", "mode", "cummax"):
        agrees(name, scalar, 0)
    agrees("kthvalue", scalar, 1)
    agrees("median", scalar)


def test_the_order_of_nan_and_of_nothing_is_pytorchs():
    x = torch.tensor([[1.0, NAN, 3, 2], [NAN, NAN, NAN, NAN], [INF, -INF, 0, NAN], [1, 2, 3, 4]])
    for name in ("median", "nanmedian"):
        for dim in (0, 1):
            agrees(name, x, dim, positions=False)
        agrees(name, x)
        agrees(name, torch.zeros(0))
    agrees("kthvalue", x, 4, 1, positions=False)
    for name in ("cummax", "cummin"):
        agrees(name, x, 1)
        agrees(name, x[:0], 1)
    for name in ("median", "nanmedian", "mode"):
        agrees(name, torch.zeros(0, 3), 1)
        with pytest.raises(cg.ShapeError, match=f"{name}: the dimension must have elements"):
            getattr(cg, name)(cg.zeros((0, 3)), 0)
    agrees("mode", torch.tensor([True, False, True]), 0)
    agrees("cummax", torch.tensor([False, True, False]), 0)
    with pytest.raises(cg.IndexError, match=r"kthvalue: k must lie in \[1, 3\]: got 4"):
        cg.zeros((2, 3)).kthvalue(4)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scatters_are_pytorchs(dtype):
    x, wide = distinct(dtype, 3, 5), index(5, 3, 9)
    for reduce in ("sum", "prod", "mean", "amax", "amin"):
        for include_self in (True, False):
            values = tied(dtype, 3, 11) + 1
            agrees("scatter_reduce", x, 1, wide, values, reduce, include_self=include_self)
            if reduce != "sum":
                agrees("index_reduce", x, 1, index(5, 9), values[:, :9], reduce,
                       include_self=include_self)  # fmt: skip
    agrees("scatter_add", x, 1, wide, tied(dtype, 3, 9))
    agrees("scatter", x, 0, torch.tensor([[2, 0, 1, 1]]), tied(dtype, 2, 4))
    agrees("scatter", x, 0, torch.tensor([[2, 0, 1, 1]]), 2)
    agrees("index_add", x, 1, index(5, 9), tied(dtype, 3, 9), alpha=2)
    agrees("index_copy", x, 1, torch.tensor([4, 0]), tied(dtype, 3, 2))
    agrees("put", x, torch.tensor([[3, -1]]), tied(dtype, 2))
    agrees("put", x, torch.tensor([3, -1, 3]), tied(dtype, 3), True)
    agrees("masked_scatter", x, x > 0, tied(dtype, 20))
    agrees("masked_scatter", x, x[0] > 0, tied(dtype, 4, 4))
    agrees("nonzero_static", x, size=4)
    agrees("nonzero_static", tied(dtype, 2, 3, 2), size=20, fill_value=7)
    scalar = torch.tensor(3).to(dtype)
    agrees("scatter", scalar, 0, torch.tensor([0]), tied(dtype, 1))
    agrees("index_add", scalar, 0, torch.tensor([0]), scalar)
    for name in ("scatter", "scatter_add"):
        agrees(name, x, 1, wide[:, :0], tied(dtype, 3, 0))


def test_scatters_refuse_what_does_not_fit():
    x, at = cg.ones((3, 4)), cg.zeros((3, 2), cg.int64)
    with pytest.raises(cg.ShapeError, match="scatter_add: the source must reach as far"):
        x.scatter_add(1, at, cg.ones((3, 1)))
    with pytest.raises(cg.ValueError, match=r"scatter_reduce: reduce must be .*: got 'median'"):
        x.scatter_reduce(1, at, x, "median")
    with pytest.raises(cg.DTypeError, match="bool has no mean"):
        (x > 0).scatter_reduce(1, at, x > 0, "mean")
    with pytest.raises(cg.ShapeError, match=r"index_copy: the source must be \[2,4\]"):
        x.index_copy(0, at[0], x)
    with pytest.raises(cg.DTypeError, match="scatter: the index must be int64"):
        x.scatter(0, x, x)
    with pytest.raises(cg.ShapeError, match="put: there must be an element for each index"):
        x.put(at, cg.ones((3,)))
    with pytest.raises(cg.DTypeError, match="masked_scatter: the mask must be bool"):
        x.masked_scatter(at, x)
    with pytest.raises(cg.IndexError):
        x.masked_scatter(x > 0, cg.ones((5,))).realize()
    with pytest.raises(cg.IndexError):
        x.scatter(1, at + 4, x).realize()


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
def test_parts_are_reduced_as_in_pytorch(dtype):
    x, lengths = tied(dtype, 6, 3) + 1, torch.tensor([2, 0, 4])
    for reduce in ("sum", "mean", "prod", "max", "min"):
        if dtype not in (torch.float16,):
            agrees("segment_reduce", x, reduce, lengths=lengths)
            agrees("segment_reduce", x, reduce, lengths=lengths, initial=2)
            offsets = torch.tensor([[0, 1, 3]] * 6)
            agrees("segment_reduce", x, reduce, offsets=offsets, axis=1)
    t = ours(x)
    with pytest.raises(cg.ValueError, match="either lengths or offsets"):
        t.segment_reduce("sum")
    with pytest.raises(cg.DTypeError, match="floating"):
        cg.tensor([1, 2]).segment_reduce("sum", cg.tensor([2]))
    with pytest.raises(cg.ValueError, match="got 'all'"):
        t.segment_reduce("all", ours(lengths))
    with pytest.raises(cg.ShapeError, match="lengths must have the dimensions before axis 1"):
        t.segment_reduce("sum", ours(lengths), axis=1)


EDGES = [0.0, -0.0, 1.0, -1.0, 0.5, 2.0, 3.0, 1e-40, -5e-324, 1e30, 65504.0, INF, -INF, NAN, 1e308]


@pytest.mark.parametrize("dtype", DTYPES[:4], ids=str)
def test_parts_and_neighbours_of_floats_are_pytorchs(dtype):
    x = torch.tensor(EDGES, dtype=torch.float64).to(dtype)
    finite = x[x.isfinite()]
    agrees("frexp", finite)
    got = ours(x).frexp()
    special = ~x.isfinite()
    torch.testing.assert_close(theirs(got[0])[special], x[special], equal_nan=True)
    if dtype == torch.float16:  # PyTorch has no kernel: the neighbours' bits are one apart
        got = theirs(cg.nextafter(ours(finite), ours(torch.tensor(INF, dtype=dtype))))
        bits = finite.view(torch.int16).int()
        up = torch.where(finite == 0, 1, torch.where(finite > 0, bits + 1, bits - 1))
        assert torch.equal(got.view(torch.int16), up.to(torch.int16))
        return
    agrees("nextafter", x[:, None], x[None])
    powers = (2.0 ** torch.arange(-20, 20)).to(dtype)
    for towards in (-INF, INF, 0.0):
        agrees("nextafter", powers, torch.tensor(towards, dtype=dtype))


def test_bits_are_pytorchs():
    x, y = torch.tensor([[5], [-3], [1 << 20]]), torch.tensor([3, 1, 0])
    for dtype in (torch.int64, torch.int32):
        for name in ("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_left_shift",
                     "bitwise_right_shift"):  # fmt: skip
            agrees(name, x.to(dtype), y.to(dtype))
            agrees(name, x.to(dtype), 2)
        agrees("bitwise_not", x.to(dtype))
    truth = torch.tensor([True, False])
    agrees("bitwise_not", truth)
    agrees("bitwise_xor", truth, ~truth)
    for name in ("bitwise_and", "bitwise_left_shift"):
        with pytest.raises(cg.DTypeError, match="operands must be"):
            getattr(cg, name)(cg.ones((2,)), cg.ones((2,)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products_of_three_are_pytorchs(dtype):
    x, y, z = distinct(dtype, 3, 4), tied(dtype, 4), tied(dtype, 3, 1) + 1
    agrees("addcmul", x, y, z, value=3)
    if dtype.is_floating_point:
        agrees("addcdiv", x, y, z, value=2)
        agrees("var_mean", x, 1)
        agrees("std_mean", x, (0, 1), rtol=1e-15)


def test_several_indices_may_be_negative_and_are_checked():
    x = cg.arange(0, 12).reshape((3, 4)).cast(cg.float32)
    rows, columns = cg.tensor([0, -1]), cg.tensor([-4, 3])
    assert x.index_put([rows, columns], cg.tensor([-5.0, -6.0])).tolist() == [
        [-5, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, -6]]  # fmt: skip
    for bad in ([0, 4], [0, -5]):  # would be another row's place
        with pytest.raises(cg.IndexError):
            x.index_put([rows, cg.tensor(bad)], cg.ones((2,))).realize()
    with pytest.raises(cg.IndexError):
        cg.nn.functional.embedding(cg.tensor([-1]), x).realize()


def test_random_numbers_have_their_moments():
    cg.manual_seed(5)
    order = cg.randperm(1000).numpy()
    assert sorted(order) == list(range(1000))
    assert list(order[:5]) != [0, 1, 2, 3, 4]
    assert cg.randperm(0).shape == (0,)
    mean, std = cg.tensor([[-2.0], [3.0]]), cg.full((20000,), 0.5)
    drawn = cg.normal(mean, std)
    assert drawn.dtype == cg.float32
    np.testing.assert_allclose(drawn.numpy().mean(1), [-2, 3], atol=0.02)
    np.testing.assert_allclose(drawn.numpy().std(1), 0.5, atol=0.02)
    share = cg.bernoulli(cg.broadcast_to(cg.tensor([[0.0], [0.25], [1.0]]), (3, 20000)))
    np.testing.assert_allclose(share.numpy().mean(1), [0, 0.25, 1], atol=0.02)
    weights = cg.tensor([[0.0, 1, 3, 0], [2, 0, 0, 2]])
    drawn = cg.multinomial(weights, 20000, True).numpy()
    np.testing.assert_allclose(
        np.bincount(drawn[0], minlength=4) / 20000, [0, 0.25, 0.75, 0], atol=0.02
    )
    np.testing.assert_allclose(
        np.bincount(drawn[1], minlength=4) / 20000, [0.5, 0, 0, 0.5], atol=0.02
    )
    assert sorted(cg.multinomial(weights[0], 2).tolist()) == [1, 2]
    with pytest.raises(cg.IndexError):
        cg.multinomial(cg.tensor([1.0, -1]), 1).realize()
    with pytest.raises(cg.ValueError, match="without replacement"):
        cg.multinomial(weights, 5)
    assert not cg.bernoulli(cg.tensor([0.5])).requires_grad
