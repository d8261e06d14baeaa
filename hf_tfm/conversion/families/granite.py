"""Granite: Llama with multipliers of embeddings, attention scores, branches and logits; also HyperCLOVA X, and the
Granite models with sliding windows, attention sinks and experts."""

import dataclasses
import math
from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, without
from ..rope_and_window_mappings import FULL_ROPE, WINDOW_BY_LAYER_TYPE, rope_layers_field, rope_of_full_heads_to_ours
from ..weight_map import rule
from ..weight_transforms import SPLIT_GATE_UP
from .llama import (
    ATTENTION,
    ATTENTION_BIAS,
    EMBEDDING,
    HEAD_DIM,
    LLAMA,
    LLAMA_BASE,
    LLAMA_FIELDS,
    LM_HEAD,
    attention_scale_field,
    norm_rules,
)
from .moe import MIXTRAL, MOE_FIELDS, SINGLE_EXPERT_SIZE

__all__ = ["FAMILIES"]

MULTIPLIERS = {"embedding_multiplier": "embedding_scale", "residual_multiplier": "residual_scale"}


def attention_multiplier_to_ours(native: Any) -> dict[str, Any]:
    head_dim = getattr(native, "head_dim", None) or native.hidden_size // native.num_attention_heads
    return {"attention_scale": attention_scale_field(native.attention_multiplier, head_dim)}


def attention_multiplier_to_native(ours: Any) -> dict[str, Any]:
    if ours.attention_scale is None:
        return {"attention_multiplier": ours.head_dim**-0.5}
    return {"attention_multiplier": ours.attention_scale}


ATTENTION_MULTIPLIER = ConfigMapping(
    attention_multiplier_to_ours, attention_multiplier_to_native, ("attention_multiplier",)
)
# the native model divides the logits by this field
LOGITS_DIVISOR = ConfigMapping(
    lambda native: {"logit_scale": 1 / native.logits_scaling},
    lambda ours: {"logits_scaling": 1 / ours.logit_scale},
    ("logits_scaling",),
)

GRANITE = dataclasses.replace(
    LLAMA,
    name="granite",
    head_weights={"base": (), "causal-lm": LM_HEAD},
    field_map={**without(LLAMA_FIELDS, "head_dim"), **MULTIPLIERS, "mlp_bias": "mlp_bias"},
    config_mappings=(ATTENTION_BIAS, HEAD_DIM, FULL_ROPE, ATTENTION_MULTIPLIER, LOGITS_DIVISOR),
    ignored_fields={},
)

# its model multiplies the logits by this field
HYPERCLOVAX = dataclasses.replace(
    GRANITE,
    name="hyperclovax",
    base_weights=(
        *LLAMA_BASE,
        rule("layers.{}.post_norm1", "layers.{}.self_attn_residual.branch_norm"),
        rule("layers.{}.post_norm2", "layers.{}.mlp_residual.branch_norm"),
    ),
    field_map={**LLAMA_FIELDS, **MULTIPLIERS, "mlp_bias": "mlp_bias", "logits_scaling": "logit_scale"},
    config_mappings=(
        ATTENTION_BIAS,
        FULL_ROPE,
        ATTENTION_MULTIPLIER,
        ConfigMapping(
            lambda native: {"residual_type": "sandwich" if native.use_post_norm else "pre"},
            lambda ours: {"use_post_norm": ours.residual_type == "sandwich"},
            ("use_post_norm",),
        ),
    ),
)


def position_embedding_type_to_ours(native: Any) -> dict[str, Any]:
    if native.position_embedding_type == "rope":
        return {"position_type": "rotary"} | rope_of_full_heads_to_ours(native)
    return {"position_type": "none"}


def position_embedding_type_to_native(ours: Any) -> dict[str, Any]:
    if ours.position_type == "rotary":
        return {"position_embedding_type": "rope", "rope_parameters": ours.rope_parameters}
    return {"position_embedding_type": None}


def layer_rope_theta_to_ours(native: Any) -> dict[str, Any]:
    """All layers with rotary positions share one base; a base of 0 means none. Raises ConversionError otherwise."""
    bases = set(native.layer_rope_theta) - {0}
    if len(bases) > 1:
        raise ConversionError(
            f"{native.model_type} with several bases in layer_rope_theta ({sorted(bases)}) is not supported; one is."
        )
    fields = rope_of_full_heads_to_ours(native)
    if bases:
        fields["rope_parameters"] = {**fields["rope_parameters"], "rope_theta": max(bases)}
    return fields | rope_layers_field([theta != 0 for theta in native.layer_rope_theta])


def layer_rope_theta_to_native(ours: Any) -> dict[str, Any]:
    has_rope = ours.rope_layers or [True] * ours.num_hidden_layers
    return {"layer_rope_theta": [ours.rope_parameters["rope_theta"] if flag else 0 for flag in has_rope]}


SINKS = (rule("layers.{}.self_attn.sinks", "layers.{}.self_attn.sinks"),)
LAYER_ROPE_THETA = ConfigMapping(layer_rope_theta_to_ours, layer_rope_theta_to_native, ("layer_rope_theta",))
GRANITE_SWA = dataclasses.replace(
    GRANITE,
    name="granite_swa",
    base_weights=(*GRANITE.base_weights, *SINKS),
    fixed_fields={"attention_sinks": True},
    config_mappings=(
        ATTENTION_BIAS,
        HEAD_DIM,
        WINDOW_BY_LAYER_TYPE,
        LAYER_ROPE_THETA,
        ATTENTION_MULTIPLIER,
        LOGITS_DIVISOR,
    ),
)

# The native router takes the softmax over the selected experts, which equals a softmax over all experts, normalised
# over the selected ones.
GRANITEMOE = dataclasses.replace(
    MIXTRAL,
    name="granitemoe",
    base_weights=(
        EMBEDDING,
        *norm_rules(),
        *ATTENTION,
        rule("layers.{}.block_sparse_moe.router", "layers.{}.mlp.gate"),
        rule("layers.{}.block_sparse_moe.experts.gate_up_proj", "layers.{}.mlp.experts.gate_up_proj"),
        rule("layers.{}.block_sparse_moe.experts.down_proj", "layers.{}.mlp.experts.down_proj"),
    ),
    head_weights=GRANITE.head_weights,
    field_map={**without(MOE_FIELDS, "head_dim"), **MULTIPLIERS, "num_local_experts": "num_experts"},
    config_mappings=(SINGLE_EXPERT_SIZE, *GRANITE.config_mappings),
    ignored_fields={},
)
# our shared expert has a gate, the native one has none
GRANITEMOE_SHARED = dataclasses.replace(
    GRANITEMOE, name="granitemoeshared", required_values={"shared_intermediate_size": 0}
)
GRANITEMOE_SWA = dataclasses.replace(
    GRANITEMOE_SHARED,
    name="granitemoe_swa",
    base_weights=(*GRANITEMOE.base_weights, *SINKS),
    fixed_fields={**GRANITEMOE.fixed_fields, "attention_sinks": True},
    config_mappings=(SINGLE_EXPERT_SIZE, *GRANITE_SWA.config_mappings),
)


def check_layers(native: Any) -> None:
    others = set(native.layer_types) - {"full_attention"}
    if others:
        raise ConversionError(
            f"{native.model_type} with {min(others)} in layer_types is not supported: our block has no Mamba layers; "
            "models of full_attention alone are."
        )


# without Mamba layers and experts: Granite with other names
GRANITEMOE_HYBRID = dataclasses.replace(
    GRANITE,
    name="granitemoehybrid",
    base_weights=(
        EMBEDDING,
        *norm_rules(),
        *ATTENTION,
        rule(
            "layers.{}.shared_mlp.input_linear", ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"), SPLIT_GATE_UP
        ),
        rule("layers.{}.shared_mlp.output_linear", "layers.{}.mlp.down_proj"),
    ),
    field_map={
        **without(GRANITE.field_map, "intermediate_size", "mlp_bias", "rope_parameters"),
        "shared_intermediate_size": "intermediate_size",
    },
    config_mappings=(
        ConfigMapping(
            check=check_layers,
            # the native configuration checks the heads of Mamba layers, even without any
            to_native=lambda ours: {
                "layer_types": list(ours.layer_types), "mamba_n_heads": math.gcd(128, 2 * ours.hidden_size),
            },
            native_fields=("layer_types", "mamba_n_heads"),
        ),
        ConfigMapping(
            position_embedding_type_to_ours,
            position_embedding_type_to_native,
            ("position_embedding_type", "rope_parameters"),
        ),
        ATTENTION_BIAS,
        HEAD_DIM,
        ATTENTION_MULTIPLIER,
        LOGITS_DIVISOR,
    ),
    required_values={"num_local_experts": 0},
    ignored_fields={
        **dict.fromkeys(
            ("intermediate_size", "num_experts_per_tok", "output_router_logits", "router_aux_loss_coef"),
            "only for experts",
        ),
        **dict.fromkeys(
            (
                "mamba_n_groups", "mamba_d_state", "mamba_d_head", "mamba_d_conv", "mamba_expand",
                "mamba_chunk_size", "mamba_conv_bias", "mamba_proj_bias", "time_step_limit",
            ),
            "only for Mamba layers",
        ),
    },
)  # fmt: skip

FAMILIES = (
    GRANITE, HYPERCLOVAX, GRANITE_SWA, GRANITEMOE, GRANITEMOE_SHARED, GRANITEMOE_SWA, GRANITEMOE_HYBRID,
)  # fmt: skip
