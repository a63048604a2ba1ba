"""Scaled dot-product attention and its gradient, from two contractions and a softmax."""

from __future__ import annotations

import math

from .table import lower

NEGATIVE_INFINITY = float("-inf")


def _flat(b, x, keys):
    """Matrices of which each meets one head of the keys: the heads of a group of queries, which share
    it, stand below each other.
    """
    heads = math.prod(keys.shape[:-2])
    rows = x.shape[-2] * (x.shape[-3] // keys.shape[-3] if keys.shape[-3] else 1)
    return b.g.reshape(x, [heads, rows, x.shape[-1]])


def _scores(b, q, k, is_causal, attn_mask, scale):
    """Scaled and masked products [..., L, S], and the scale."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    products = b.g.bmm(_flat(b, q, k), b.g.transpose(_flat(b, k, k), 1, 2))
    length, other = q.shape[-2], k.shape[-2]
    scores = b.g.reshape(products * scale, [*q.shape[:-1], other])
    if attn_mask is not None:
        if attn_mask.dtype == b.core_bool:
            scores = b.where(b.expand(attn_mask, scores.shape), scores, NEGATIVE_INFINITY)
        else:
            scores = scores + b.node(attn_mask, scores.dtype)
    if is_causal:
        rows = b.along(b.g.iota(b.core_int64, length), 0, 2)
        columns = b.along(b.g.iota(b.core_int64, other), 1, 2)
        scores = b.where(b.expand(columns <= rows, scores.shape), scores, NEGATIVE_INFINITY)
    return scores, scale


def _check(b, q, k, v, dropout_p):
    if dropout_p:
        b.unsupported("attention with dropout inside")
    heads, shared = q.shape[-3], k.shape[-3]
    is_grouped = heads == shared or (shared and heads % shared == 0)
    if q.shape[:-3] != k.shape[:-3] or k.shape[:-1] != v.shape[:-1] or not is_grouped:
        b.unsupported("attention whose keys have another batch than its queries, or odd groups")
    if not (q.dtype == k.dtype == v.dtype):
        b.unsupported("attention of mixed dtypes")


@lower("aten._scaled_dot_product_flash_attention_for_cpu.default")
def flash_attention(b, q, k, v, dropout_p=0.0, is_causal=False, *, attn_mask=None, scale=None):
    _check(b, q, k, v, dropout_p)
    scores, _ = _scores(b, q, k, is_causal, attn_mask, scale)
    last = scores.ndim - 1
    top = b.g.reduce_max(scores, [last], True)
    masked = b.g.eq(top, b.g.literal(top.dtype, NEGATIVE_INFINITY))
    e = b.g.exp(scores - b.where(masked, 0, top))
    total = b.g.sum(e, [last], True)
    p = e / b.where(masked, 1, total)  # a row that is masked out completely gives zeros
    out = b.g.reshape(b.g.bmm(_flat(b, p, k), _flat(b, v, k)), b.shape)
    # Of no key at all: 0, as PyTorch has it, so that its gradient is 0 and not exp(inf - inf).
    logsumexp = b.g.squeeze(b.where(masked, 0, b.g.log(total) + top), [last])
    return out, b.node(logsumexp, b.core_dtype(b.result[1].dtype))


@lower("aten._scaled_dot_product_flash_attention_for_cpu_backward.default")
def flash_attention_backward(
    b, grad, q, k, v, out, logsumexp, dropout_p, is_causal, *, attn_mask=None, scale=None
):
    _check(b, q, k, v, dropout_p)
    scores, scale = _scores(b, q, k, is_causal, attn_mask, scale)
    last = scores.ndim - 1
    lse = b.g.unsqueeze(b.node(logsumexp, scores.dtype), last)
    p = b.g.exp(scores - lse)
    flat_p, flat_grad, flat_v = (_flat(b, x, k) for x in (p, grad, v))
    grad_v = b.g.bmm(b.g.transpose(flat_p, 1, 2), flat_grad)
    grad_p = b.g.reshape(b.g.bmm(flat_grad, b.g.transpose(flat_v, 1, 2)), list(p.shape))
    delta = b.g.sum(grad * out, [last], True)
    grad_s = _flat(b, p * (grad_p - delta) * scale, k)
    grad_q = b.g.bmm(grad_s, _flat(b, k, k))
    grad_k = b.g.bmm(b.g.transpose(grad_s, 1, 2), _flat(b, q, k))
    return (
        b.g.reshape(grad_q, list(q.shape)),
        b.g.reshape(grad_k, list(k.shape)),
        b.g.reshape(grad_v, list(v.shape)),
    )
