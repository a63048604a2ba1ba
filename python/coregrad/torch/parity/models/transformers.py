"""Transformers, mixtures and graphs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .subject import Subject, classify, model, resemble


@model
def transformer() -> Subject:
    """nn.TransformerEncoder, normalisation first."""
    layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, batch_first=True, norm_first=True)
    net = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    return Subject(net, (torch.randn(2, 7, 16),), resemble(2, 7, 16))


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
    return Subject(_LlamaBlock(), (torch.randn(2, 6, 16),), resemble(2, 6, 16))


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
    return Subject(_Vit(), (torch.randn(2, 3, 12, 12),), classify(5, 2))


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
    return Subject(_Mixer(), (torch.randn(3, 9, 12),), classify(12, 3))


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
    return Subject(_LinearAttention(), (torch.randn(2, 6, 8),), resemble(2, 6, 8))


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
    return Subject(_GraphNet(), inputs, resemble(7, 6))
