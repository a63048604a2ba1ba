"""Encoder layers and attention in evaluation, which PyTorch runs in one operator each."""

import pytest
import torch
from torch import nn

import coregrad.torch

pytestmark = pytest.mark.usefixtures("fresh_torch")

PADDED = torch.zeros(3, 10, dtype=torch.bool)
PADDED[0, 7:] = PADDED[2, 3:] = True
NOTHING = PADDED.clone()
NOTHING[1] = True
LATER = torch.triu(torch.ones(10, 10, dtype=torch.bool), 1)

MASKS = {
    "no mask": {},
    "padded rows": {"src_key_padding_mask": PADDED},
    "a row of padding alone": {"src_key_padding_mask": NOTHING},
    "causal": {"src_mask": LATER},
    "causal, in floats": {"src_mask": nn.Transformer.generate_square_subsequent_mask(10)},
    "causal and padded": {"src_mask": LATER, "src_key_padding_mask": PADDED},
}


def check(module, x, **kwargs):
    module.eval()
    with torch.no_grad():
        want = module(x, **kwargs)
        for dynamic in (False, True):
            torch._dynamo.reset()
            coregrad.torch.reset()
            got = torch.compile(module, backend="coregrad", dynamic=dynamic)(x, **kwargs)
            torch.testing.assert_close(got, want, equal_nan=True)
            assert not any(g.num_fallback for g in coregrad.torch.report().graphs)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [False, True])
def test_an_encoder_layer_in_evaluation_is_native(norm_first, activation, mask):
    layer = nn.TransformerEncoderLayer(
        32, 4, 48, batch_first=True, norm_first=norm_first, activation=activation
    )
    check(layer, torch.randn(3, 10, 32), **MASKS[mask])


class SelfAttention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.options = options

    def forward(self, x, **masks):
        return self.attention(x, x, x, **self.options, **masks)


@pytest.mark.parametrize(
    "options",
    [{}, {"average_attn_weights": False}, {"need_weights": False}],
    ids=["averaged weights", "weights of each head", "no weights"],
)
@pytest.mark.parametrize(
    "masks", [{}, {"key_padding_mask": PADDED}, {"attn_mask": LATER}], ids=["all", "rows", "causal"]
)
def test_self_attention_in_evaluation_is_native(options, masks):
    check(SelfAttention(**options), torch.randn(3, 10, 32), **masks)
