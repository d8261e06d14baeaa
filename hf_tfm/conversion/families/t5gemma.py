"""T5Gemma: an encoder and a decoder like Gemma 2, each with its own configuration."""

from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names
from ..rope_and_window_mappings import rope_of_full_heads
from ..weight_map import WeightMap, rule
from ..weight_transforms import ADD_ONE

__all__ = ["FAMILIES"]


def attention_rules(stack: str, name: str) -> WeightMap:
    layer = f"{stack}.layers.{{}}"
    return (
        *(rule(f"{layer}.{name}.{x}_proj", f"{layer}.{name}.{x}_proj") for x in "qkvo"),
        rule(f"{layer}.pre_{name}_layernorm", f"{layer}.{name}_residual.pre_norm", ADD_ONE),
        rule(f"{layer}.post_{name}_layernorm", f"{layer}.{name}_residual.branch_norm", ADD_ONE),
    )


def stack_rules(stack: str) -> WeightMap:
    layer = f"{stack}.layers.{{}}"
    return (
        rule(f"{stack}.embed_tokens", f"{stack}.embed_tokens"),
        *attention_rules(stack, "self_attn"),
        *attention_rules(stack, "cross_attn"),
        *(rule(f"{layer}.mlp.{x}_proj", f"{layer}.mlp.{x}_proj") for x in ("gate", "up", "down")),
        rule(f"{layer}.pre_feedforward_layernorm", f"{layer}.mlp_residual.pre_norm", ADD_ONE),
        rule(f"{layer}.post_feedforward_layernorm", f"{layer}.mlp_residual.branch_norm", ADD_ONE),
        rule(f"{stack}.norm", f"{stack}.norm", ADD_ONE),
    )


# Field of both native stacks, equal in both -> our field.
COMMON_FIELDS = {
    "hidden_activation": "hidden_act", "rms_norm_eps": "norm_eps",
    **same_names("max_position_embeddings", "rope_parameters", "sliding_window", "attn_logit_softcapping"),
}  # fmt: skip
# Equal in both native stacks, but not a change of name.
OTHER_COMMON_FIELDS = ("attention_bias", "query_pre_attn_scalar")
# Field of a native stack -> our field of the encoder.
ENCODER_FIELDS = same_names(
    "num_hidden_layers", "num_attention_heads", "vocab_size", "hidden_size", "num_key_value_heads", "head_dim",
    "intermediate_size", "layer_types",
)  # fmt: skip
# Field of a native stack -> our field of the decoder.
DECODER_FIELDS = {
    **{name: f"decoder_{name}" for name in ENCODER_FIELDS},
    "num_hidden_layers": "decoder_layers",
    "num_attention_heads": "decoder_attention_heads",
}
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")


def check_common_fields(native: Any) -> None:
    for name in (*COMMON_FIELDS, *OTHER_COMMON_FIELDS):
        encoder, decoder = getattr(native.encoder, name), getattr(native.decoder, name)
        if encoder != decoder:
            raise ConversionError(
                f"t5gemma with {name}={encoder!r} in the encoder and {decoder!r} in the decoder is not supported; one "
                "value for both is."
            )


def stacks_to_ours(native: Any) -> dict[str, Any]:
    encoder, decoder = native.encoder, native.decoder
    scalar = encoder.query_pre_attn_scalar
    return {
        **{ours: getattr(encoder, name) for name, ours in COMMON_FIELDS.items()},
        **{ours: getattr(encoder, name) for name, ours in ENCODER_FIELDS.items()},
        **{ours: getattr(decoder, name) for name, ours in DECODER_FIELDS.items()},
        "rope_parameters": rope_of_full_heads(encoder.rope_parameters),
        "qkv_bias": encoder.attention_bias,
        "out_bias": encoder.attention_bias,
        "attention_scale": None if scalar == encoder.head_dim == decoder.head_dim else scalar**-0.5,
        "embedding_scale": encoder.hidden_size**0.5,
        "decoder_embedding_scale": decoder.hidden_size**0.5,
        "final_logit_softcapping": decoder.final_logit_softcapping,
        "decoder_start_token_id": decoder.bos_token_id,
        **dict.fromkeys(("hidden_dropout", "embedding_dropout", "activation_dropout"), native.dropout_rate),
    }


def stacks_to_native(ours: Any) -> dict[str, Any]:
    scale = ours.attention_scale
    common = {
        **{name: getattr(ours, our_name) for name, our_name in COMMON_FIELDS.items()},
        # the native model builds the mask of the window even if no layer has one
        "sliding_window": ours.sliding_window or 4096,
        "attention_bias": ours.qkv_bias,
        "query_pre_attn_scalar": ours.head_dim if scale is None else round(scale**-2),
        "final_logit_softcapping": ours.final_logit_softcapping,
        "initializer_range": ours.initializer_range,
        "tie_word_embeddings": ours.tie_word_embeddings,
        **{name: getattr(ours, name) for name in TOKEN_IDS},
    }
    encoder = common | {name: getattr(ours, our_name) for name, our_name in ENCODER_FIELDS.items()}
    decoder = common | {name: getattr(ours, our_name) for name, our_name in DECODER_FIELDS.items()}
    decoder["bos_token_id"] = ours.decoder_start_token_id
    return {
        "encoder": encoder,
        "decoder": decoder,
        "vocab_size": ours.decoder_vocab_size,
        "dropout_rate": ours.hidden_dropout,
        "initializer_range": ours.initializer_range,
    }


T5GEMMA = Family(
    name="t5gemma",
    our_model_type="tfm_seq2seq",
    base_weights=(*stack_rules("encoder"), *stack_rules("decoder")),
    # The native sequence classifier reads the token after the last one, which none of our poolings does.
    head_weights={"base": (), "encoder": (), "seq2seq-lm": (rule("lm_head.out_proj", "lm_head"),)},
    native_head_fields={"encoder": {"is_encoder_decoder": False}},
    fixed_fields={"residual_type": "sandwich"},
    field_map={
        "classifier_dropout_rate": "classifier_dropout",
        **same_names("attention_dropout", "tie_word_embeddings", "initializer_range"),
    },
    config_mappings=(
        ConfigMapping(
            stacks_to_ours, stacks_to_native, ("encoder", "decoder", "dropout_rate", "vocab_size"), check_common_fields
        ),
    ),
)

FAMILIES = (T5GEMMA,)
