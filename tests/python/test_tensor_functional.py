"""coregrad.nn.functional and the newer tensor operations against PyTorch.

One row a case: a function's name, which both libraries share, its tensors and its options. Each is
compared forward and in the gradient of every floating operand, in float64 and float32, with PyTorch
in float64 as the reference.
"""

import dataclasses
import gc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import coregrad as cg
from coregrad.nn import functional

# The one table of tolerances: by dtype, relative to the largest magnitude of the reference.
TOLERANCE = {np.float32: 2e-5, np.float64: 1e-11}


@dataclasses.dataclass
class Case:
    name: str
    operands: list[Any]
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    ours: Callable | None = None
    theirs: Callable | None = None

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, np.shape(o))) or "scalar" for o in self.operands)
        options = "-".join(f"{k}={v}" for k, v in self.options.items() if not callable(v))
        return f"{self.name}-{shapes}" + (f"-{options}" if options else "")


def normal(*shape: int) -> np.ndarray:
    """Values that depend on the shape alone, none of them at a kink or in a tie."""
    return np.random.default_rng(sum(shape) + 31 * len(shape)).standard_normal(shape)


def positive(*shape: int) -> np.ndarray:
    return 0.5 + np.abs(normal(*shape))


def unit(*shape: int) -> np.ndarray:
    return 0.05 + 0.9 * np.random.default_rng(sum(shape)).random(shape)


def whole(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(high + sum(shape)).integers(0, high, shape)


def chance(*shape: int) -> np.ndarray:
    mask = np.random.default_rng(sum(shape)).random(shape) < 0.6
    mask[..., 0] = True
    return mask


def distribution(*shape: int) -> np.ndarray:
    e = np.exp(normal(*shape))
    return e / e.sum(1, keepdims=True)


#: Where parts of nine indices begin, and end if the last does not count; one is empty.
BAGS = np.array([0, 3, 3, 6, 9])


def batch_norm_cases() -> list[Case]:
    def run(f, tensor, x, weight, bias, **options):
        # Statistics of their own: both libraries update them.
        statistics = [tensor(np.zeros(3), x), tensor(np.ones(3), x)]
        y = f.batch_norm(x, *statistics, weight, bias, **options)
        return y

    def ours(x, weight, bias, **options):
        def like(values, x):
            return cg.tensor(values.astype(x.numpy().dtype))

        return run(functional, like, x, weight, bias, **options)

    def theirs(x, weight, bias, **options):
        def like(values, x):
            return torch.from_numpy(values).to(x.dtype)

        return run(torch.nn.functional, like, x, weight, bias, **options)

    return [
        Case("batch_norm", [x, positive(3), normal(3)], {"training": training}, ours, theirs)
        for x in (normal(4, 3), normal(4, 3, 5), normal(2, 3, 4, 5))
        for training in (False, True)
    ]


ACTIVATIONS = [
    Case(name, [normal(3, 8)], options)
    for name, options in [
        ("relu", {}), ("relu6", {}), ("sigmoid", {}), ("tanh", {}), ("logsigmoid", {}), ("silu", {}),
        ("mish", {}), ("hardswish", {}), ("softsign", {}), ("selu", {}),
        ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("leaky_relu", {}),
        ("leaky_relu", {"negative_slope": 0.2}), ("elu", {"alpha": 0.7}),
        ("hardtanh", {"min_val": -0.5, "max_val": 0.25}), ("softplus", {}),
        ("softplus", {"beta": 2.0, "threshold": 1.0}), ("softmax", {"dim": 1}),
        ("softmax", {"dim": -2}), ("log_softmax", {"dim": 0}), ("glu", {}),
        ("elu", {"alpha": 2.0}),
    ]
]  # fmt: skip
# PyTorch's own kernels round 1 / 6 and 1 / alpha to float32 here, whatever the dtype.
ACTIVATIONS += [
    Case("hardsigmoid", [normal(3, 7)], theirs=lambda x: torch.nn.functional.relu6(x + 3) / 6),
    Case("celu", [normal(3, 7)], {"alpha": 0.7},
         theirs=lambda x, alpha: torch.where(x > 0, x, alpha * torch.expm1(x / alpha))),
]  # fmt: skip
CONVOLUTIONS = [
    Case("conv1d", [normal(2, 4, 9), normal(6, 4, 3), normal(6)]),
    Case("conv1d", [normal(4, 9), normal(6, 2, 3)], {"groups": 2, "padding": 1}),
    Case("conv1d", [normal(2, 4, 9), normal(6, 4, 4)], {"padding": "same"}),
    Case("conv2d", [normal(2, 4, 7, 8), normal(6, 4, 3, 3), normal(6)]),
    Case("conv2d", [normal(2, 4, 7, 8), normal(6, 4, 3, 2), normal(6)],
         {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2)}),
    Case("conv2d", [normal(2, 4, 7, 8), normal(4, 1, 3, 3)], {"groups": 4, "padding": "same"}),
    Case("conv2d", [normal(4, 7, 8), normal(6, 4, 3, 3)], {"padding": "valid", "stride": 2}),
    Case("conv3d", [normal(2, 2, 4, 5, 6), normal(3, 2, 2, 3, 2), normal(3)], {"padding": 1}),
    Case("conv_transpose1d", [normal(2, 4, 5), normal(4, 3, 3), normal(3)],
         {"stride": 2, "padding": 1, "output_padding": 1}),
    Case("conv_transpose2d", [normal(2, 4, 5, 4), normal(4, 3, 3, 2), normal(6)],
         {"stride": (2, 3), "groups": 2}),
    Case("conv_transpose2d", [normal(4, 5, 4), normal(4, 3, 3, 3)], {"dilation": 2}),
    Case("conv_transpose3d", [normal(1, 2, 3, 4, 3), normal(2, 3, 2, 2, 3)], {"stride": 2}),
]  # fmt: skip
POOLS = [
    Case("max_pool1d", [normal(2, 3, 9)], {"kernel_size": 3}),
    Case("max_pool1d", [normal(3, 9)], {"kernel_size": 2, "stride": 1, "dilation": 2}),
    Case("max_pool2d", [normal(2, 3, 8, 9)], {"kernel_size": 2}),
    Case("max_pool2d", [normal(2, 3, 8, 9)],
         {"kernel_size": (3, 2), "stride": (2, 1), "padding": 1, "ceil_mode": True}),
    Case("max_pool3d", [normal(2, 2, 4, 5, 6)], {"kernel_size": 2, "stride": (1, 2, 2)}),
    Case("avg_pool1d", [normal(2, 3, 9)], {"kernel_size": 3, "padding": 1}),
    Case("avg_pool2d", [normal(2, 3, 8, 9)], {"kernel_size": 3, "stride": 2, "ceil_mode": True}),
    Case("avg_pool2d", [normal(2, 3, 8, 9)],
         {"kernel_size": 3, "padding": 1, "count_include_pad": False}),
    Case("avg_pool2d", [normal(3, 8, 9)], {"kernel_size": 2, "divisor_override": 3}),
    Case("avg_pool3d", [normal(2, 2, 4, 5, 6)], {"kernel_size": 2}),
    Case("adaptive_avg_pool1d", [normal(2, 3, 9)], {"output_size": 4}),
    Case("adaptive_avg_pool2d", [normal(2, 3, 8, 9)], {"output_size": (4, 3)}),
    Case("adaptive_avg_pool3d", [normal(2, 2, 4, 5, 6)], {"output_size": 1}),
    Case("adaptive_max_pool1d", [normal(3, 9)], {"output_size": 3}),
    Case("adaptive_max_pool2d", [normal(2, 3, 8, 9)], {"output_size": (3, 4)}),
    Case("adaptive_max_pool3d", [normal(2, 2, 4, 5, 6)], {"output_size": (2, 5, 3)}),
]  # fmt: skip
LAYERS = [
    Case("linear", [normal(5, 4), normal(3, 4), normal(3)]),
    Case("linear", [normal(2, 5, 4), normal(3, 4)]),
    Case("prelu", [normal(2, 3, 4), unit(3)]),
    Case("prelu", [normal(5), unit(1)]),
    *batch_norm_cases(),
    Case("layer_norm", [normal(2, 3, 4)], {"normalized_shape": (4,)}),
    Case("layer_norm", [normal(2, 3, 4)],
         {"normalized_shape": (3, 4), "weight": positive(3, 4), "bias": normal(3, 4), "eps": 1e-3}),
    Case("rms_norm", [normal(2, 3, 4)], {"normalized_shape": (4,), "weight": positive(4)}),
    Case("rms_norm", [normal(2, 3, 4)], {"normalized_shape": (3, 4), "eps": 1e-3}),
    Case("group_norm", [normal(2, 6, 5)], {"num_groups": 3}),
    Case("group_norm", [normal(2, 6, 3, 2)],
         {"num_groups": 2, "weight": positive(6), "bias": normal(6)}),
    Case("embedding", [whole(7, 2, 3), normal(7, 4)]),
    Case("embedding", [whole(4, 9), normal(4, 3)], {"padding_idx": -2}),
    *(Case("embedding_bag", [whole(7, 9), normal(7, 4)], {"offsets": BAGS, "mode": mode, **options})
      for mode in ("sum", "mean", "max")
      for options in ({}, {"padding_idx": 2}, {"include_last_offset": True, "padding_idx": -3})),
    Case("embedding_bag", [whole(7, 9), normal(7, 4)],
         {"offsets": BAGS, "mode": "sum", "per_sample_weights": normal(9), "padding_idx": 4}),
    Case("embedding_bag", [whole(7, 3, 5), normal(7, 4)]),
    Case("embedding_bag", [whole(7, 3, 5), normal(7, 4)],
         {"mode": "sum", "per_sample_weights": normal(3, 5)}),
    Case("scaled_dot_product_attention", [normal(2, 3, 4, 5), normal(2, 3, 6, 5), normal(2, 3, 6, 7)]),
    Case("scaled_dot_product_attention", [normal(4, 5), normal(6, 5), normal(6, 5)],
         {"is_causal": True, "scale": 0.3}),
    Case("scaled_dot_product_attention", [normal(2, 4, 5), normal(2, 6, 5), normal(2, 6, 5)],
         {"attn_mask": chance(4, 6)}),
    Case("scaled_dot_product_attention", [normal(2, 4, 5), normal(2, 6, 5), normal(2, 6, 5)],
         {"attn_mask": normal(2, 4, 6)}),
    Case("scaled_dot_product_attention",
         [normal(1, 4, 3, 5), normal(1, 2, 6, 5), normal(1, 2, 6, 5)], {"enable_gqa": True}),
    Case("dropout", [normal(3, 4)], {"training": False}),
]  # fmt: skip
LOSSES = [
    *(Case(name, [normal(4, 3), normal(3, 4).T.copy()], {"reduction": reduction})
      for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
      for reduction in ("mean", "sum", "none")),
    Case("smooth_l1_loss", [normal(4, 3), normal(3, 4).T.copy()], {"beta": 0.3}),
    Case("huber_loss", [normal(4, 3), normal(3, 4).T.copy()], {"delta": 0.4}),
    *(Case("cross_entropy", [normal(6, 5), whole(5, 6)], options)
      for options in ({}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.2},
                      {"ignore_index": 2}, {"weight": positive(5)})),
    Case("cross_entropy", [normal(2, 5, 3, 4), whole(5, 2, 3, 4)]),
    Case("cross_entropy", [normal(6, 5), distribution(6, 5)], {"label_smoothing": 0.1}),
    Case("cross_entropy", [normal(5), whole(5)]),
    Case("nll_loss", [normal(6, 5), whole(5, 6)], {"weight": positive(5), "ignore_index": 1}),
    Case("binary_cross_entropy", [unit(4, 3), unit(3, 4).T.copy()], {"weight": positive(4, 3)}),
    Case("binary_cross_entropy_with_logits", [normal(4, 3), unit(3, 4).T.copy()],
         {"pos_weight": positive(3)}),
    *(Case("kl_div", [normal(4, 3), distribution(4, 3)], {"reduction": reduction})
      for reduction in ("batchmean", "sum", "none")),
    Case("kl_div", [normal(4, 3), normal(3, 4).T.copy()], {"log_target": True, "reduction": "sum"}),
]  # fmt: skip


def places(*shape: int) -> np.ndarray:
    """Coordinates in and out of an image."""
    return 2.6 * np.random.default_rng(sum(shape)).random(shape) - 1.3


def samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).random(shape).astype(np.float32).astype(np.float64)


SAMPLES = [
    *(Case("grid_sample", [normal(2, 3, 4, 5), places(2, 3, 6, 2)],
           {"mode": mode, "padding_mode": padding, "align_corners": corners})
      for mode in ("bilinear", "bicubic")
      for padding in ("zeros", "border", "reflection")
      for corners in (False, True)),
    *(Case("grid_sample", [normal(2, 3, 4, 5, 3), places(2, 3, 6, 2, 3)],
           {"padding_mode": padding, "align_corners": True})
      for padding in ("zeros", "border", "reflection")),
    # Nearest elements do not depend on a grid smoothly: it is no operand here.
    *(Case("grid_sample", [normal(2, 3, *(4, 5, 3)[:rank])],
           {"grid": places(2, 3, 6, 2, 3) if rank == 3 else places(2, 3, 6, 2), "mode": "nearest",
            "padding_mode": padding, "align_corners": corners})
      for rank in (2, 3) for padding in ("zeros", "border", "reflection")
      for corners in (False, True)),
    Case("grid_sample", [normal(2, 3, 1, 5), places(2, 3, 6, 2)],
         {"padding_mode": "reflection", "align_corners": True}),
    *(Case("interpolate", [normal(2, 3, *(7, 4, 6)[:rank])], options)
      for rank, name in ((1, "linear"), (2, "bilinear"), (3, "trilinear"))
      for options in ({"size": 5, "mode": name}, {"size": (14, 8, 3)[:rank], "mode": name},
                      {"scale_factor": 1.7, "mode": name, "align_corners": False},
                      {"scale_factor": 1.7, "mode": name, "recompute_scale_factor": True,
                       "align_corners": False},
                      {"size": (3, 1, 9)[:rank], "mode": name, "align_corners": True},
                      {"size": (14, 2, 4)[:rank]}, {"scale_factor": 2}, {"scale_factor": 0.4},
                      {"size": (3, 5, 12)[:rank], "mode": "nearest-exact"},
                      {"size": (14, 2, 3)[:rank], "mode": "nearest-exact"},
                      {"size": (3, 9, 4)[:rank], "mode": "area"})),
    *(Case("interpolate", [normal(2, 3, 7, 8)], {"mode": mode, **options})
      for mode in ("bilinear", "bicubic")
      for options in ({"size": (3, 4), "antialias": True}, {"size": (11, 5), "antialias": True},
                      {"size": (3, 9), "antialias": True, "align_corners": True},
                      {"scale_factor": (0.5, 0.7), "antialias": True})),
    *(Case("interpolate", [normal(2, 3, 7, 8)], {"mode": "bicubic", **options})
      for options in ({"size": (3, 12)}, {"size": (14, 5), "align_corners": True},
                      {"scale_factor": (1.5, 0.6)})),
    Case("fractional_max_pool2d", [normal(2, 3, 7, 8)],
         {"kernel_size": (2, 3), "output_size": (3, 4), "_random_samples": samples(2, 3, 2)}),
    Case("fractional_max_pool2d", [normal(3, 7, 8)],
         {"kernel_size": 2, "output_ratio": (0.5, 0.7), "_random_samples": samples(1, 3, 2)}),
    Case("fractional_max_pool3d", [normal(2, 3, 5, 7, 8)],
         {"kernel_size": 2, "output_size": (1, 3, 4), "_random_samples": samples(2, 3, 3)}),
]  # fmt: skip


def same(name: str, *operands: Any, **options: Any) -> Case:
    """A function of the top level, or a method, with one name and signature in both."""

    def call(library, first, *rest, **options):
        function = getattr(library, name, None) or getattr(library.special, name)
        return function(first, *rest, **options)

    if hasattr(cg, name):
        return Case(name, list(operands), options, lambda *a, **k: call(cg, *a, **k),
                    lambda *a, **k: call(torch, *a, **k))  # fmt: skip
    return Case(name, list(operands), options, lambda x, *a, **k: getattr(x, name)(*a, **k),
                lambda x, *a, **k: getattr(x, name)(*a, **k))  # fmt: skip


def method(name: str, operands: list, ours: Callable, theirs: Callable) -> Case:
    return Case(name, operands, {}, ours, theirs)


TENSOR = [
    same("asinh", normal(3, 4)),
    same("acosh", 1 + positive(3, 4)),
    same("atanh", unit(3, 4) - 0.5),
    same("erfc", normal(3, 4)),
    same("logit", unit(3, 4)),
    same("hypot", normal(3, 4), normal(4)),
    same("logaddexp", normal(3, 4), normal(3, 1)),
    same("xlogy", normal(3, 4), positive(4)),
    same("outer", normal(3), normal(4)),
    same("bmm", normal(2, 3, 4), normal(2, 4, 5)),
    same("tril", normal(2, 4, 5), diagonal=1),
    same("triu", normal(4, 5), diagonal=-1),
    same("nan_to_num", np.array([1.0, np.inf, -np.inf, np.nan]), nan=2.0, posinf=3.0, neginf=-3.0),
    same("clamp", normal(3, 4), min=-0.5, max=0.5),
    same("clamp", normal(3, 4), max=0.2),
    same("lerp", normal(3, 4), normal(4), weight=0.3),
    same("logsumexp", normal(3, 4), dim=1, keepdim=True),
    same("norm", normal(3, 4), p=3.0, dim=1),
    same("norm", normal(3, 4)),
    same("norm", normal(3, 4), p=math.inf, dim=0),
    *(same("norm", np.array([[3.0, 0, -4], [0, 0, 0]]), p=p, dim=1) for p in (0.5, 1.0, 2.0, 3.0)),
    same("norm", np.array([[3.0, 1, -4], [0, 1, 2]]), p=-1.0, dim=1),
    same("norm", np.array([[1e30, -1e-30]]), dim=0),  # of single elements, whose squares overflow
    same("std", np.array([[1.0, 1, 1], [1, 2, 4]]), dim=1),
    same("std", normal(3, 4), dim=[0, 1], correction=0, keepdim=True),
    same("var", 1e4 + normal(3, 4), dim=-1),
    same("amax", normal(3, 4), dim=[0, 1]),
    same("amin", normal(3, 4), dim=1, keepdim=True),
    same("logsumexp", np.zeros((0, 3)), dim=0),
    same("logsumexp", np.array([[np.inf, 1.0], [-np.inf, -np.inf]]), dim=1),
    *(same(name, np.array(0.5), dim=-1) for name in ("sum", "mean", "cumsum", "softmax", "logsumexp")),
    same("tile", normal(2, 3), (2, 1, 2)),
    same("diagonal", normal(3, 4, 5), 1, 0, 2),
    same("masked_fill", normal(3, 4), chance(3, 4), 2.5),
    same("repeat_interleave", normal(3, 4), 2, 1),
    same("take_along_dim", normal(3, 4), whole(4, 1, 6), 1),
    same("gather", normal(3, 4), 1, whole(4, 3, 2)),
    same("index_select", normal(3, 4), 1, whole(4, 6)),
    same("index_add", normal(3, 4), 0, whole(3, 5), normal(5, 4)),
    same("roll", normal(3, 4), 2, 1),
    same("einsum", "bij,bkj->bik", normal(2, 3, 4), normal(2, 5, 4)),
    same("einsum", "ii->i", normal(4, 4)),
    same("einsum", "...i,ij,j->...", normal(2, 3, 4), normal(4, 5), normal(5)),
    method("topk", [normal(3, 7)], lambda x: x.topk(3)[0], lambda x: x.topk(3)[0]),
    method("mod by a number", [normal(3, 4)], lambda x: x % 0.3, lambda x: x % 0.3),
    method("mod by a tensor", [normal(3, 4), positive(4)], lambda x, y: x % y, lambda x, y: x % y),
    method("index_put", [normal(3, 4), whole(3, 5), normal(5, 4)],
           lambda x, i, v: x.index_put([i], v, True),
           lambda x, i, v: x.index_put((i,), v, accumulate=True)),
]  # fmt: skip
SPECIAL = [
    *(same(name, np.linspace(-3, 9, 11)) for name in ("erfcx", "log_ndtr", "i0e", "i1", "i1e", "i0")),
    same("erfinv", 1.8 * unit(3, 4) - 0.9),
    same("ndtri", unit(3, 4)),
    *(same("lgamma", x) for x in (positive(3, 4), normal(3, 4), 9 * positive(5), normal(0, 3))),
    # PyTorch computes the second derivative with few terms, which are exact from here on.
    same("digamma", 20 + positive(3, 4)),
    method("polygamma", [positive(3, 4)], lambda x: x.polygamma(2), lambda x: x.polygamma(2)),
    method("polygamma", [normal(3, 4)], lambda x: x.polygamma(3), lambda x: x.polygamma(3)),
    same("copysign", np.array([[3.0, 0, -4]]), np.array([[-1], [1]])),
    same("fmax", np.array([1.0, 2, 3]), np.array([2.0, 2, 2])),
    same("fmin", np.array([1.0, 2, 3]), np.array([2.0, 2, 2])),
    same("ldexp", normal(3, 4), np.array([-2.0, 0, 3, 10])),
    same("logcumsumexp", np.array([[1.0, 1, 1, 5], [0, -800, 800, 3]]), dim=1),
    same("logcumsumexp", normal(3, 0), dim=1),
    same("logcumsumexp", normal(), dim=0),
    *(same("dist", normal(3, 4), normal(4), p=p) for p in (0.5, 1.0, 2.0, 3.0, math.inf)),
    *(same("cdist", normal(2, 3, 4), normal(2, 5, 4), p=p) for p in (0.5, 1.0, 2.0, 3.0, math.inf)),
    same("cdist", normal(3, 4), normal(3, 4)),  # at distance 0
]  # fmt: skip
TIED = np.array([[3.0, 1, 1, 0], [2, 2, 0, 0], [5, 0, 5, 1]])
UNIQUE = np.array([[2, 0, 1], [1, 3, 0], [0, 1, 3]])
LENGTHS = np.array([2, 0, 1, 3])


def segments(word: str, x: np.ndarray, axis: int = 0, initial: float | None = None) -> Case:
    """Of lengths, or of offsets where parts lie along the second dimension."""
    parts = np.array([[0, 2, x.shape[1]]] * len(x)) if axis else LENGTHS
    options = {"axis": axis, "offsets" if axis else "lengths": parts, "initial": initial}
    name = f"segment_reduce-{word}"
    return Case(name, [x], options, lambda x, **o: cg.segment_reduce(x, word, **o),
                lambda x, **o: torch.segment_reduce(x, word, **o, unsafe=False))  # fmt: skip


def first(name: str, *operands: Any) -> Case:
    """The values of a function that gives positions too."""
    x, *rest = operands
    return method(name, [x], lambda x: getattr(x, name)(*rest)[0],
                  lambda x: getattr(x, name)(*rest)[0])  # fmt: skip


SCATTERS = [
    same("scatter", normal(3, 4), 1, UNIQUE, normal(3, 3)),
    same("scatter", normal(3, 4), 1, UNIQUE, 2.5),
    same("scatter", normal(), 0, np.array(0), normal(1)[0]),
    same("scatter_add", normal(3, 4), 1, whole(4, 3, 6), normal(3, 6)),
    *(same("scatter_reduce", x, 1, whole(4, 3, 6), v, reduce, include_self=own)
      for reduce in ("sum", "prod", "mean", "amax", "amin") for own in (True, False)
      for x, v in ((normal(3, 4), normal(3, 6)),)),
    # Several zeros, and several extremes, at one place.
    same("scatter_reduce", TIED, 1, whole(3, 3, 4), TIED, "prod"),
    same("scatter_reduce", TIED, 0, whole(2, 3, 4), TIED, "amax"),
    same("scatter_reduce", TIED, 0, whole(2, 3, 4), TIED, "amin"),
    same("index_add", normal(3, 4), 1, whole(4, 6), normal(3, 6), alpha=2.5),
    same("index_copy", normal(3, 4), 1, np.array([3, 0]), normal(3, 2)),
    *(same("index_reduce", normal(3, 4), 0, whole(3, 5), normal(5, 4), reduce)
      for reduce in ("prod", "mean", "amax", "amin")),
    method("put", [normal(3, 4), np.array([5, -1]), normal(2)],
           lambda x, i, v: x.put(i, v), lambda x, i, v: x.put(i, v)),
    method("put", [normal(3, 4), np.array([[5, -1], [0, 5]]), normal(2, 2)],
           lambda x, i, v: x.put(i, v, True), lambda x, i, v: x.put(i, v, True)),
    same("masked_scatter", normal(3, 4), chance(3, 4), normal(15)),
    same("masked_scatter", normal(3, 4), chance(4), normal(3, 4)),
    *(segments(word, x, axis, initial)
      for word in ("sum", "mean", "prod", "max", "min")
      for x, axis in ((normal(6, 2), 0), (normal(2, 5), 1)) for initial in (None, 0.5)
      if initial is None or word in ("sum", "prod")),
    segments("prod", np.array([[0.0, 2], [3, 0], [0, 0], [1, 4], [2, 0], [5, 6]])),
]  # fmt: skip
ORDERS = [
    *(first(name, x, *rest) for x in (normal(4, 7), normal(4, 6))
      for name, rest in (("kthvalue", (3, 0)), ("kthvalue", (2,)), ("median", (1, True)),
                         ("nanmedian", (0,)), ("cummax", (1,)), ("cummin", (0,)), ("mode", (0,)))),
    same("median", normal(4, 6)),
    same("nanmedian", np.array([[1.0, np.nan, 3], [0, 5, 7]])),
    method("var_mean", [normal(3, 4)], lambda x: cg.var_mean(x, 1)[0],
           lambda x: torch.var_mean(x, 1)[0]),
    method("std_mean", [normal(3, 4)], lambda x: x.std_mean(0, 0, True)[1],
           lambda x: torch.std_mean(x, 0, correction=0, keepdim=True)[1]),
    same("addcmul", normal(3, 4), normal(4), normal(3, 1), value=0.3),
    same("addcdiv", normal(3, 4), normal(4), positive(3, 1), value=-2),
]  # fmt: skip
CASES = [
    *SAMPLES,
    *SCATTERS,
    *ORDERS,
    *ACTIVATIONS,
    *CONVOLUTIONS,
    *POOLS,
    *LAYERS,
    *LOSSES,
    *TENSOR,
    *SPECIAL,
]


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
