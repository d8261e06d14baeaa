"""Models of other implementations, of any size, with random weights and without dropout.

Native models are those of transformers; x-transformers is another library."""

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import (
    BartConfig,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    ModernBertConfig,
    T5Config,
)

from hf_tfm.conversion.auto_classes import model_class

__all__ = ["NATIVE_CONFIGS", "X_TRANSFORMERS", "ModelSizes", "PeerNotInstalledError", "native_model",
           "x_transformers_model"]  # fmt: skip

X_TRANSFORMERS = "x-transformers"


class PeerNotInstalledError(ImportError):
    """The library of a peer is not installed; the message says how to install it."""


@dataclass(frozen=True)
class ModelSizes:
    """Widths in elements; `length`: the longest sequence, tokens."""

    hidden_size: int = 256
    layers: int = 6
    heads: int = 8
    vocab_size: int = 8192
    length: int = 256

    @property
    def gated_intermediate_size(self) -> int:
        """Width of a gated feed-forward with as many weights as a plain one of 4 x hidden_size, a multiple of 64."""
        return -(-8 * self.hidden_size // 3 // 64) * 64


def llama_config(sizes: ModelSizes) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=sizes.vocab_size, hidden_size=sizes.hidden_size, intermediate_size=sizes.gated_intermediate_size,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, max_position_embeddings=sizes.length,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def gpt2_config(sizes: ModelSizes) -> GPT2Config:
    return GPT2Config(
        vocab_size=sizes.vocab_size, n_embd=sizes.hidden_size, n_layer=sizes.layers, n_head=sizes.heads,
        n_positions=sizes.length, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def bert_config(sizes: ModelSizes) -> BertConfig:
    return BertConfig(
        vocab_size=sizes.vocab_size, hidden_size=sizes.hidden_size, intermediate_size=4 * sizes.hidden_size,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, max_position_embeddings=sizes.length,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def modernbert_config(sizes: ModelSizes) -> ModernBertConfig:
    """ModernBERT's own feed-forward, gated and 1.5 x hidden_size wide, and its own alternation of local and global
    attention."""
    return ModernBertConfig(
        vocab_size=sizes.vocab_size, hidden_size=sizes.hidden_size, intermediate_size=3 * sizes.hidden_size // 2,
        num_hidden_layers=sizes.layers, num_attention_heads=sizes.heads, max_position_embeddings=sizes.length,
        pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2,
    )  # fmt: skip


def t5_config(sizes: ModelSizes) -> T5Config:
    config = T5Config(
        vocab_size=sizes.vocab_size, d_model=sizes.hidden_size, d_kv=sizes.hidden_size // sizes.heads,
        d_ff=4 * sizes.hidden_size, num_layers=sizes.layers, num_heads=sizes.heads, dropout_rate=0.0,
    )  # fmt: skip
    # published checkpoints set this field, the class has no default for it
    config.decoder_start_token_id = 0
    return config


def bart_config(sizes: ModelSizes) -> BartConfig:
    return BartConfig(
        vocab_size=sizes.vocab_size, d_model=sizes.hidden_size, encoder_layers=sizes.layers,
        decoder_layers=sizes.layers, encoder_attention_heads=sizes.heads, decoder_attention_heads=sizes.heads,
        encoder_ffn_dim=4 * sizes.hidden_size, decoder_ffn_dim=4 * sizes.hidden_size,
        max_position_embeddings=sizes.length, dropout=0.0,
    )  # fmt: skip


NATIVE_CONFIGS = {
    "llama": llama_config, "gpt2": gpt2_config, "bert": bert_config, "modernbert": modernbert_config,
    "t5": t5_config, "bart": bart_config,
}  # fmt: skip


def native_model(family: str, head: str, sizes: ModelSizes, seed: int = 0) -> Any:
    """A model of transformers with random weights. Raises ConversionError if the family lacks the head."""
    config = NATIVE_CONFIGS[family](sizes)
    torch.manual_seed(seed)
    return model_class(config, head)(config)


class XTransformersDecoder(nn.Module):
    """The decoder of x-transformers in Llama's shape, called like a model of transformers."""

    def __init__(self, sizes: ModelSizes) -> None:
        import x_transformers as x  # pyright: ignore[reportMissingImports]  # types are checked without it installed

        super().__init__()
        self.config = llama_config(sizes)
        head_size = sizes.hidden_size // sizes.heads
        layers = x.Decoder(
            dim=sizes.hidden_size, depth=sizes.layers, heads=sizes.heads, attn_dim_head=head_size,
            rotary_emb_dim=head_size, rotary_pos_emb=True, attn_flash=True, use_rmsnorm=True, ff_glu=True,
            ff_swish=True, ff_no_bias=True, ff_mult=sizes.gated_intermediate_size / sizes.hidden_size,
        )  # fmt: skip
        net = x.TransformerWrapper(
            num_tokens=sizes.vocab_size, max_seq_len=sizes.length, attn_layers=layers, tie_embedding=True,
            use_abs_pos_emb=False,
        )  # fmt: skip
        self.model = x.AutoregressiveWrapper(net)
        # the embedding table is the vocabulary head too, which has no module of its own
        self.tied_head = net.get_parameter("token_emb.emb.weight")

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        """A mapping with the loss, nats per next token. Labels must be the input ids, without padding."""
        return {"loss": self.model(input_ids)}


def x_transformers_model(head: str, sizes: ModelSizes, seed: int = 0) -> nn.Module:
    """Raises PeerNotInstalledError if the library is missing, and ValueError for a head other than causal-lm."""
    if head != "causal-lm":
        raise ValueError(
            f"{X_TRANSFORMERS} is compared as a causal language model only, not with the head {head}; leave it out of "
            "--peers."
        )
    if importlib.util.find_spec("x_transformers") is None:
        raise PeerNotInstalledError('x-transformers is not installed: pip install "x-transformers>=2.0"')
    torch.manual_seed(seed)
    return XTransformersDecoder(sizes)
