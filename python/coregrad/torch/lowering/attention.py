"""Scaled dot-product attention, and its gradient from what PyTorch saves."""

from __future__ import annotations

from .table import lower


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
    is_grouped = _is_grouped(b, q, k, v, dropout_p)
    return b.g.attention_backward(
        grad, q, k, v, out, logsumexp, attn_mask, is_causal, scale, is_grouped
    )
