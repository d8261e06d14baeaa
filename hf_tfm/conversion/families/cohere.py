"""Cohere (Command R) and Cohere 2 (Command R7B): parallel branches, layer norms without bias, interleaved rotary
positions."""

import dataclasses
from typing import Any

from ..family import ConfigMapping, without
from ..rope_and_window_mappings import (
    FULL_ROPE,
    WINDOW_BY_LAYER_TYPE,
    rope_layers_field,
    window_by_layer_type_to_native,
    window_by_layer_type_to_ours,
)
from ..weight_transforms import PERMUTE_NORM_FOR_ROPE
from .glm import HELIUM, INTERLEAVED_ROPE_ATTENTION
from .llama import ATTENTION_BIAS, EMBEDDING, GATED_MLP, HEAD_DIM, LLAMA_FIELDS, LM_HEAD, norm_rules, qk_norm_rules
from .stablelm import qk_norm_mapping

__all__ = ["FAMILIES"]


def window_and_rope_to_ours(native: Any) -> dict[str, Any]:
    """Layers without a window have no rotary positions."""
    has_rope = [kind == "sliding_attention" for kind in native.layer_types]
    return window_by_layer_type_to_ours(native) | rope_layers_field(has_rope)


COHERE2 = dataclasses.replace(
    HELIUM,
    name="cohere2",
    base_weights=(
        EMBEDDING,
        *norm_rules({"input_layernorm": "self_attn_residual.pre_norm"}),
        *INTERLEAVED_ROPE_ATTENTION,
        *GATED_MLP,
    ),
    head_weights={"base": (), "causal-lm": LM_HEAD},
    fixed_fields={"residual_type": "parallel", "norm_type": "layer_norm", "norm_bias": False},
    field_map={**without(LLAMA_FIELDS, "rms_norm_eps"), "layer_norm_eps": "norm_eps", "logit_scale": "logit_scale"},
    config_mappings=(
        ATTENTION_BIAS,
        FULL_ROPE,
        ConfigMapping(window_and_rope_to_ours, window_by_layer_type_to_native, WINDOW_BY_LAYER_TYPE.native_fields),
    ),
)

COHERE = dataclasses.replace(
    COHERE2,
    name="cohere",
    base_weights=(*COHERE2.base_weights, *qk_norm_rules(PERMUTE_NORM_FOR_ROPE)),
    field_map=without(COHERE2.field_map, "head_dim"),
    config_mappings=(ATTENTION_BIAS, HEAD_DIM, FULL_ROPE, qk_norm_mapping("use_qk_norm", "heads")),
)

FAMILIES = (COHERE, COHERE2)
