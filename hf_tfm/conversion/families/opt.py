"""Decoders from fairseq: OPT, XGLM and BioGPT."""

from typing import Any

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names, without
from ..weight_map import WeightMap, rule
from .gpt2 import GPT_HEADS, NO_CLASSIFIER_BIAS, bias_mapping
from .llama import TOKEN_CLASSIFIER_BIAS

__all__ = ["FAMILIES", "dropout_mapping"]


def fairseq_base(prefix: str, norm_placements: tuple[str, ...], final_norm: str) -> WeightMap:
    """Rules with `prefix` before the native names. `norm_placements`: "pre_norm", "post_norm",
    or both if the configuration decides. `final_layer_norm` of a layer is the norm of its feed-forward."""
    layer = f"{prefix}layers.{{}}"
    return (
        rule(f"{prefix}embed_tokens", "embed_tokens"),
        rule(f"{prefix}embed_positions", "position.embedding"),
        *(rule(f"{layer}.self_attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
        rule(f"{layer}.self_attn.out_proj", "layers.{}.self_attn.o_proj"),
        rule(f"{layer}.fc1", "layers.{}.mlp.up_proj"),
        rule(f"{layer}.fc2", "layers.{}.mlp.down_proj"),
        *(
            rule(f"{layer}.self_attn_layer_norm", f"layers.{{}}.self_attn_residual.{placement}")
            for placement in norm_placements
        ),
        *(rule(f"{layer}.final_layer_norm", f"layers.{{}}.mlp_residual.{placement}") for placement in norm_placements),
        rule(f"{prefix}{final_norm}", "norm"),
    )


def dropout_mapping(native_field: str) -> ConfigMapping:
    """One native field for the dropout of embeddings and of hidden states."""
    return ConfigMapping(
        lambda native: dict.fromkeys(("hidden_dropout", "embedding_dropout"), getattr(native, native_field)),
        lambda ours: {native_field: ours.hidden_dropout},
        (native_field,),
    )


# 1e-5 is a constant in the native norms
FAIRSEQ_FIXED_FIELDS = {**PLAIN_LAYER_NORM, **NO_CLASSIFIER_BIAS, "norm_eps": 1e-5, "position_offset": 2}
EMBEDDING_SCALE = ConfigMapping(
    lambda native: {"embedding_scale": native.hidden_size**0.5 if native.scale_embedding else 1.0},
    lambda ours: {"scale_embedding": ours.embedding_scale != 1.0},
    ("scale_embedding",),
)
LAYERDROP = {"layerdrop": "drops layers only in training"}


def check_embedding_size(native: Any) -> None:
    if native.word_embed_proj_dim != native.hidden_size:
        raise ConversionError(
            f"opt with word_embed_proj_dim={native.word_embed_proj_dim} and hidden_size={native.hidden_size} is not "
            "supported: our decoder has no projection of embeddings, so both must be equal."
        )


OPT = Family(
    name="opt",
    our_model_type="tfm_decoder",
    fixed_fields={**FAIRSEQ_FIXED_FIELDS, "position_type": "learned"},
    base_weights=fairseq_base("decoder.", ("pre_norm", "post_norm"), "final_layer_norm"),
    head_weights=without(GPT_HEADS, "token-classification"),
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings",
            "attention_dropout", "use_cache", "tie_word_embeddings",
        ),
        "ffn_dim": "intermediate_size", "activation_function": "hidden_act", "init_std": "initializer_range",
        "dropout": "hidden_dropout",
    },
    config_mappings=(
        bias_mapping("enable_bias"),
        ConfigMapping(check=check_embedding_size, native_fields=("word_embed_proj_dim",)),
        ConfigMapping(
            lambda native: {"residual_type": "pre" if native.do_layer_norm_before else "post"},
            lambda ours: {"do_layer_norm_before": ours.residual_type == "pre"},
            ("do_layer_norm_before",),
        ),
    ),
    required_values={"_remove_final_layer_norm": False, "layer_norm_elementwise_affine": True},
    ignored_fields=LAYERDROP,
)  # fmt: skip


def check_padding_position(native: Any) -> None:
    # the native table has zeros at index pad_token_id, and positions start at index 2
    if native.pad_token_id is not None and native.pad_token_id >= 2:
        raise ConversionError(
            f"xglm with pad_token_id={native.pad_token_id} is not supported, since its position "
            f"{native.pad_token_id - 2} is all zeros; pad_token_id=1 is."
        )


XGLM = Family(
    name="xglm",
    our_model_type="tfm_decoder",
    fixed_fields={**FAIRSEQ_FIXED_FIELDS, "position_type": "sinusoidal", "sinusoid_type": "half_minus_one"},
    base_weights=fairseq_base("", ("pre_norm",), "layer_norm"),
    head_weights={head: GPT_HEADS[head] for head in ("base", "causal-lm")},
    field_map={
        **same_names(
            "vocab_size", "max_position_embeddings", "attention_dropout", "activation_dropout", "use_cache",
            "tie_word_embeddings",
        ),
        "d_model": "hidden_size", "ffn_dim": "intermediate_size", "num_layers": "num_hidden_layers",
        "attention_heads": "num_attention_heads", "activation_function": "hidden_act", "init_std": "initializer_range",
    },
    config_mappings=(dropout_mapping("dropout"), EMBEDDING_SCALE, ConfigMapping(check=check_padding_position)),
    required_values={"add_cross_attention": False},
    ignored_fields={**LAYERDROP, "decoder_start_token_id": "part of the generation config"},
)  # fmt: skip

BIOGPT = Family(
    name="biogpt",
    our_model_type="tfm_decoder",
    fixed_fields={**FAIRSEQ_FIXED_FIELDS, "position_type": "learned"},
    base_weights=fairseq_base("", ("pre_norm",), "layer_norm"),
    head_weights={
        "base": (),
        "causal-lm": (rule("output_projection", "lm_head"),),
        "sequence-classification": GPT_HEADS["sequence-classification"],
        "token-classification": GPT_HEADS["token-classification"],
    },
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
            "hidden_act", "max_position_embeddings", "initializer_range", "activation_dropout", "use_cache",
            "tie_word_embeddings",
        ),
        "attention_probs_dropout_prob": "attention_dropout",
    },
    config_mappings=(dropout_mapping("hidden_dropout_prob"), EMBEDDING_SCALE),
    ignored_fields={**LAYERDROP, "layer_norm_eps": "not read: 1e-5 is a constant in the native norms"},
)  # fmt: skip

FAMILIES = (OPT, XGLM, BIOGPT)
