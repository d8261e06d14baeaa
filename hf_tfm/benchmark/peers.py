"""Native models, and x-transformers, of any size with random weights and without dropout: whom we are set against."""

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

from ..conversion.family import model_class

__all__ = ["NATIVE", "OTHERS", "PeerMissing", "Sizes", "native", "x_transformers"]


class PeerMissing(ImportError):
    """A peer that is not installed; the message says how to."""


@dataclass(frozen=True)
class Sizes:
    """Widths in elements, `length` in tokens: the longest sequence."""

    hidden_size: int = 256
    layers: int = 6
    heads: int = 8
    vocab_size: int = 8192
    length: int = 256

    @property
    def gated_size(self) -> int:
        """Width of a gated feed-forward with as many weights as a plain one of 4 x hidden_size, a multiple of 64."""
        return -(-8 * self.hidden_size // 3 // 64) * 64


def llama(size: Sizes) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=size.vocab_size, hidden_size=size.hidden_size, intermediate_size=size.gated_size,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, max_position_embeddings=size.length,
        tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def gpt2(size: Sizes) -> GPT2Config:
    return GPT2Config(
        vocab_size=size.vocab_size, n_embd=size.hidden_size, n_layer=size.layers, n_head=size.heads,
        n_positions=size.length, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def bert(size: Sizes) -> BertConfig:
    return BertConfig(
        vocab_size=size.vocab_size, hidden_size=size.hidden_size, intermediate_size=4 * size.hidden_size,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, max_position_embeddings=size.length,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip


def modernbert(size: Sizes) -> ModernBertConfig:
    """Its own feed-forward, gated and 1.5 x hidden_size wide, and its own alternation of local and global layers."""
    return ModernBertConfig(
        vocab_size=size.vocab_size, hidden_size=size.hidden_size, intermediate_size=3 * size.hidden_size // 2,
        num_hidden_layers=size.layers, num_attention_heads=size.heads, max_position_embeddings=size.length,
        pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2,
    )  # fmt: skip


def t5(size: Sizes) -> T5Config:
    config = T5Config(
        vocab_size=size.vocab_size, d_model=size.hidden_size, d_kv=size.hidden_size // size.heads,
        d_ff=4 * size.hidden_size, num_layers=size.layers, num_heads=size.heads, dropout_rate=0.0,
    )  # fmt: skip
    # published ones say it in their files, the class does not
    config.decoder_start_token_id = 0
    return config


def bart(size: Sizes) -> BartConfig:
    return BartConfig(
        vocab_size=size.vocab_size, d_model=size.hidden_size, encoder_layers=size.layers, decoder_layers=size.layers,
        encoder_attention_heads=size.heads, decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.hidden_size, decoder_ffn_dim=4 * size.hidden_size,
        max_position_embeddings=size.length, dropout=0.0,
    )  # fmt: skip


NATIVE = {"llama": llama, "gpt2": gpt2, "bert": bert, "modernbert": modernbert, "t5": t5, "bart": bart}


def native(family: str, head: str, size: Sizes, seed: int = 0) -> Any:
    """A native model with random weights. Raises ConversionError if the family lacks the head."""
    config = NATIVE[family](size)
    torch.manual_seed(seed)
    return model_class(config, head)(config)


class FromXTransformers(nn.Module):
    """x-transformers' decoder in Llama's shape, asked as a model of the host is."""

    def __init__(self, size: Sizes) -> None:
        import x_transformers as x  # pyright: ignore[reportMissingImports]  # the types are checked without it

        super().__init__()
        self.config = llama(size)
        layers = x.Decoder(
            dim=size.hidden_size, depth=size.layers, heads=size.heads, attn_dim_head=size.hidden_size // size.heads,
            rotary_emb_dim=size.hidden_size // size.heads, rotary_pos_emb=True, attn_flash=True, use_rmsnorm=True,
            ff_glu=True, ff_swish=True, ff_no_bias=True, ff_mult=size.gated_size / size.hidden_size,
        )  # fmt: skip
        net = x.TransformerWrapper(
            num_tokens=size.vocab_size, max_seq_len=size.length, attn_layers=layers, tie_embedding=True,
            use_abs_pos_emb=False,
        )  # fmt: skip
        self.model = x.AutoregressiveWrapper(net)
        # the table of words is the vocabulary head too, and no module of its own
        self.tied_head = net.get_parameter("token_emb.emb.weight")

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> Any:
        """A mapping with the loss, nats per next token; labels are the input ids, without padding."""
        return {"loss": self.model(input_ids)}


def x_transformers(head: str, size: Sizes, seed: int = 0) -> nn.Module:
    """Raises PeerMissing if it is not installed, and ValueError for a head other than causal-lm."""
    if head != "causal-lm":
        raise ValueError(f"x-transformers is compared as a causal language model only, not with the head {head}.")
    if importlib.util.find_spec("x_transformers") is None:
        raise PeerMissing('x-transformers is not installed: pip install "x-transformers>=2.0"')
    torch.manual_seed(seed)
    return FromXTransformers(size)


OTHERS = {"x-transformers": x_transformers}
