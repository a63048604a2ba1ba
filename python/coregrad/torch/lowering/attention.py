"""Scaled dot-product attention, and its gradient from what PyTorch saves."""

from __future__ import annotations

import math

from .table import lower


def _flat(b, x, keys):
    """Matrices of which each meets one head of the keys: the heads of a group of queries, which share
    it, stand below each other.
    """
    heads = math.prod(keys.shape[:-2])
    rows = x.shape[-2] * (x.shape[-3] // keys.shape[-3] if keys.shape[-3] else 1)
    return b.g.reshape(x, [heads, rows, x.shape[-1]])


def _is_grouped(b, q, k, v, dropout_p):
    """Whether heads of the queries share those of the keys; Unsupported for what we lack."""
    if dropout_p:
        b.unsupported("attention with dropout inside")
    heads, shared = q.shape[-3], k.shape[-3]
    is_grouped = heads == shared or (shared and heads % shared == 0)
    if q.shape[:-3] != k.shape[:-3] or k.shape[:-1] != v.shape[:-1] or not is_grouped:
        b.unsupported("attention whose keys have another batch than its queries, or odd groups")
    if not (q.dtype == k.dtype == v.dtype):
        b.unsupported("attention of mixed dtypes")
    return heads != shared


@lower("aten._scaled_dot_product_flash_attention_for_cpu.default")
def flash_attention(b, q, k, v, dropout_p=0.0, is_causal=False, *, attn_mask=None, scale=None):
    is_grouped = _is_grouped(b, q, k, v, dropout_p)
    out, logsumexp = b.g.attention_with_logsumexp(q, k, v, attn_mask, is_causal, scale, is_grouped)
    return out, b.node(logsumexp, b.core_dtype(b.result[1].dtype))


@lower("aten._scaled_dot_product_flash_attention_for_cpu_backward.default")
def flash_attention_backward(
    b, grad, q, k, v, out, logsumexp, dropout_p, is_causal, *, attn_mask=None, scale=None
):
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    is_grouped = _is_grouped(b, q, k, v, dropout_p)
    scores = b.g.attention_scores(q, k, attn_mask, is_causal, scale, is_grouped)
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
