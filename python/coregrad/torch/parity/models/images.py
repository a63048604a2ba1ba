"""Convolutional networks for images and video."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subject import Subject, classify, model, resemble


class _DigitNet(nn.Module):
    """The network of examples/mnist_demo.py, without its dropout."""

    def __init__(self, image_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.hidden = nn.Linear(64 * (image_size // 4) ** 2, 128)
        self.output = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.output(F.relu(self.hidden(x.flatten(1))))


@model
def cnn() -> Subject:
    """The demo's network on digits."""
    return Subject(_DigitNet(8), (torch.rand(8, 1, 8, 8),), classify(10, 8))


class Residual(nn.Module):
    """A basic block of ResNet."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU()),
            *(nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)),
        )
        self.short = (
            nn.Identity()
            if stride == 1 and channels == out
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.short(x))


def _resnet() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU()),
        *(Residual(8, 8, 1), Residual(8, 16, 2), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(16, 5)),
    )


@model
def resnet() -> Subject:
    """Residual blocks with batch norm in training."""
    return Subject(_resnet(), (torch.randn(4, 3, 12, 12),), classify(5, 4))


@model
def resnet_inference() -> Subject:
    """The same in evaluation mode: running statistics are read, not written."""
    return Subject(_resnet().eval(), (torch.randn(2, 3, 12, 12),), classify(5, 2))


class _SqueezeExcite(nn.Module):
    """An inverted residual block: pointwise, depthwise, channel attention, pointwise."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.expand = nn.Sequential(nn.Conv2d(channels, wide, 1), nn.BatchNorm2d(wide))
        self.depthwise = nn.Conv2d(wide, wide, 5, padding=2, groups=wide)
        self.squeeze, self.excite = nn.Conv2d(wide, 4, 1), nn.Conv2d(4, wide, 1)
        self.project = nn.Conv2d(wide, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.hardswish(self.depthwise(F.hardswish(self.expand(x))))
        scale = F.adaptive_avg_pool2d(y, 1)
        scale = F.hardsigmoid(self.excite(F.relu(self.squeeze(scale))))
        return x + self.project(y * scale)


@model
def mobilenet() -> Subject:
    """Depthwise convolutions and squeeze-and-excite."""
    net = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), _SqueezeExcite(8, 16), _SqueezeExcite(8, 16)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * 9, 5)),
    )
    return Subject(net, (torch.randn(3, 3, 12, 12),), classify(5, 3))


class _DenseBlock(nn.Module):
    def __init__(self, channels: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(channels + i * growth),
                nn.ReLU(),
                nn.Conv2d(channels + i * growth, growth, 3, padding=1),
            )
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


@model
def densenet() -> Subject:
    """Concatenations that are read again by every later layer."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), _DenseBlock(4, 3, 3), nn.MaxPool2d(3, 2, 1)),
        *(nn.Conv2d(13, 6, 1), nn.PReLU(6), nn.Flatten(), nn.Linear(6 * 16, 4)),
    )
    return Subject(net, (torch.randn(3, 1, 8, 8),), classify(4, 3))


class _UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = self._block(1, 6), self._block(6, 12)
        self.middle = self._block(12, 12)
        self.up2, self.up1 = nn.ConvTranspose2d(12, 12, 2, 2), nn.ConvTranspose2d(12, 6, 2, 2)
        self.join2, self.join1 = self._block(24, 12), self._block(12, 6)
        self.output = nn.Conv2d(6, 3, 1)

    @staticmethod
    def _block(channels: int, out: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(channels, out, 3, 1, 1), nn.InstanceNorm2d(out), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        low = self.middle(F.max_pool2d(two, 2))
        two = self.join2(torch.cat([self.up2(low), two], 1))
        one = self.join1(torch.cat([self.up1(two), one], 1))
        return self.output(one)


@model
def unet() -> Subject:
    """Down and up again, skips, a label for every pixel."""
    return Subject(_UNet(), (torch.randn(2, 1, 16, 16),), classify(3, 2, 16, 16))


@model
def conv_autoencoder() -> Subject:
    """Strided convolutions, then transposed ones."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, 2, 1), nn.ELU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ELU()),
        *(nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1), nn.ELU()),
        *(nn.ConvTranspose2d(6, 1, 4, 2, 1), nn.Sigmoid()),
    )
    images = torch.rand(3, 1, 8, 8)
    return Subject(net, (images,), lambda out: F.binary_cross_entropy(out, images.to(out.dtype)))


@model
def autoencoder() -> Subject:
    """A bottleneck of linear layers with a smooth L1 loss."""
    net = nn.Sequential(
        *(nn.Linear(20, 12), nn.Mish(), nn.Linear(12, 3), nn.Linear(3, 12), nn.Mish()),
        nn.Linear(12, 20),
    )
    x = torch.randn(9, 20)
    return Subject(net, (x,), lambda out: F.smooth_l1_loss(out, x.to(out.dtype)))


class _Pyramid(nn.Module):
    """A feature pyramid with two heads, as detectors have."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.deep = nn.Conv2d(8, 8, 3, 2, 1)
        self.lateral = nn.Conv2d(8, 8, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.classes, self.boxes = nn.Conv2d(8, 3, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        high = F.silu(self.stem(x))
        low = F.silu(self.deep(high))
        high = self.norm(self.lateral(high) + F.interpolate(low, scale_factor=2, mode="nearest"))
        scores = [self.classes(level).flatten(2) for level in (high, low)]
        boxes = [self.boxes(level).flatten(2) for level in (high, low)]
        return {"scores": torch.cat(scores, 2), "boxes": torch.cat(boxes, 2).exp()}


@model
def feature_pyramid() -> Subject:
    """Interpolation, group norm, a dictionary of outputs."""
    labels = torch.randint(0, 3, (2, 20))

    def loss(out: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(out["scores"], labels) + F.huber_loss(
            out["boxes"], torch.ones_like(out["boxes"])
        )

    return Subject(_Pyramid(), (torch.randn(2, 3, 8, 8),), loss)


class _DiffusionBlock(nn.Module):
    """A residual block modulated by an embedding of the time step."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(4, 8), nn.GroupNorm(4, 8)
        self.conv1, self.conv2 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(16, 16), nn.SiLU(), nn.Linear(16, 16))

    def forward(self, x: Tensor, step: Tensor) -> Tensor:
        frequencies = torch.exp(-math.log(1e4) * torch.arange(8, device=x.device) / 8)
        angles = step[:, None].to(x.dtype) * frequencies.to(x.dtype)
        time = self.time(torch.cat([angles.cos(), angles.sin()], 1))
        scale, shift = time[:, :, None, None].chunk(2, 1)
        y = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(y) * (1 + scale) + shift))


@model
def diffusion_block() -> Subject:
    """Group norm, a sinusoidal time embedding, scale and shift."""
    inputs = (torch.randn(2, 8, 6, 6), torch.randint(0, 50, (2,)))
    return Subject(_DiffusionBlock(), inputs, resemble(2, 8, 6, 6))


@model
def video_net() -> Subject:
    """Convolution over time and space."""
    net = nn.Sequential(
        *(nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(6, 4, (1, 3, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 2 * 2 * 2, 3)),
    )
    return Subject(net, (torch.randn(2, 2, 4, 8, 8),), classify(3, 2))
