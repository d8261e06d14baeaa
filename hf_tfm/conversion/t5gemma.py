"""T5Gemma: two Gemma-2 stacks, each with a configuration of its own."""

from typing import Any

from .family import Computed, Family
from .layer_kinds import of_whole_heads
from .rows import PLUS_ONE, ConversionError, Row, row

__all__ = ["FAMILIES"]


def attention(side: str, name: str) -> list[Row]:
    layer = f"{side}.layers.{{}}"
    return [
        *(row(f"{layer}.{name}.{part}_proj", f"{layer}.{name}.{part}_proj") for part in "qkvo"),
        row(f"{layer}.pre_{name}_layernorm", f"{layer}.{name}_residual.before", PLUS_ONE),
        row(f"{layer}.post_{name}_layernorm", f"{layer}.{name}_residual.inside", PLUS_ONE),
    ]


def side_rows(side: str) -> list[Row]:
    layer = f"{side}.layers.{{}}"
    return [
        row(f"{side}.embed_tokens", f"{side}.embed_tokens"),
        *attention(side, "self_attn"),
        *attention(side, "cross_attn"),
        *(row(f"{layer}.mlp.{part}_proj", f"{layer}.mlp.{part}_proj") for part in ("gate", "up", "down")),
        row(f"{layer}.pre_feedforward_layernorm", f"{layer}.mlp_residual.before", PLUS_ONE),
        row(f"{layer}.post_feedforward_layernorm", f"{layer}.mlp_residual.inside", PLUS_ONE),
        row(f"{side}.norm", f"{side}.norm", PLUS_ONE),
    ]


# fields of a native stack that must be the same in both, and those of them that change their name alone
EQUAL = ("attention_bias", "query_pre_attn_scalar")
COMMON = {
    "hidden_activation": "hidden_act", "rms_norm_eps": "norm_eps",
    **{
        name: name
        for name in ("max_position_embeddings", "rope_parameters", "sliding_window", "attn_logit_softcapping")
    },
}  # fmt: skip
# field of a native stack -> the encoder's and the decoder's of ours
SIDES = {
    "num_hidden_layers": ("num_hidden_layers", "decoder_layers"),
    "num_attention_heads": ("num_attention_heads", "decoder_attention_heads"),
    **{
        name: (name, f"decoder_{name}")
        for name in ("vocab_size", "hidden_size", "num_key_value_heads", "head_dim", "intermediate_size", "layer_types")
    },
}
IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


def words(native: Any) -> dict[str, Any]:
    encoder, decoder = native.encoder, native.decoder
    for name in (*COMMON, *EQUAL):
        if getattr(encoder, name) != getattr(decoder, name):
            raise ConversionError(
                f"t5gemma with {name}={getattr(encoder, name)!r} in the encoder and {getattr(decoder, name)!r} in the "
                "decoder cannot be said in our block; one value for both can."
            )
    bias, scalar = encoder.attention_bias, encoder.query_pre_attn_scalar
    return {
        **{ours: getattr(encoder, name) for name, ours in COMMON.items()},
        "rope_parameters": of_whole_heads(encoder.rope_parameters),
        **{ours: getattr(encoder, name) for name, (ours, _) in SIDES.items()},
        **{ours: getattr(decoder, name) for name, (_, ours) in SIDES.items()},
        "qkv_bias": bias,
        "out_bias": bias,
        "attention_scale": None if scalar == encoder.head_dim == decoder.head_dim else scalar**-0.5,
        "embedding_scale": encoder.hidden_size**0.5,
        "decoder_embedding_scale": decoder.hidden_size**0.5,
        "final_logit_softcapping": decoder.final_logit_softcapping,
        "decoder_start_token_id": decoder.bos_token_id,
        **dict.fromkeys(("hidden_dropout", "embedding_dropout", "activation_dropout"), native.dropout_rate),
    }


def fields(ours: Any) -> dict[str, Any]:
    scale = ours.attention_scale
    common = {
        **{name: getattr(ours, mine) for name, mine in COMMON.items()},
        # natively the mask of windows is made with or without layers that have one
        "sliding_window": ours.sliding_window or 4096,
        "attention_bias": ours.qkv_bias,
        "query_pre_attn_scalar": ours.head_dim if scale is None else round(scale**-2),
        "final_logit_softcapping": ours.final_logit_softcapping,
        "initializer_range": ours.initializer_range,
        "tie_word_embeddings": ours.tie_word_embeddings,
        **{name: getattr(ours, name) for name in IDS},
    }
    encoder, decoder = (
        {**common, **{name: getattr(ours, mine[side]) for name, mine in SIDES.items()}} for side in (0, 1)
    )
    return {
        "encoder": encoder,
        "decoder": decoder | {"bos_token_id": ours.decoder_start_token_id},
        "vocab_size": ours.decoder_vocab_size,
        "dropout_rate": ours.hidden_dropout,
        "initializer_range": ours.initializer_range,
    }


T5GEMMA = Family(
    name="t5gemma",
    architecture="tfm_seq2seq",
    trunk=(*side_rows("encoder"), *side_rows("decoder")),
    # natively a sequence is classified at the token behind its last one, which no word of ours says
    heads={"base": (), "encoder": (), "seq2seq-lm": (row("lm_head.out_proj", "lm_head"),)},
    head_fields={"encoder": {"is_encoder_decoder": False}},
    words={"residual_type": "sandwich"},
    fields={
        "classifier_dropout_rate": "classifier_dropout", "attention_dropout": "attention_dropout",
        "tie_word_embeddings": "tie_word_embeddings", "initializer_range": "initializer_range",
    },
    computed=(Computed(words, fields, ("encoder", "decoder", "dropout_rate", "vocab_size")),),
)  # fmt: skip

FAMILIES = (T5GEMMA,)
