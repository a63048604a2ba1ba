"""coregrad.nn.functional and the newer tensor operations against PyTorch.

One row a case: a function's name, which both libraries share, its tensors and its options. Each is
compared forward and in the gradient of every floating operand, in float64 and float32, with PyTorch
in float64 as the reference.
"""

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from functional_cases import CASES, Case, chance, normal, positive, whole

import coregrad as cg
from coregrad.nn import functional

# The one table of tolerances: by dtype, relative to the largest magnitude of the reference.
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-11}


def is_floating(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.float64


def convert(value: Any, make: Callable[[np.ndarray], Any], dtype: type) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return make(value.astype(dtype) if is_floating(value) else value)


def run_ours(case: Case, dtype: type) -> list[np.ndarray]:
    """The result and the gradients of the result's weighted sum for each floating operand."""
    function = case.ours or getattr(functional, case.name)
    operands = [convert(o, cg.tensor, dtype) for o in case.operands]
    options = {k: convert(v, cg.tensor, dtype) for k, v in case.options.items()}
    chosen = [i for i, o in enumerate(case.operands) if is_floating(o)]
    result = function(*operands, **options)
    weights = normal(*result.shape).astype(dtype) if result.shape else np.ones((), dtype)

    def total(*values):
        full = list(operands)
        for i, value in zip(chosen, values, strict=True):
            full[i] = value
        return (function(*full, **options) * cg.tensor(weights)).sum()

    gradients = cg.grad(total, list(range(len(chosen))))(*(operands[i] for i in chosen))
    return [t.numpy() for t in (result, *gradients)]


def run_theirs(case: Case, dtype: type) -> list[np.ndarray]:
    # Rounded as our operands are, then computed in float64.
    def make(array):
        return torch.from_numpy(array.copy()).to(
            torch.float64 if array.dtype == dtype and is_kind_float(array) else None
        )

    def is_kind_float(array):
        return array.dtype.kind == "f"

    function = case.theirs or getattr(torch.nn.functional, case.name)
    operands = [convert(o, make, dtype) for o in case.operands]
    options = {k: convert(v, make, dtype) for k, v in case.options.items()}
    leaves = [operands[i].requires_grad_() for i, o in enumerate(case.operands) if is_floating(o)]
    if case.name == "rms_norm":
        options.setdefault("eps", float(np.finfo(dtype).eps))
    result = function(*operands, **options)
    weights = normal(*result.shape).astype(dtype) if result.shape else np.ones((), dtype)
    total = (result * torch.from_numpy(weights).double()).sum()
    gradients = torch.autograd.grad(total, leaves)
    return [t.detach().numpy() for t in (result, *gradients)]


# PyTorch says that an even kernel with padding "same" makes it copy.
@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda t: t.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients_are_pytorchs(case, dtype):
    ours, theirs = run_ours(case, dtype), run_theirs(case, dtype)
    for number, (got, want) in enumerate(zip(ours, theirs, strict=True)):
        assert got.dtype == dtype
        assert got.shape == want.shape
        bound = TOLERANCE[dtype] * max(1.0, np.abs(want).max(initial=0))
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=f"result {number}")


def test_every_function_of_the_module_is_compared():
    named = {case.name for case in CASES}
    elsewhere = {"one_hot"}  # no gradient; below
    functions = {n: f for n, f in vars(functional).items() if not n.startswith("_")}
    assert set(functions) - named == elsewhere
    assert all(function.__doc__ for function in functions.values())


def test_equal_extremes_of_a_part_share_its_slope():
    # PyTorch divides slopes above 0 only.
    x = cg.tensor([[1.0], [1], [0], [2], [3], [3]])
    lengths = cg.tensor([2, 0, 1, 3])
    _, slope = cg.value_and_grad(
        lambda x: (-1.0 * cg.segment_reduce(x, "max", lengths, initial=0.0)).sum()
    )(x)
    assert slope.tolist() == [[-0.5], [-0.5], [-0.5], [0], [-0.5], [-0.5]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_slope_of_binary_cross_entropy_ends_where_pytorchs_does(dtype):
    tiny = 1e-13
    x = np.array([0, 0, 1, 1, tiny, tiny, 0.5, 1 - 2**-24, 0, 0.25], dtype)
    target = np.array([0, 1, 0, 1, 1, 0, 1, 0, 0.5, 0.25], dtype)
    value, slope = cg.value_and_grad(
        lambda x: functional.binary_cross_entropy(x, cg.tensor(target), reduction="sum")
    )(cg.tensor(x))
    leaf = torch.tensor(x, requires_grad=True)
    wanted = torch.nn.functional.binary_cross_entropy(leaf, torch.tensor(target), reduction="sum")
    wanted.backward()
    np.testing.assert_allclose(value.tolist(), wanted.item(), rtol=1e-6)
    np.testing.assert_allclose(slope.tolist(), leaf.grad.tolist(), rtol=1e-6, atol=1e-6)


def test_positions_and_counts_are_pytorchs():
    x = normal(3, 4)
    ours, theirs = cg.tensor(x), torch.from_numpy(x)
    for name in ("argmax", "argmin"):
        for options in ({}, {"dim": 1}, {"dim": -2, "keepdim": True}, {"keepdim": True}):
            got, want = getattr(cg, name)(ours, **options), getattr(torch, name)(theirs, **options)
            assert got.tolist() == want.tolist()
            assert got.dtype == cg.int64
    assert cg.any(ours > 9).item() is False
    assert cg.all(cg.zeros((0,)), 0).item() is True
    assert ours.count_nonzero(0).tolist() == theirs.count_nonzero(0).tolist()


def test_dtypes_are_asked_for_and_promoted_as_in_pytorch():
    whole_numbers = cg.tensor([[1, 2], [3, 4]], dtype=cg.int32)
    assert cg.sum(whole_numbers).dtype == cg.int64
    assert cg.sum(whole_numbers, 0, dtype=cg.float64).dtype == cg.float64
    assert cg.mean(whole_numbers, dtype=cg.float32).item() == 2.5
    assert functional.softmax(whole_numbers, 0).dtype == cg.float32
    assert functional.softmax(whole_numbers, 0, dtype=cg.float64).dtype == cg.float64
    with pytest.raises(cg.DTypeError, match="mean"):
        cg.mean(whole_numbers)
    with pytest.raises(cg.ValueError, match="reduction must be"):
        functional.mse_loss(cg.ones((2,)), cg.ones((2,)), reduction="median")
    with pytest.raises(cg.ShapeError, match="mse_loss: input and target"):
        functional.mse_loss(cg.ones((2,)), cg.ones((2, 1)))


def test_one_hot_and_pool_positions_are_pytorchs():
    index = whole(5, 2, 3)
    expected = torch.nn.functional.one_hot(torch.from_numpy(index), 6)
    np.testing.assert_array_equal(functional.one_hot(cg.tensor(index), 6).numpy(), expected)
    x = normal(2, 3, 8, 9)
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "return_indices": True}
    ours = functional.max_pool2d(cg.tensor(x), **options)
    theirs = torch.nn.functional.max_pool2d(torch.from_numpy(x), **options)
    for got, want in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(got.numpy(), want)


def test_tests_for_special_values_are_pytorchs():
    x = np.array([0.0, -1.0, np.nan, np.inf, -np.inf])
    for name in ("isnan", "isinf", "isfinite"):
        expected = getattr(torch, name)(torch.from_numpy(x))
        np.testing.assert_array_equal(getattr(cg, name)(cg.tensor(x)).numpy(), expected)
    assert cg.tensor(x[:2]).count_nonzero().item() == 1


def test_floor_division_is_pytorchs():
    for x, y in (
        (normal(3, 4), positive(4)),
        (whole(9, 3, 4) - 4, whole(5, 4) - 6),
        (normal(5), 0.3),
    ):
        ours = cg.tensor(x) // convert(y, cg.tensor, np.float64)
        theirs = torch.from_numpy(x) // convert(y, torch.from_numpy, np.float64)
        np.testing.assert_array_equal(ours.numpy(), theirs)


def test_batch_norm_updates_running_statistics_as_pytorch_does():
    mean, variance = cg.zeros((3,), cg.float64), cg.ones((3,), cg.float64)
    their_mean, their_variance = torch.zeros(3).double(), torch.ones(3).double()
    for step in range(3):
        x = normal(4, 3, 5 + step)
        functional.batch_norm(cg.tensor(x), mean, variance, training=True, momentum=0.3).realize()
        torch.nn.functional.batch_norm(
            torch.from_numpy(x), their_mean, their_variance, training=True, momentum=0.3
        )
    np.testing.assert_allclose(mean.numpy(), their_mean, rtol=1e-12)
    np.testing.assert_allclose(variance.numpy(), their_variance, rtol=1e-12)


def test_running_statistics_that_nobody_reads_do_not_pile_up():
    mean, variance = cg.zeros((3,)), cg.ones((3,))

    def step():
        x = cg.randn((8, 3))
        before = cg.session_stats()["realizations"]
        functional.batch_norm(x, mean, variance, training=True).sum().item()
        assert mean.is_realized
        assert variance.is_realized
        assert cg.session_stats()["realizations"] == before + 1

    for _ in range(10):
        step()
    gc.collect()
    compiled = cg.session_stats()["plans_compiled"]
    for _ in range(300):
        step()
    stats = cg.session_stats()
    assert stats["plans_compiled"] == compiled
    assert stats["live_data"] < 1000
    assert stats["nodes"] < 5000


def test_dropout_keeps_the_expectation_and_masks_the_gradient_alike():
    cg.manual_seed(3)
    x = cg.ones((200, 200))
    value, slope = cg.value_and_grad(lambda t: functional.dropout(t, 0.25).sum())(x)
    kept = slope.numpy()
    assert set(np.unique(kept)) == {0.0, np.float32(1 / 0.75)}
    assert abs(kept.mean() - 1) < 0.02
    assert value.item() == pytest.approx(kept.sum(), rel=1e-5)
    first, second = (functional.dropout(x).numpy() for _ in range(2))
    assert (first != second).any()
    attention = functional.scaled_dot_product_attention(
        *(cg.ones((4, 8)) for _ in range(3)), dropout_p=0.5
    )
    assert len(np.unique(attention.numpy())) > 1


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_a_query_that_no_key_answers_gets_zeros_and_has_a_finite_slope(heads):
    arrays = [normal(2, 4, 3, 5), normal(2, heads, 6, 5), normal(2, heads, 6, 7)]
    mask = np.zeros((3, 6), np.float32)
    mask[1] = -np.inf
    mask[2, 4:] = -np.inf
    ours = [cg.tensor(a.astype(np.float32)) for a in arrays]

    def loss(*operands):
        out = functional.scaled_dot_product_attention(
            *operands, attn_mask=cg.tensor(mask), enable_gqa=True
        )
        return (out * out).sum()

    value, slopes = cg.value_and_grad(loss, argnums=(0, 1, 2))(*ours)
    q, k, v = (torch.tensor(a, requires_grad=True) for a in arrays)
    answered = [0, 2]  # the softmax of the others is 0 / 0
    scores = q[:, :, answered] @ k.repeat_interleave(4 // heads, 1).mT / 5**0.5
    weights = (scores + torch.tensor(mask[answered])).softmax(-1)
    out = weights @ v.repeat_interleave(4 // heads, 1)
    expected = (out * out).sum()
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    for slope, operand in zip(slopes, (q, k, v)):
        np.testing.assert_allclose(slope.numpy(), operand.grad.numpy(), rtol=1e-4, atol=1e-5)


BAD = [
    ("conv2d", [normal(4, 7), normal(6, 4, 3, 3)], {}, cg.ShapeError, "conv2d: the input"),
    ("conv2d", [normal(2, 4, 7, 7), normal(6, 4, 3)], {}, cg.ShapeError, "conv2d: the weight"),
    ("conv2d", [normal(2, 4, 7, 7), normal(6, 3, 3, 3)], {}, cg.ShapeError, r"O,C/groups"),
    ("conv2d", [normal(2, 4, 7, 7), normal(6, 4, 3, 3), normal(5)], {}, cg.ShapeError, "bias"),
    ("conv2d", [normal(1, 4, 7, 7), normal(6, 4, 3, 3)], {"stride": 0}, cg.ValueError, "stride"),
    ("conv2d", [normal(1, 4, 7, 7), normal(6, 4, 3, 3)], {"stride": (1, 1, 1)}, cg.ValueError, "3"),
    ("conv2d", [normal(1, 4, 7, 7), normal(6, 4, 3, 3)], {"padding": "all"}, cg.ValueError, "all"),
    ("conv2d", [normal(1, 4, 7, 7), normal(6, 4, 3, 3)], {"padding": "same", "stride": 2},
     cg.ValueError, "stride 1"),
    ("conv_transpose1d", [normal(1, 4, 7), normal(3, 4, 3)], {}, cg.ShapeError, r"C,O/groups"),
    ("max_pool2d", [normal(4, 4)], {"kernel_size": 2}, cg.ShapeError, "max_pool2d"),
    ("max_pool1d", [normal(1, 4, 4)], {"kernel_size": 9}, cg.ShapeError, "fit"),
    ("max_pool1d", [normal(1, 4, 4)], {"kernel_size": 2, "padding": 2}, cg.ValueError, "half"),
    ("adaptive_avg_pool1d", [whole(5, 1, 4, 4)], {"output_size": 2}, cg.DTypeError, "floating"),
    ("adaptive_avg_pool2d", [normal(1, 2, 4, 4)], {"output_size": (2, 2, 2)}, cg.ValueError, "3"),
    ("layer_norm", [normal(2, 3)], {"normalized_shape": (4,)}, cg.ShapeError, "layer_norm"),
    ("layer_norm", [whole(5, 2, 3)], {"normalized_shape": 3}, cg.DTypeError, "floating"),
    ("group_norm", [normal(2, 5, 3)], {"num_groups": 2}, cg.ShapeError, "divisible"),
    ("batch_norm", [normal(2, 3), None, None], {}, cg.ValueError, "statistics"),
    ("batch_norm", [normal(2, 3), normal(4), positive(4)], {}, cg.ShapeError, "channel"),
    ("batch_norm", [normal(1, 3), None, None], {"training": True}, cg.ValueError, "more than one"),
    ("dropout", [normal(2, 3)], {"p": 1.5}, cg.ValueError, "dropout"),
    ("embedding", [normal(3), normal(4, 5)], {}, cg.DTypeError, "int64"),
    ("embedding", [whole(3, 2), normal(4)], {}, cg.ShapeError, "embedding"),
    ("embedding", [whole(3, 2), normal(4, 5)], {"padding_idx": 4}, cg.IndexError, "padding index"),
    ("embedding_bag", [whole(3, 9), normal(4, 5)], {}, cg.ShapeError, "vector with offsets"),
    ("embedding_bag", [whole(3, 2, 3), normal(4, 5)], {"mode": "min"}, cg.ValueError, "'min'"),
    ("embedding_bag", [whole(3, 2, 3), normal(4, 5)], {"per_sample_weights": normal(2, 3)},
     cg.ValueError, "mode 'sum'"),
    ("embedding_bag", [whole(3, 2, 3), whole(3, 4, 5)], {}, cg.DTypeError, "floating"),
    ("scaled_dot_product_attention", [normal(4, 5), normal(6, 4), normal(6, 5)], {},
     cg.ShapeError, "inner"),
    ("scaled_dot_product_attention", [normal(4, 5), normal(6, 5), normal(6, 5)],
     {"is_causal": True, "attn_mask": chance(4, 6)}, cg.ValueError, "exclude"),
    ("mse_loss", [normal(4, 3), normal(4, 1)], {}, cg.ShapeError, "one shape"),
    ("mse_loss", [normal(4, 3), normal(4, 3)], {"reduction": "avg"}, cg.ValueError, "reduction"),
    ("cross_entropy", [normal(4, 3), whole(3, 5)], {}, cg.ShapeError, "cross_entropy"),
    ("cross_entropy", [normal(4, 3), normal(4)], {}, cg.DTypeError, "cross_entropy"),
    ("gelu", [normal(4)], {"approximate": "sine"}, cg.ValueError, "sine"),
    ("softmax", [normal(4)], {"dim": 2}, cg.IndexError, "dimension"),
    ("prelu", [normal(2, 3), normal(2)], {}, cg.ShapeError, "per channel"),
    ("grid_sample", [normal(2, 3, 4, 5), normal(2, 3, 3)], {}, cg.ShapeError, "coordinate"),
    ("grid_sample", [normal(2, 3, 4, 5), normal(2, 3, 4, 2)], {"mode": "cubic"},
     cg.ValueError, "'cubic'"),
    ("grid_sample", [normal(2, 3, 4, 5, 6), normal(2, 3, 4, 2, 3)], {"mode": "bicubic"},
     cg.ValueError, "'bicubic'"),
    ("grid_sample", [normal(2, 3, 4, 5), normal(2, 3, 4, 2)], {"padding_mode": "wrap"},
     cg.ValueError, "'wrap'"),
    ("interpolate", [normal(2, 3)], {"size": 3}, cg.ShapeError, "spatial"),
    ("interpolate", [normal(2, 3, 4)], {}, cg.ValueError, "either size or scale_factor"),
    ("interpolate", [normal(2, 3, 4)], {"size": 3, "scale_factor": 2}, cg.ValueError, "either"),
    ("interpolate", [normal(2, 3, 4)], {"size": 3, "mode": "bilinear"}, cg.ValueError, "'linear'"),
    ("interpolate", [normal(2, 3, 4)], {"size": (3, 4)}, cg.ValueError, "size"),
    ("interpolate", [normal(2, 3, 4)], {"size": 3, "align_corners": True}, cg.ValueError, "corners"),
    ("interpolate", [normal(2, 3, 4)], {"size": 3, "antialias": True}, cg.ValueError, "antialias"),
    ("interpolate", [normal(2, 3, 4)], {"scale_factor": 0.1}, cg.ValueError, "at least 1"),
    ("fractional_max_pool2d", [normal(2, 3, 4, 5)], {"kernel_size": 2}, cg.ValueError, "either"),
    ("fractional_max_pool2d", [normal(2, 3, 4, 5)], {"kernel_size": 2, "output_size": 4},
     cg.ShapeError, "windows of 2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "operands", "options", "error", "message"), BAD)
def test_bad_input_raises_the_typed_error_when_the_call_is_made(
    name, operands, options, error, message
):
    tensors = [convert(o, cg.tensor, np.float32) for o in operands]
    options = {k: convert(v, cg.tensor, np.float32) for k, v in options.items()}
    with pytest.raises(error, match=message):
        getattr(functional, name)(*tensors, **options)


def test_indices_must_be_whole_numbers():
    x, index = cg.ones((3, 4)), cg.ones((3, 4))
    for call in (lambda: x.gather(0, index), lambda: x.take_along_dim(index, 0),
                 lambda: x.index_select(0, index[0]), lambda: x.scatter_add(0, index, x)):  # fmt: skip
        with pytest.raises(cg.DTypeError, match="int64"):
            call()


def test_an_index_out_of_range_is_named_when_the_plan_runs():
    rows = functional.embedding(cg.tensor(np.array([0, 7])), cg.randn((4, 2)))
    with pytest.raises(cg.IndexError, match="7"):
        rows.realize()


def test_of_equal_rows_of_a_bag_the_first_gets_the_gradient():
    weight = cg.tensor([[1.0, 5.0], [1.0, 4.0], [0.0, 5.0]])
    index = cg.tensor([[2, 0, 1]])
    _, slope = cg.value_and_grad(lambda w: functional.embedding_bag(index, w, mode="max").sum())(
        weight
    )
    assert slope.tolist() == [[1, 0], [0, 0], [0, 1]]
