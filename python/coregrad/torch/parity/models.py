"""Small models of many kinds, as plain modules: what `python -m coregrad.torch.parity` runs.

`MODELS` is the table. A row makes a fresh `Subject`: a model, its inputs and the loss of its output.
Sizes are small, so that compiling takes the time; no model draws random numbers when it runs, because
those of two engines differ.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclasses.dataclass
class Subject:
    """A model to be examined."""

    model: Callable[..., Any]  #: a module, or a function of the inputs
    inputs: tuple[Any, ...]
    loss: Callable[[Any], Tensor] | None = None  #: of the output; None: a fixed random projection


MODELS: dict[str, Callable[[], Subject]] = {}


def model(make: Callable[[], Subject]) -> Callable[[], Subject]:
    """Adds a row to the table, under the function's name."""
    MODELS[make.__name__] = make
    return make


def _classify(classes: int, *shape: int) -> Callable[[Tensor], Tensor]:
    labels = torch.randint(0, classes, shape)
    return lambda logits: F.cross_entropy(logits, labels)


def _resemble(*shape: int) -> Callable[[Tensor], Tensor]:
    target = torch.randn(shape)
    return lambda out: F.mse_loss(out, target.to(out.dtype))


# Perceptrons and tables


@model
def mlp() -> Subject:
    """Linear layers with several activations."""
    net = nn.Sequential(
        *(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 32), nn.GELU()),
        *(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 5)),
    )
    return Subject(net, (torch.randn(6, 16),), _classify(5, 6))


@model
def batch_norm_mlp() -> Subject:
    """Batch norm of vectors, with running statistics, and less common activations."""
    net = nn.Sequential(
        *(nn.Linear(12, 24), nn.BatchNorm1d(24), nn.SELU(), nn.Linear(24, 24, bias=False)),
        *(nn.BatchNorm1d(24, momentum=0.3), nn.Softplus(), nn.Linear(24, 3), nn.LogSoftmax(1)),
    )
    labels = torch.randint(0, 3, (10,))
    return Subject(net, (torch.randn(10, 12),), lambda out: F.nll_loss(out, labels))


class _Recommender(nn.Module):
    """Sums of embeddings, a dense part, and products of all pairs of features."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 8) for n in (20, 30, 11))
        self.dense = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 8))
        self.top = nn.Sequential(nn.Linear(8 + 6, 16), nn.ReLU(), nn.Linear(16, 1))
        self.register_buffer("pairs", torch.tril_indices(4, 4, -1), persistent=False)

    def forward(self, numbers: Tensor, ids: Tensor) -> Tensor:
        dense = self.dense(numbers)
        sparse = [table(ids[:, i]).sum(1) for i, table in enumerate(self.tables)]
        features = torch.stack([dense, *sparse], 1)
        products = torch.bmm(features, features.transpose(1, 2))
        crossed = products[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([dense, crossed], 1)).squeeze(1)


@model
def recommender() -> Subject:
    """Embeddings, pairwise products, binary cross entropy."""
    clicks = torch.randint(0, 2, (7,))
    return Subject(
        _Recommender(),
        (torch.randn(7, 5), torch.randint(0, 11, (7, 3, 4))),
        lambda out: F.binary_cross_entropy_with_logits(out, clicks.to(out.dtype)),
    )


class _BagOfWords(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bag = nn.EmbeddingBag(40, 12, mode="mean")
        self.output = nn.Linear(12, 4)

    def forward(self, words: Tensor, offsets: Tensor) -> Tensor:
        return self.output(self.bag(words, offsets))


@model
def embedding_bag() -> Subject:
    """nn.EmbeddingBag over bags of different sizes, one of them empty."""
    offsets = torch.tensor([0, 3, 3, 9])
    return Subject(_BagOfWords(), (torch.randint(0, 40, (14,)), offsets), _classify(4, 4))


class _Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 20), nn.LeakyReLU(), nn.Linear(20, 8))

    def forward(self, anchor: Tensor, same: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        a, s, o = (F.normalize(self.net(x), dim=1) for x in (anchor, same, other))
        return F.triplet_margin_loss(a, s, o, margin=0.5), F.cosine_similarity(a, o)


@model
def siamese() -> Subject:
    """One tower three times, triplet loss, and a second output."""
    inputs = tuple(torch.randn(5, 10) for _ in range(3))
    return Subject(_Siamese(), inputs, lambda out: out[0] + out[1].square().mean())


# Images


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
    return Subject(_DigitNet(8), (torch.rand(8, 1, 8, 8),), _classify(10, 8))


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
    return Subject(_resnet(), (torch.randn(4, 3, 12, 12),), _classify(5, 4))


@model
def resnet_inference() -> Subject:
    """The same in evaluation mode: running statistics are read, not written."""
    return Subject(_resnet().eval(), (torch.randn(2, 3, 12, 12),), _classify(5, 2))


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
    return Subject(net, (torch.randn(3, 3, 12, 12),), _classify(5, 3))


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
    return Subject(net, (torch.randn(3, 1, 8, 8),), _classify(4, 3))


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
    return Subject(_UNet(), (torch.randn(2, 1, 16, 16),), _classify(3, 2, 16, 16))


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
    return Subject(_DiffusionBlock(), inputs, _resemble(2, 8, 6, 6))


@model
def video_net() -> Subject:
    """Convolution over time and space."""
    net = nn.Sequential(
        *(nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.MaxPool3d(2)),
        *(nn.Conv3d(6, 4, (1, 3, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 2 * 2 * 2, 3)),
    )
    return Subject(net, (torch.randn(2, 2, 4, 8, 8),), _classify(3, 2))


# Sequences


@model
def audio_net() -> Subject:
    """Strided convolutions over a waveform."""
    net = nn.Sequential(
        *(nn.Conv1d(1, 8, 9, 4, 4), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(8, 12, 3, padding=2, dilation=2), nn.ReLU(), nn.AdaptiveAvgPool1d(4)),
        *(nn.Flatten(), nn.Linear(48, 6)),
    )
    return Subject(net, (torch.randn(3, 1, 128),), _classify(6, 3))


class _Causal(nn.Module):
    """Dilated causal convolutions with normalised weights and a gate."""

    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.layers = nn.ModuleList(norm(nn.Conv1d(6, 12, 2, dilation=2**i)) for i in range(3))
        self.output = nn.Conv1d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            signal, gate = layer(F.pad(x, (2**i, 0))).chunk(2, 1)
            x = x + torch.tanh(signal) * torch.sigmoid(gate)
        return self.output(x)


@model
def temporal_conv() -> Subject:
    """WaveNet's blocks."""
    return Subject(_Causal(), (torch.randn(2, 6, 20),), _resemble(2, 2, 20))


class _Recurrent(nn.Module):
    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.net = kind(6, 10, num_layers=2, batch_first=True)
        self.output = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.net(x)[0][:, -1])


@model
def lstm() -> Subject:
    """nn.LSTM of two layers."""
    return Subject(_Recurrent(nn.LSTM), (torch.randn(3, 7, 6),), _classify(4, 3))


@model
def gru() -> Subject:
    """nn.GRU of two layers."""
    return Subject(_Recurrent(nn.GRU), (torch.randn(3, 7, 6),), _classify(4, 3))


class _UnrolledLstm(nn.Module):
    """An LSTM as the equations say, unrolled while it is traced."""

    def __init__(self) -> None:
        super().__init__()
        self.input, self.state = nn.Linear(5, 32), nn.Linear(8, 32, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = cell = x.new_zeros(x.shape[0], 8)
        states = []
        for step in x.unbind(1):
            i, f, g, o = (self.input(step) + self.state(hidden)).chunk(4, 1)
            cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
            hidden = torch.sigmoid(o) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, 1)


@model
def unrolled_lstm() -> Subject:
    """A recurrence written out over four steps."""
    return Subject(_UnrolledLstm(), (torch.randn(3, 4, 5),), _resemble(3, 4, 8))


# Transformers


@model
def transformer() -> Subject:
    """nn.TransformerEncoder, normalisation first."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return Subject(net, (torch.randn(2, 7, 16),), _resemble(2, 7, 16))


class _Seq2Seq(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Transformer(16, 2, 1, 1, 24, dropout=0.0, batch_first=True)
        self.source, self.target = nn.Embedding(20, 16), nn.Embedding(20, 16)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        length = target.shape[1]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        out = self.net(self.source(source), self.target(target), tgt_mask=mask, tgt_is_causal=True)
        return out @ self.target.weight.T


@model
def seq2seq() -> Subject:
    """Encoder, decoder with cross attention, tied output weights."""
    target = torch.randint(0, 20, (2, 5))
    inputs = (torch.randint(0, 20, (2, 6)), target)
    return Subject(
        _Seq2Seq(), inputs, lambda out: F.cross_entropy(out.flatten(0, 1), target.flatten())
    )


class GptBlock(nn.Module):
    """A block of GPT-2: norms in front, causal attention, GELU by tanh."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.project = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = (
            t.view(batch, length, self.heads, -1).transpose(1, 2)
            for t in self.qkv(self.norm1(x)).split(width, 2)
        )
        a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(a.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class _Gpt(nn.Module):
    """Embeddings, one block of causal attention, and the loss of the next token."""

    def __init__(self, width: int = 32, heads: int = 4, vocabulary: int = 50) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(16, width)
        self.block = GptBlock(width, heads)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.block(self.tokens(ids) + self.places(torch.arange(ids.shape[1])))
        logits = self.head(x)
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()), logits


@model
def gpt() -> Subject:
    """A block of GPT-2 whose loss is part of the graph."""
    return Subject(_Gpt(), (torch.randint(0, 50, (2, 9)),), lambda out: out[0])


class _LlamaBlock(nn.Module):
    """RMS norm, rotary embeddings, grouped queries, SwiGLU."""

    def __init__(self, width: int = 16, heads: int = 4, groups: int = 2) -> None:
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, width // heads
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * groups * self.size, bias=False)
        self.project = nn.Linear(width, width, bias=False)
        self.gate, self.up = (nn.Linear(width, 40, bias=False) for _ in range(2))
        self.down = nn.Linear(40, width, bias=False)

    def rotate(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[2]).to(x.dtype)
        speeds = 100.0 ** (-torch.arange(0, self.size, 2).to(x.dtype) / self.size)
        cos, sin = (f(places[:, None] * speeds) for f in (torch.cos, torch.sin))
        a, b = x[..., ::2], x[..., 1::2]
        return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        y = self.norm1(x)
        q = self.q(y).view(batch, length, self.heads, -1).transpose(1, 2)
        k, v = self.kv(y).view(batch, length, 2 * self.groups, -1).transpose(1, 2).chunk(2, 1)
        k, v = (t.repeat_interleave(self.heads // self.groups, 1) for t in (self.rotate(k), v))
        a = F.scaled_dot_product_attention(self.rotate(q), k, v, is_causal=True)
        x = x + self.project(a.transpose(1, 2).reshape(batch, length, width))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


@model
def llama() -> Subject:
    """A block of Llama."""
    return Subject(_LlamaBlock(), (torch.randn(2, 6, 16),), _resemble(2, 6, 16))


class _Vit(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.token, self.places = nn.Parameter(torch.zeros(16)), nn.Parameter(torch.randn(10, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], 1, -1), x], 1) + self.places
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


@model
def vit() -> Subject:
    """A vision transformer."""
    return Subject(_Vit(), (torch.randn(2, 3, 12, 12),), _classify(5, 2))


class _Mixer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(12), nn.LayerNorm(12)
        self.across = nn.Sequential(nn.Linear(9, 18), nn.GELU(), nn.Linear(18, 9))
        self.within = nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return (x + self.within(self.norm2(x))).mean(1)


@model
def mixer() -> Subject:
    """MLP-Mixer: linear layers over transposed views."""
    return Subject(_Mixer(), (torch.randn(3, 9, 12),), _classify(12, 3))


class _Moe(nn.Module):
    """Two of four experts for each token, weighted, with a load-balancing loss."""

    def __init__(self, width: int = 8, experts: int = 4) -> None:
        super().__init__()
        self.router = nn.Linear(width, experts)
        self.up = nn.Parameter(torch.randn(experts, width, 16) / 3)
        self.down = nn.Parameter(torch.randn(experts, 16, width) / 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.router(x).softmax(-1)
        best, chosen = scores.topk(2, -1)
        weights = best / best.sum(-1, keepdim=True)
        used = torch.zeros_like(scores).scatter(-1, chosen, weights)
        out = torch.einsum("tw,ewh->teh", x, self.up).relu()
        out = torch.einsum("teh,ehw,te->tw", out, self.down, used)
        balance = ((used > 0).to(x.dtype).mean(0) * scores.mean(0)).sum()
        return out, balance


@model
def moe() -> Subject:
    """A mixture of experts with top-2 routing."""
    target = torch.randn(10, 8)
    return Subject(
        _Moe(),
        (torch.randn(10, 8),),
        lambda out: F.mse_loss(out[0], target.to(out[0].dtype)) + 0.1 * out[1],
    )


class _LinearAttention(nn.Module):
    """Causal attention without softmax: running sums of outer products."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k = F.elu(q) + 1, F.elu(k) + 1
        state = torch.einsum("blk,blv->blkv", k, v).cumsum(1)
        total = (q * k.cumsum(1)).sum(-1, keepdim=True)
        return torch.einsum("blk,blkv->blv", q, state) / total


@model
def linear_attention() -> Subject:
    """Scans in place of softmax."""
    return Subject(_LinearAttention(), (torch.randn(2, 6, 8),), _resemble(2, 6, 8))


class _GraphNet(nn.Module):
    """Messages along edges, summed at the nodes they arrive at."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(12, 8), nn.Linear(14, 6)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        for _ in range(2):
            source, target = edges
            messages = F.relu(self.message(torch.cat([x[source], x[target]], 1)))
            received = messages.new_zeros(x.shape[0], 8).index_add(0, target, messages)
            x = torch.tanh(self.update(torch.cat([x, received], 1)))
        return x


@model
def graph_net() -> Subject:
    """Gathers and scattered sums over the edges of a graph."""
    inputs = (torch.randn(7, 6), torch.randint(0, 7, (2, 15)))
    return Subject(_GraphNet(), inputs, _resemble(7, 6))
