"""Llama and its close relatives: Mistral, Ministral, Ministral 3, Seed-OSS, Arcee, Nemotron, SmolLM3, CWM, Jais 2,
IQuest-Coder, InternLM3."""

import dataclasses
import math
from typing import Any

from ..family import ConfigMapping, Family, same_names, without
from ..rope_and_window_mappings import (
    FULL_ROPE,
    PARTIAL_ROPE,
    WINDOW_BY_LAYER_TYPE,
    WINDOW_IN_ALL_LAYERS,
    has_window,
    rope_layers_field,
    rope_of_full_heads_to_ours,
)
from ..weight_map import WeightMap, rule
from ..weight_transforms import ADD_ONE, IDENTITY, SPLIT_GATE_UP, Transform

__all__ = [
    "ATTENTION", "ATTENTION_BIAS", "DECODER_HEADS", "EMBEDDING", "FAMILIES", "FUSED_GATED_MLP", "GATED_MLP", "HEAD_DIM",
    "LLAMA", "LLAMA_BASE", "LLAMA_FIELDS", "LM_HEAD", "QKV_BIAS", "TOKEN_CLASSIFIER_BIAS", "attention_scale_field",
    "norm_rules", "qk_norm_rules",
]  # fmt: skip

# Weights

EMBEDDING = rule("embed_tokens", "embed_tokens")
ATTENTION = tuple(rule(f"layers.{{}}.self_attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkvo")
GATED_MLP = tuple(rule(f"layers.{{}}.mlp.{x}_proj", f"layers.{{}}.mlp.{x}_proj") for x in ("gate", "up", "down"))
FUSED_GATED_MLP = (
    rule("layers.{}.mlp.gate_up_proj", ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"), SPLIT_GATE_UP),
    rule("layers.{}.mlp.down_proj", "layers.{}.mlp.down_proj"),
)
PRE_NORMS = {"input_layernorm": "self_attn_residual.pre_norm", "post_attention_layernorm": "mlp_residual.pre_norm"}


def norm_rules(layer_norms: dict[str, str] = PRE_NORMS, transform: Transform = IDENTITY) -> WeightMap:
    """Rules of the norms in every layer (native name -> our name, both within the layer) and of the final norm.
    `transform` applies to the weights, not to the biases."""
    norms = {f"layers.{{}}.{native}": f"layers.{{}}.{ours}" for native, ours in layer_norms.items()} | {"norm": "norm"}
    rules = []
    for native, ours in norms.items():
        rules.append(rule(f"{native}.weight", f"{ours}.weight", transform))
        rules.append(rule(f"{native}.bias", f"{ours}.bias"))
    return tuple(rules)


def qk_norm_rules(transform: Transform = IDENTITY) -> WeightMap:
    """Rules of the norms of queries and keys."""
    return tuple(rule(f"layers.{{}}.self_attn.{x}_norm", f"layers.{{}}.self_attn.{x}_norm", transform) for x in "qk")


LLAMA_BASE = (EMBEDDING, *norm_rules(), *ATTENTION, *GATED_MLP)

LM_HEAD = (rule("lm_head", "lm_head"),)
# the generic head classes of transformers
DECODER_HEADS = {
    "base": (),
    "causal-lm": LM_HEAD,
    "sequence-classification": (rule("score", "classifier"),),
    "token-classification": (rule("score", "classifier"),),
    "question-answering": (rule("qa_outputs", "qa_outputs"),),
}
TOKEN_CLASSIFIER_BIAS = {"token-classification": {"classifier_bias": True}}

# Configuration

LLAMA_FIELDS = {
    **same_names(
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range",
        "attention_dropout", "rope_parameters", "use_cache", "tie_word_embeddings",
    ),
    "rms_norm_eps": "norm_eps",
}  # fmt: skip

# one native field for the biases of all four projections
ATTENTION_BIAS = ConfigMapping(
    to_ours=lambda native: {"qkv_bias": native.attention_bias, "out_bias": native.attention_bias},
    to_native=lambda ours: {"attention_bias": ours.qkv_bias},
    native_fields=("attention_bias",),
)
# the output projection has no bias
QKV_BIAS = ConfigMapping(
    to_ours=lambda native: {"qkv_bias": native.attention_bias},
    to_native=lambda ours: {"attention_bias": ours.qkv_bias},
    native_fields=("attention_bias",),
)


def head_dim_to_native(ours: Any) -> dict[str, Any]:
    # native classes do not read None as absent
    is_default = ours.head_dim * ours.num_attention_heads == ours.hidden_size
    return {} if is_default else {"head_dim": ours.head_dim}


# an optional field that the native configuration does not declare
HEAD_DIM = ConfigMapping(
    to_ours=lambda native: {"head_dim": getattr(native, "head_dim", None)},
    to_native=head_dim_to_native,
    native_fields=("head_dim",),
)


def attention_scale_field(scale: float, head_dim: int) -> float | None:
    """Our `attention_scale` for a factor of the attention scores; None means head_dim ** -0.5."""
    return None if math.isclose(scale, head_dim**-0.5, rel_tol=1e-12) else scale


# Families

LLAMA = Family(
    name="llama",
    our_model_type="tfm_decoder",
    recipe="llama",
    base_weights=LLAMA_BASE,
    head_weights=DECODER_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={**LLAMA_FIELDS, "mlp_bias": "mlp_bias"},
    config_mappings=(ATTENTION_BIAS, FULL_ROPE),
    ignored_fields={"pretraining_tp": "changes only the order of sums"},
)

MISTRAL = dataclasses.replace(
    LLAMA, name="mistral", field_map=LLAMA_FIELDS, config_mappings=(WINDOW_IN_ALL_LAYERS, FULL_ROPE), ignored_fields={}
)
MINISTRAL = dataclasses.replace(MISTRAL, name="ministral", config_mappings=(WINDOW_BY_LAYER_TYPE, FULL_ROPE))

SEED_OSS = dataclasses.replace(
    LLAMA,
    name="seed_oss",
    field_map={
        **LLAMA_FIELDS, "mlp_bias": "mlp_bias", "attention_bias": "qkv_bias", "attention_out_bias": "out_bias",
        "residual_dropout": "hidden_dropout",
    },
    config_mappings=(FULL_ROPE,),
)  # fmt: skip

ARCEE = dataclasses.replace(LLAMA, name="arcee", fixed_fields={"mlp_type": "plain"}, ignored_fields={})

# norms multiply by 1 + weight; a part of each head may be rotated
NEMOTRON = dataclasses.replace(
    LLAMA,
    name="nemotron",
    base_weights=(EMBEDDING, *norm_rules(transform=ADD_ONE), *ATTENTION, *GATED_MLP),
    fixed_fields={"norm_type": "layer_norm", "mlp_type": "plain"},
    field_map={**without(LLAMA_FIELDS, "rms_norm_eps"), **same_names("norm_eps", "mlp_bias")},
    config_mappings=(ATTENTION_BIAS, PARTIAL_ROPE),
    ignored_fields={},
)


def temperature_to_ours(native: Any) -> dict[str, Any]:
    rope = rope_of_full_heads_to_ours(native)["rope_parameters"]
    own = {"query_temperature": rope["llama_4_scaling_beta"] or None}
    if own["query_temperature"] is not None:
        own["query_temperature_length"] = rope["original_max_position_embeddings"]
    unread = ("llama_4_scaling_beta", "max_position_embeddings", "type")
    # other rotary positions have no such length
    unread = unread if rope["rope_type"] == "yarn" else (*unread, "original_max_position_embeddings")
    return {**own, "rope_parameters": without(rope, *unread)}


def temperature_to_native(ours: Any) -> dict[str, Any]:
    length = ours.query_temperature_length or ours.max_position_embeddings
    own = {"llama_4_scaling_beta": ours.query_temperature or 0.0, "original_max_position_embeddings": length}
    return {"rope_parameters": {**own, **ours.rope_parameters}}


# its rotary parameters hold the temperature of the queries, and one length for both
MINISTRAL3 = dataclasses.replace(
    MISTRAL,
    name="ministral3",
    config_mappings=(WINDOW_IN_ALL_LAYERS, ConfigMapping(temperature_to_ours, temperature_to_native)),
)


def smollm3_rope_layers_to_ours(native: Any) -> dict[str, Any]:
    return rope_layers_field([bool(has_rope) for has_rope in native.no_rope_layers])


def smollm3_rope_layers_to_native(ours: Any) -> dict[str, Any]:
    # despite its name, no_rope_layers has a 1 for layers with rotary positions
    has_rope = ours.rope_layers or [True] * ours.num_hidden_layers
    return {"no_rope_layers": [int(flag) for flag in has_rope], "use_sliding_window": has_window(ours)}


SMOLLM3 = dataclasses.replace(
    LLAMA,
    name="smollm3",
    field_map={**without(LLAMA_FIELDS, "head_dim"), "mlp_bias": "mlp_bias"},
    config_mappings=(
        ATTENTION_BIAS,
        HEAD_DIM,
        FULL_ROPE,
        WINDOW_BY_LAYER_TYPE,
        ConfigMapping(smollm3_rope_layers_to_ours, smollm3_rope_layers_to_native, ("no_rope_layers",)),
    ),
    ignored_fields={
        "use_sliding_window": "already in layer_types",
        "no_rope_layer_interval": "already in no_rope_layers",
    },
)

CWM = dataclasses.replace(
    LLAMA,
    name="cwm",
    head_weights={"base": (), "causal-lm": LM_HEAD},
    config_mappings=(WINDOW_BY_LAYER_TYPE, FULL_ROPE),
)

JAIS2 = dataclasses.replace(
    LLAMA,
    name="jais2",
    head_weights={"base": (), "causal-lm": LM_HEAD},
    fixed_fields={"norm_type": "layer_norm", "mlp_type": "plain"},
    field_map={**without(LLAMA_FIELDS, "rms_norm_eps"), "layer_norm_eps": "norm_eps", "mlp_bias": "mlp_bias"},
    ignored_fields={},
)

# transformers loads these checkpoints with its Llama code
IQUESTCODER = dataclasses.replace(
    LLAMA, name="iquestcoder", head_weights={"base": (), "causal-lm": LM_HEAD}, ignored_fields={}
)
INTERNLM3 = dataclasses.replace(IQUESTCODER, name="internlm3")

FAMILIES = (
    LLAMA, MISTRAL, MINISTRAL, MINISTRAL3, SEED_OSS, ARCEE, NEMOTRON, SMOLLM3, CWM, JAIS2, IQUESTCODER, INTERNLM3,
)  # fmt: skip
