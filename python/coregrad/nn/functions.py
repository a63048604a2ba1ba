"""Modules that hold the options of one function: activations, pools and losses.

Each is made from the signature of the function in `coregrad.nn.functional`: what follows the tensors
are the module's options, in PyTorch's order.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import _core
from .._core import Tensor
from . import functional as F
from .module import Module


class _OfFunction(Module):
    """A function with its options, which are attributes."""

    function: Any = None
    options: ClassVar[dict[str, Any]] = {}
    num_tensors = 1

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        name = type(self).__name__
        if len(args) > len(self.options):
            raise TypeError(f"{name}: takes {len(self.options)} options, got {len(args)}")
        given = dict(zip(self.options, args, strict=False))
        for key, value in kwargs.items():
            if key == "inplace":  # PyTorch's; nothing is done in place here
                continue
            if key not in self.options or key in given:
                raise TypeError(f"{name}: the option {key!r} is not known, or given twice")
            given[key] = value
        for key, default in self.options.items():
            if key not in given and default is _REQUIRED:
                raise TypeError(f"{name}: the option {key!r} is needed")
            setattr(self, key, given.get(key, default))

    def forward(self, *tensors: Tensor) -> Any:
        """Call the function with the options."""
        if len(tensors) != self.num_tensors:
            raise TypeError(
                f"{type(self).__name__}: takes {self.num_tensors} tensors, got {len(tensors)}"
            )
        options = {key: getattr(self, key) for key in self.options}
        return type(self).function(*tensors, **options)

    def extra_repr(self) -> str:
        """The options."""
        return ", ".join(f"{key}={getattr(self, key)!r}" for key in self.options)


_REQUIRED = object()


def _define(name: str, function: Any, doc: str, num_tensors: int = 1, **options: Any) -> None:
    globals()[name] = type(
        name,
        (_OfFunction,),
        {
            "__doc__": doc,
            "__module__": __name__,
            "function": staticmethod(function),
            "options": options,
            "num_tensors": num_tensors,
        },
    )
    __all__.append(name)


def _threshold(x: Tensor, threshold: float, value: float) -> Tensor:
    return _core.where(x > threshold, x, value)


def _softmin(x: Tensor, dim: int) -> Tensor:
    return F.softmax(-x, dim)


def _cosine_similarity(a: Tensor, b: Tensor, dim: int, eps: float) -> Tensor:
    lengths = ((a * a).sum(dim) * (b * b).sum(dim)).sqrt()
    return (a * b).sum(dim) / lengths.clamp(eps)


__all__: list[str] = []

_define("ReLU", F.relu, "max(x, 0).")
_define("ReLU6", F.relu6, "min(max(x, 0), 6).")
_define("LeakyReLU", F.leaky_relu, "x, times negative_slope below 0.", negative_slope=0.01)
_define("ELU", F.elu, "x, alpha (exp(x) - 1) below 0.", alpha=1.0)
_define("CELU", F.celu, "x, alpha (exp(x / alpha) - 1) below 0.", alpha=1.0)
_define("SELU", F.selu, "The self-normalising ELU of Klambauer and others (2017).")
_define("GELU", F.gelu, "x times the normal distribution function of x.", approximate="none")
_define("SiLU", F.silu, "x sigmoid(x).")
_define("Mish", F.mish, "x tanh(softplus(x)).")
_define("Sigmoid", F.sigmoid, "1 / (1 + exp(-x)).")
_define("LogSigmoid", F.logsigmoid, "log(sigmoid(x)).")
_define("Tanh", F.tanh, "tanh(x).")
_define("Softplus", F.softplus, "log(1 + exp(beta x)) / beta.", beta=1.0, threshold=20.0)
_define("Softsign", F.softsign, "x / (1 + |x|).")
_define("Hardswish", F.hardswish, "x relu6(x + 3) / 6.")
_define("Hardsigmoid", F.hardsigmoid, "relu6(x + 3) / 6.")
_define("Hardtanh", F.hardtanh, "x between min_val and max_val.", min_val=-1.0, max_val=1.0)
_define("GLU", F.glu, "One half of a dimension times the sigmoid of the other.", dim=-1)
_define("Threshold", _threshold, "x above the threshold, value elsewhere.", threshold=_REQUIRED,
        value=_REQUIRED)  # fmt: skip
_define("Softmax", F.softmax, "Exponentials that sum to 1 along a dimension.", dim=_REQUIRED)
_define("Softmin", _softmin, "Softmax of -x.", dim=_REQUIRED)
_define("LogSoftmax", F.log_softmax, "The logarithm of the softmax.", dim=_REQUIRED)

_define("CosineSimilarity", _cosine_similarity, "Cosine of the angle along a dimension.", 2, dim=1,
        eps=1e-8)  # fmt: skip

for _d in (1, 2, 3):
    _define(f"MaxPool{_d}d", getattr(F, f"max_pool{_d}d"), "The largest element of each window.",
            kernel_size=_REQUIRED, stride=None, padding=0, dilation=1, return_indices=False,
            ceil_mode=False)  # fmt: skip
    _averages = {"kernel_size": _REQUIRED, "stride": None, "padding": 0, "ceil_mode": False,
                 "count_include_pad": True}  # fmt: skip
    if _d > 1:
        _averages["divisor_override"] = None
    _define(f"AvgPool{_d}d", getattr(F, f"avg_pool{_d}d"), "The mean of each window.", **_averages)
    _define(f"AdaptiveAvgPool{_d}d", getattr(F, f"adaptive_avg_pool{_d}d"),
            "Means of as many windows as asked for.", output_size=_REQUIRED)  # fmt: skip
    _define(f"AdaptiveMaxPool{_d}d", getattr(F, f"adaptive_max_pool{_d}d"),
            "Maxima of as many windows as asked for.", output_size=_REQUIRED)  # fmt: skip

_define("MSELoss", F.mse_loss, "Mean squared difference.", 2, reduction="mean")
_define("L1Loss", F.l1_loss, "Mean absolute difference.", 2, reduction="mean")
_define("SmoothL1Loss", F.smooth_l1_loss, "Squared below beta, absolute above.", 2, reduction="mean",
        beta=1.0)  # fmt: skip
_define("HuberLoss", F.huber_loss, "Squared below delta, delta times absolute above.", 2,
        reduction="mean", delta=1.0)  # fmt: skip
_define("BCEWithLogitsLoss", F.binary_cross_entropy_with_logits,
        "Binary cross entropy of the sigmoid of scores.", 2, weight=None, reduction="mean",
        pos_weight=None)  # fmt: skip
_define("BCELoss", F.binary_cross_entropy, "Binary cross entropy of probabilities.", 2, weight=None,
        reduction="mean")  # fmt: skip
_define("NLLLoss", F.nll_loss, "Minus the log-probability of the target.", 2, weight=None,
        ignore_index=-100, reduction="mean")  # fmt: skip
_define("CrossEntropyLoss", F.cross_entropy, "Cross entropy of scores and classes.", 2, weight=None,
        ignore_index=-100, reduction="mean", label_smoothing=0.0)  # fmt: skip
_define("KLDivLoss", F.kl_div, "Kullback-Leibler divergence of log-probabilities.", 2,
        reduction="mean", log_target=False)  # fmt: skip
