"""Attention and the layers of transformers (Vaswani and others, 2017), with PyTorch's names."""

from __future__ import annotations

import copy
from collections.abc import Callable

from .. import _core
from .._core import DType, Tensor
from . import functional as F
from . import init
from .layers import Dropout, LayerNorm, Linear, _parameter
from .module import Module, ModuleList


class MultiheadAttention(Module):
    """Attention of several heads; weights in one matrix [3 E, E], as PyTorch has them.

    `forward` gives the result and None or, if `need_weights`, the heads' mean weights.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        if embed_dim % num_heads:
            raise _core.ValueError(
                f"MultiheadAttention: {num_heads} heads do not divide {embed_dim} features"
            )
        self.embed_dim, self.num_heads = embed_dim, num_heads
        self.dropout, self.batch_first = dropout, batch_first
        self.in_proj_weight = _parameter((3 * embed_dim, embed_dim), dtype)
        bias_in = _parameter((3 * embed_dim,), dtype) if bias else None
        self.register_parameter("in_proj_bias", bias_in)
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        init.xavier_uniform_(self.in_proj_weight)
        if bias:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """[L, N, E] (or [N, L, E] with batch_first), or without N; masks are true where nobody looks."""
        batched = query.ndim == 3
        inputs = [t if batched else t.unsqueeze(1 - self.batch_first) for t in (query, key, value)]
        if not self.batch_first:
            inputs = [t.permute((1, 0, 2)) for t in inputs]
        if not batched:
            inputs = [t if t.shape[0] == 1 else t.permute((1, 0, 2)) for t in inputs]
        q, k, v = (self._heads(t, part) for part, t in enumerate(inputs))
        mask = self._mask(attn_mask, key_padding_mask, q, k)
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = (q @ k.permute((0, 1, 3, 2))) * (q.shape[-1] ** -0.5)
            if mask is not None:
                scores = scores + mask
            elif is_causal:
                scores = scores + _causal(q.shape[-2], k.shape[-2])
            weights = F.dropout(F.softmax(scores, -1), p, p > 0)
            mixed = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(
                q, k, v, mask, p, is_causal=is_causal and mask is None
            )
        n, _, length, _ = mixed.shape
        result = self.out_proj(mixed.permute((0, 2, 1, 3)).reshape((n, length, self.embed_dim)))
        if not self.batch_first:
            result = result.permute((1, 0, 2))
        if not batched:
            result = result.reshape((length, self.embed_dim))
        if weights is not None:
            weights = weights.mean(1)
            weights = weights if batched else weights.reshape(weights.shape[1:])
        return result, weights

    def _heads(self, x: Tensor, part: int) -> Tensor:
        """The part's projection as [N, heads, L, E / heads]."""
        rows = (part * self.embed_dim, (part + 1) * self.embed_dim)
        weight = self.in_proj_weight.slice(0, *rows)
        bias = None if self.in_proj_bias is None else self.in_proj_bias.slice(0, *rows)
        n, length, _ = x.shape
        projected = F.linear(x, weight, bias)
        return projected.reshape((n, length, self.num_heads, -1)).permute((0, 2, 1, 3))

    def _mask(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, q: Tensor, k: Tensor
    ) -> Tensor | None:
        """Both masks as numbers to add to the scores, [N, heads, L, S] or what broadcasts to it."""
        total = None
        if attn_mask is not None:
            total = _to_add(attn_mask)
            if total.ndim == 3:
                total = total.reshape((q.shape[0], self.num_heads, q.shape[2], k.shape[2]))
        if key_padding_mask is not None:
            padding = _to_add(key_padding_mask).reshape((-1, 1, 1, k.shape[2]))
            total = padding if total is None else total + padding
        return total


def _to_add(mask: Tensor) -> Tensor:
    if mask.dtype != DType.bool:
        return mask
    return _core.where(mask, float("-inf"), _core.zeros((), dtype=DType.float32))


def _causal(rows: int, columns: int) -> Tensor:
    return _to_add(_core.arange(0, columns) > _core.arange(0, rows).unsqueeze(1))


def _activation(name: str | Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    if callable(name):
        return name
    if name not in ("relu", "gelu"):
        raise _core.ValueError(f"activation must be 'relu', 'gelu' or a function, got {name!r}")
    return getattr(F, name)


class TransformerEncoderLayer(Module):
    """Self-attention and a feed-forward network, with residuals and layer norms."""

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first)
        self.linear1 = Linear(d_model, dim_feedforward, bias)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.norm_first, self.activation = norm_first, _activation(activation)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The same shape."""

        def attend(x: Tensor) -> Tensor:
            mixed, _ = self.self_attn(
                x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal
            )
            return self.dropout1(mixed)

        if self.norm_first:
            src = src + attend(self.norm1(src))
            return src + self._feed(self.norm2(src))
        src = self.norm1(src + attend(src))
        return self.norm2(src + self._feed(src))

    def _feed(self, x: Tensor) -> Tensor:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """Layers one after the other: copies of one, with weights of their own."""

    def __init__(self, encoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(num_layers))
        self.norm = norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The same shape."""
        for layer in self.layers:
            src = layer(src, mask, src_key_padding_mask, is_causal)
        return src if self.norm is None else self.norm(src)
