"""Layers: modules around the functions of `coregrad.nn.functional`, as PyTorch has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .. import _core
from .._core import DType, Tensor
from . import functional as F
from . import init
from .module import Module, Parameter


def _tuple(value: Any, n: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, Sequence) else (value,) * n


def _parameter(shape: Sequence[int], dtype: DType | None, fill: float = 0.0) -> Tensor:
    return Parameter((_core.zeros(tuple(shape)) + fill).cast(dtype or DType.float32))


def _uniform_by_fan_in(weight: Tensor, bias: Tensor | None, fan_in: int) -> None:
    """PyTorch's default for linear and convolutional layers: in +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    for parameter in (weight, bias):
        if parameter is not None:
            init.uniform_(parameter, -bound, bound)


class Identity(Module):
    """Gives its argument on."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, x: Any) -> Any:
        """The argument."""
        return x


class Linear(Module):
    """y = x W^T + b; weight [out, in], bias [out]."""

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: DType | None = None
    ) -> None:
        super().__init__()
        if in_features < 1 or out_features < 1:
            raise _core.ShapeError(
                f"Linear: sizes must be positive, got {in_features} and {out_features}"
            )
        self.in_features, self.out_features = in_features, out_features
        self.weight = _parameter((out_features, in_features), dtype)
        self.register_parameter("bias", _parameter((out_features,), dtype) if bias else None)
        _uniform_by_fan_in(self.weight, self.bias, in_features)

    def forward(self, x: Tensor) -> Tensor:
        """[.., in] to [.., out]."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class _Conv(Module):
    dims = 0
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | str | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        output_padding: int | Sequence[int] = 0,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise _core.ValueError(
                f"{name}: {groups} groups do not divide {in_channels} and {out_channels} channels"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _tuple(kernel_size, self.dims)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.output_padding = groups, output_padding
        first, second = in_channels, out_channels
        if not self.transposed:
            first, second = out_channels, in_channels
        self.weight = _parameter((first, second // groups, *self.kernel_size), dtype)
        self.register_parameter("bias", _parameter((out_channels,), dtype) if bias else None)
        _uniform_by_fan_in(self.weight, self.bias, init.fan_in_and_out(self.weight)[0])

    def forward(self, x: Tensor) -> Tensor:
        """[N, in, ..] or [in, ..] to as many channels as it has outputs."""
        if self.transposed:
            function = getattr(F, f"conv_transpose{self.dims}d")
            return function(
                x, self.weight, self.bias, self.stride, self.padding, self.output_padding,
                self.groups, self.dilation,
            )  # fmt: skip
        function = getattr(F, f"conv{self.dims}d")
        return function(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """The options."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size},"
            f" stride={self.stride}, padding={self.padding}, groups={self.groups}"
        )


class Conv1d(_Conv):
    """Convolution of [N, C, L]; weight [out, in / groups, k]."""

    dims = 1


class Conv2d(_Conv):
    """Convolution of [N, C, H, W]; weight [out, in / groups, kH, kW]."""

    dims = 2


class Conv3d(_Conv):
    """Convolution of [N, C, D, H, W]; weight [out, in / groups, kD, kH, kW]."""

    dims = 3


class _ConvTranspose(_Conv):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            output_padding, dtype,
        )  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution of [N, C, L]; weight [in, out / groups, k]."""

    dims = 1


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution of [N, C, H, W]; weight [in, out / groups, kH, kW]."""

    dims = 2


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution of [N, C, D, H, W]; weight [in, out / groups, kD, kH, kW]."""

    dims = 3


class _Norm(Module):
    """Norms of channels with statistics that are kept for inference."""

    ranks: tuple[int, ...] = ()
    of_instances = False

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.register_parameter(
            "weight", _parameter((num_features,), dtype, 1.0) if affine else None
        )
        self.register_parameter("bias", _parameter((num_features,), dtype) if affine else None)
        tracked = track_running_stats
        for name, fill in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(
                name, (_core.zeros((num_features,)) + fill).realize() if tracked else None
            )
        count = _core.zeros((), dtype=DType.int64).realize() if tracked else None
        self.register_buffer("num_batches_tracked", count)

    def _check(self, x: Tensor) -> None:
        if x.ndim not in self.ranks:
            raise _core.ShapeError(
                f"{type(self).__name__}: needs {' or '.join(map(str, self.ranks))} dimensions,"
                f" got {list(x.shape)}"
            )

    def forward(self, x: Tensor) -> Tensor:
        """The same shape; training uses, and keeps, the batch's statistics."""
        self._check(x)
        training = self.training
        momentum = 0.0 if self.momentum is None else self.momentum
        if training and self.num_batches_tracked is not None:
            self.num_batches_tracked.assign(self.num_batches_tracked + 1)
            if self.momentum is None:
                raise _core.UnsupportedError(
                    f"{type(self).__name__}: momentum=None (a mean over all batches) is not there"
                )
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias,
            training or self.running_mean is None, momentum, self.eps,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_Norm):
    """Batch normalisation of [N, C] or [N, C, L] (Ioffe and Szegedy, 2015)."""

    ranks = (2, 3)


class BatchNorm2d(_Norm):
    """Batch normalisation of [N, C, H, W]."""

    ranks = (4,)


class BatchNorm3d(_Norm):
    """Batch normalisation of [N, C, D, H, W]."""

    ranks = (5,)


class _InstanceNorm(Module):
    rank = 0

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = False, dtype: DType | None = None
    ) -> None:
        super().__init__()
        self.num_features, self.eps = num_features, eps
        self.register_parameter(
            "weight", _parameter((num_features,), dtype, 1.0) if affine else None
        )
        self.register_parameter("bias", _parameter((num_features,), dtype) if affine else None)

    def forward(self, x: Tensor) -> Tensor:
        """Each channel of each element of the batch by itself."""
        if x.ndim != self.rank or x.shape[1] != self.num_features:
            raise _core.ShapeError(
                f"{type(self).__name__}: needs {self.rank} dimensions and {self.num_features}"
                f" channels, got {list(x.shape)}"
            )
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_features}, eps={self.eps}"


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of [N, C, L], without running statistics."""

    rank = 3


class InstanceNorm2d(_InstanceNorm):
    """Instance normalisation of [N, C, H, W], without running statistics."""

    rank = 4


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of [N, C, D, H, W], without running statistics."""

    rank = 5


class LayerNorm(Module):
    """Layer normalisation over the last dimensions (Ba and others, 2016)."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps = _tuple(normalized_shape, 1), eps
        shape, affine = self.normalized_shape, elementwise_affine
        self.register_parameter("weight", _parameter(shape, dtype, 1.0) if affine else None)
        self.register_parameter("bias", _parameter(shape, dtype) if affine and bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """Normalisation by the root mean square over the last dimensions (Zhang and Sennrich, 2019)."""

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape, self.eps = _tuple(normalized_shape, 1), eps
        weight = _parameter(self.normalized_shape, dtype, 1.0) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Normalisation of groups of channels (Wu and He, 2018)."""

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if num_groups < 1 or num_channels % num_groups:
            raise _core.ValueError(
                f"GroupNorm: {num_groups} groups do not divide {num_channels} channels"
            )
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.register_parameter(
            "weight", _parameter((num_channels,), dtype, 1.0) if affine else None
        )
        self.register_parameter("bias", _parameter((num_channels,), dtype) if affine else None)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ..], the same shape."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"


class Dropout(Module):
    """Zeros elements with probability p while training, and scales the rest by 1 / (1 - p)."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise _core.ValueError(f"{type(self).__name__}: p must lie in [0, 1], got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The options."""
        return f"p={self.p}"


class _ChannelDropout(Dropout):
    def forward(self, x: Tensor) -> Tensor:
        """Whole channels of [N, C, ..]."""
        if not self.training:
            return x
        return x * F.dropout(_core.ones((*x.shape[:2], *(1,) * (x.ndim - 2))), self.p).cast(x.dtype)


class Dropout1d(_ChannelDropout):
    """Dropout of whole channels of [N, C, L]."""


class Dropout2d(_ChannelDropout):
    """Dropout of whole channels of [N, C, H, W]."""


class Dropout3d(_ChannelDropout):
    """Dropout of whole channels of [N, C, D, H, W]."""


class Embedding(Module):
    """Rows of a table, chosen by index; weight [num, dim]."""

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise _core.ValueError(
                f"Embedding: padding_idx {padding_idx} is none of {num_embeddings} rows"
            )
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.weight = _parameter((num_embeddings, embedding_dim), dtype)
        init.normal_(self.weight)
        if self.padding_idx is not None:
            rows = _core.arange(0, num_embeddings).reshape((-1, 1))
            kept = (rows != self.padding_idx).cast(self.weight.dtype)
            self.weight.assign((self.weight * kept).detach())

    def forward(self, index: Tensor) -> Tensor:
        """[..] to [.., dim]."""
        return F.embedding(index, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """The options."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Flatten(Module):
    """Joins dimensions start_dim to end_dim."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """The elements in fewer dimensions."""
        first, last = self.start_dim % max(x.ndim, 1), self.end_dim % max(x.ndim, 1)
        shape = x.shape
        return x.reshape((*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :]))


class Unflatten(Module):
    """Splits one dimension into several."""

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """The elements in more dimensions."""
        dim = self.dim % x.ndim
        return x.reshape((*x.shape[:dim], *self.unflattened_size, *x.shape[dim + 1 :]))


class PReLU(Module):
    """max(x, 0) + weight min(x, 0), one weight or one for each channel."""

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, dtype: DType | None = None
    ) -> None:
        super().__init__()
        self.weight = _parameter((num_parameters,), dtype, init)

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return F.prelu(x, self.weight)


class Upsample(Module):
    """Resizes images, by nearest neighbours or as `mode` says."""

    def __init__(
        self,
        size: Any = None,
        scale_factor: Any = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        super().__init__()
        self.options = (size, scale_factor, mode, align_corners)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, ..] with other image sizes."""
        return F.interpolate(x, *self.options)
