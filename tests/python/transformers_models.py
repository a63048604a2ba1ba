"""Architectures of Hugging Face transformers, small and with random weights, for the parity command:

    make models MODELS="bert llama"

Each function makes one: the model, and a tuple of inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import transformers as tf
from torch import nn

VOCABULARY = 99
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}
PATCHES = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
TWO_SIDED = {
    "vocab_size": VOCABULARY,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
GROUPED = SMALL | {"num_key_value_heads": 2}


class First(nn.Module):
    """A model called by names that returns logits or hidden states as one tensor."""

    def __init__(self, model: nn.Module, names: Sequence[str], **fixed) -> None:
        super().__init__()
        self.model, self.names, self.fixed = model, names, fixed

    def forward(self, *args):
        return self.model(**dict(zip(self.names, args)), **self.fixed)[0]


def tokens(batch: int = 2, length: int = 16) -> torch.Tensor:
    return torch.randint(3, VOCABULARY, (batch, length))


def mask(batch: int = 2, length: int = 16) -> torch.Tensor:
    keep = torch.ones(batch, length, dtype=torch.int64)
    keep[0, length - 5 :] = 0
    return keep


def image(size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, size, size)


def text(model: nn.Module, **fixed):
    return First(model, ("input_ids", "attention_mask"), **fixed), (tokens(), mask())


def decoder(model: nn.Module):
    return text(model, use_cache=False)


def seq2seq(model: nn.Module):
    names = ("input_ids", "attention_mask", "decoder_input_ids")
    return First(model, names, use_cache=False), (tokens(), mask(), tokens(2, 8))


def vision(model: nn.Module, size: int = 32):
    return First(model, ("pixel_values",)), (image(size),)


def bert():
    return text(tf.BertForSequenceClassification(tf.BertConfig(**SMALL)))


def distilbert():
    config = tf.DistilBertConfig(
        vocab_size=VOCABULARY, dim=32, hidden_dim=64, n_layers=2, n_heads=4
    )
    return text(tf.DistilBertForMaskedLM(config))


def roberta():
    return text(tf.RobertaForMaskedLM(tf.RobertaConfig(**SMALL)))


def albert():
    return text(tf.AlbertModel(tf.AlbertConfig(**SMALL, embedding_size=16)))


def electra():
    return text(tf.ElectraForTokenClassification(tf.ElectraConfig(**SMALL, embedding_size=16)))


def deberta():
    return text(tf.DebertaV2Model(tf.DebertaV2Config(**SMALL, relative_attention=True)))


def modernbert():
    return text(tf.ModernBertForMaskedLM(tf.ModernBertConfig(**SMALL)))


def gpt2():
    config = tf.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    return decoder(tf.GPT2LMHeadModel(config))


def gpt_neox():
    return decoder(tf.GPTNeoXForCausalLM(tf.GPTNeoXConfig(**SMALL)))


def opt():
    config = tf.OPTConfig(**SMALL, ffn_dim=64, word_embed_proj_dim=32)
    return decoder(tf.OPTForCausalLM(config))


def bloom():
    config = tf.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4)
    return decoder(tf.BloomForCausalLM(config))


def falcon():
    return decoder(tf.FalconForCausalLM(tf.FalconConfig(**SMALL)))


def llama():
    return decoder(tf.LlamaForCausalLM(tf.LlamaConfig(**GROUPED)))


def mistral():
    return decoder(tf.MistralForCausalLM(tf.MistralConfig(**GROUPED, sliding_window=8)))


def mixtral():
    config = tf.MixtralConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2)
    return decoder(tf.MixtralForCausalLM(config))


def qwen2():
    return decoder(tf.Qwen2ForCausalLM(tf.Qwen2Config(**GROUPED)))


def qwen3():
    return decoder(tf.Qwen3ForCausalLM(tf.Qwen3Config(**GROUPED, head_dim=8)))


def gemma2():
    return decoder(tf.Gemma2ForCausalLM(tf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=8)))


def phi3():
    return decoder(tf.Phi3ForCausalLM(tf.Phi3Config(**GROUPED)))


def mamba():
    config = tf.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, state_size=4, num_hidden_layers=2
    )
    return First(tf.MambaForCausalLM(config), ("input_ids",), use_cache=False), (tokens(),)


def t5():
    config = tf.T5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    return seq2seq(tf.T5ForConditionalGeneration(config))


def bart():
    config = tf.BartConfig(**TWO_SIDED, max_position_embeddings=64)
    return seq2seq(tf.BartForConditionalGeneration(config))


def vit():
    return vision(tf.ViTForImageClassification(tf.ViTConfig(**PATCHES)))


def swin():
    config = tf.SwinConfig(
        image_size=32,
        patch_size=4,
        embed_dim=16,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        drop_path_rate=0.0,
    )
    return vision(tf.SwinForImageClassification(config))


def convnext():
    config = tf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1])
    return vision(tf.ConvNextForImageClassification(config), 64)


def resnet():
    config = tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    return vision(tf.ResNetForImageClassification(config), 64)


def regnet():
    config = tf.RegNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], groups_width=4
    )
    return vision(tf.RegNetForImageClassification(config), 64)


def mobilenet_v2():
    config = tf.MobileNetV2Config(image_size=32, depth_multiplier=0.25, depth_divisible_by=8)
    return vision(tf.MobileNetV2ForImageClassification(config))


def segformer():
    config = tf.SegformerConfig(
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
        decoder_hidden_size=16,
        drop_path_rate=0.0,
    )
    return vision(tf.SegformerForSemanticSegmentation(config), 64)


def clip():
    words = {k: v for k, v in SMALL.items() if k != "pad_token_id"}
    config = tf.CLIPConfig(
        text_config=words | {"eos_token_id": 2}, vision_config=PATCHES, projection_dim=16
    )
    names = ("input_ids", "pixel_values", "attention_mask")
    return First(tf.CLIPModel(config), names), (tokens(), image(), mask())


def wav2vec2():
    config = tf.Wav2Vec2Config(
        **{k: v for k, v in SMALL.items() if k != "max_position_embeddings"},
        conv_dim=(16, 16, 16),
        conv_stride=(5, 2, 2),
        conv_kernel=(10, 3, 3),
        num_feat_extract_layers=3,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        apply_spec_augment=False,
        layerdrop=0.0,
    )
    return First(tf.Wav2Vec2ForCTC(config), ("input_values",)), (torch.randn(2, 1000),)


def whisper():
    config = tf.WhisperConfig(
        **TWO_SIDED,
        num_mel_bins=16,
        max_source_positions=20,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    )
    names = ("input_features", "decoder_input_ids")
    model = First(tf.WhisperForConditionalGeneration(config), names, use_cache=False)
    return model, (torch.randn(2, 16, 40), tokens(2, 8))


def pvt():
    config = tf.PvtConfig(
        image_size=32,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 2, 3, 4],
    )
    return vision(tf.PvtForImageClassification(config))
