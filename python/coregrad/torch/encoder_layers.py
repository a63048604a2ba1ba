"""What `nn.TransformerEncoderLayer` and `nn.MultiheadAttention` call in evaluation, as plain operators.

PyTorch runs a layer in one operator there, which a compiler cannot look into.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

Tensor = torch.Tensor

ROWS = 1  #: the mask_type of a mask[B, L]; others are [L, L] or [B, H, L, L]


def _hidden_scores(mask: Tensor, mask_type: int | None) -> Tensor:
    """True where a score is left out, broadcast against [B, H, L, L]."""
    hidden = mask.bool()
    if mask_type == ROWS:
        hidden = hidden[:, None, None]
    return hidden


def multi_head_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim: int,
    num_head: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    mask: Tensor | None = None,
    need_weights: bool = True,
    average_attn_weights: bool = True,
    mask_type: int | None = None,
) -> tuple[Tensor, Tensor]:
    """aten._native_multi_head_attention of x[B, L, E], which query, key and value are."""
    batch, length, _ = query.shape
    qkv = F.linear(query, qkv_weight, qkv_bias)
    q, k, v = qkv.view(batch, length, 3, num_head, embed_dim // num_head).permute(2, 0, 3, 1, 4)
    hidden = None if mask is None else _hidden_scores(mask, mask_type)
    if need_weights:
        scores = (q / math.sqrt(embed_dim // num_head)) @ k.mT
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = scores.softmax(-1)
        y = weights @ v
        weights = weights.mean(1) if average_attn_weights else weights
    else:
        y = F.scaled_dot_product_attention(q, k, v, None if hidden is None else ~hidden)
        if hidden is not None:  # there, rows without a score that counts are 0
            y = y.masked_fill(hidden.all(-1, keepdim=True), torch.nan)
        weights = query.new_empty(0)
    return F.linear(y.transpose(1, 2).flatten(2), proj_weight, proj_bias), weights


def encoder_layer(
    src: Tensor,
    embed_dim: int,
    num_heads: int,
    qkv_weight: Tensor,
    qkv_bias: Tensor,
    proj_weight: Tensor,
    proj_bias: Tensor,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    norm_weight_1: Tensor,
    norm_bias_1: Tensor,
    norm_weight_2: Tensor,
    norm_bias_2: Tensor,
    ffn_weight_1: Tensor,
    ffn_bias_1: Tensor,
    ffn_weight_2: Tensor,
    ffn_bias_2: Tensor,
    mask: Tensor | None = None,
    mask_type: int | None = None,
) -> Tensor:
    """aten._transformer_encoder_layer_fwd of src[B, L, E]."""

    def attention(x: Tensor) -> Tensor:
        weights = (qkv_weight, qkv_bias, proj_weight, proj_bias)
        return multi_head_attention(
            x, x, x, embed_dim, num_heads, *weights, mask, False, False, mask_type
        )[0]

    def feed_forward(x: Tensor) -> Tensor:
        x = F.linear(x, ffn_weight_1, ffn_bias_1)
        return F.linear(F.gelu(x) if use_gelu else F.relu(x), ffn_weight_2, ffn_bias_2)

    def norm_1(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_1, norm_bias_1, eps)

    def norm_2(x: Tensor) -> Tensor:
        return F.layer_norm(x, (embed_dim,), norm_weight_2, norm_bias_2, eps)

    if norm_first:
        x = src + attention(norm_1(src))
        return x + feed_forward(norm_2(x))
    x = norm_1(src + attention(src))
    return norm_2(x + feed_forward(x))
