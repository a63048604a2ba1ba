"""The rows of test_tensor_functional.py: a function's name, its tensors and its options."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import coregrad as cg
from coregrad.nn import functional


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
    *(same("pdist", normal(5, 4), p=p) for p in (0.0, 0.5, 1.0, 2.0, 3.0, math.inf)),
    *(same("pdist", normal(n, 4)) for n in (1, 2)),  # PyTorch's gradient of no rows divides by zero
    same("pdist", normal(4, 0)),
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
