"""Falcon with rotary positions.

Its three layouts are one: groups of query heads with their key and value. There is a single group (multi-query), one
group per query head, or a number in between (the new decoder architecture)."""

from typing import Any

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import ConfigMapping, Family, same_names
from ..rope_and_window_mappings import FULL_ROPE
from ..weight_map import rule
from .bloom import BLOOM_BASE
from .gpt2 import GPT_HEADS, NO_CLASSIFIER_BIAS, bias_mapping
from .llama import TOKEN_CLASSIFIER_BIAS

__all__ = ["FAMILIES"]


def residual_type_to_ours(native: Any) -> dict[str, Any]:
    if not native.parallel_attn:
        return {"residual_type": "pre"}
    default_norms = 2 if native.new_decoder_architecture else 1
    norms = native.num_ln_in_parallel_attn or default_norms
    return {"residual_type": {1: "parallel", 2: "parallel_two_norms"}[norms]}


def key_value_heads_to_ours(native: Any) -> dict[str, Any]:
    is_multi_query = native.multi_query and not native.new_decoder_architecture
    return {"num_key_value_heads": 1 if is_multi_query else native.num_kv_heads}


def architecture_to_native(ours: Any) -> dict[str, Any]:
    groups = ours.num_key_value_heads
    norms = {"parallel": 1, "parallel_two_norms": 2}.get(ours.residual_type)
    is_new = norms == 2 or (norms == 1 and groups not in (1, ours.num_attention_heads))
    return {
        "parallel_attn": norms is not None,
        "num_ln_in_parallel_attn": norms,
        "new_decoder_architecture": is_new,
        "multi_query": groups == 1,
        "num_kv_heads": groups if is_new else None,
    }


FALCON = Family(
    name="falcon",
    our_model_type="tfm_decoder",
    fixed_fields={**PLAIN_LAYER_NORM, **NO_CLASSIFIER_BIAS, "position_type": "rotary"},
    base_weights=(
        *BLOOM_BASE,
        rule("h.{}.ln_attn", "layers.{}.self_attn_residual.pre_norm"),
        rule("h.{}.ln_mlp", "layers.{}.mlp_residual.pre_norm"),
    ),
    head_weights=GPT_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_dropout",
            "max_position_embeddings", "initializer_range", "rope_parameters", "use_cache", "tie_word_embeddings",
        ),
        "layer_norm_epsilon": "norm_eps", "ffn_hidden_size": "intermediate_size", "activation": "hidden_act",
    },
    config_mappings=(
        bias_mapping("bias"),
        FULL_ROPE,
        ConfigMapping(residual_type_to_ours, architecture_to_native, ("parallel_attn", "num_ln_in_parallel_attn")),
        ConfigMapping(
            key_value_heads_to_ours, native_fields=("new_decoder_architecture", "multi_query", "num_kv_heads")
        ),
    ),
    required_values={"alibi": False},
    ignored_fields={"attention_dropout": "not applied with rotary positions"},
)  # fmt: skip

FAMILIES = (FALCON,)
