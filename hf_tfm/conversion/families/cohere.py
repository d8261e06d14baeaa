"""Cohere (Command R) and Cohere 2 (Command R7B): parallel branches, layer norms without bias, interleaved rotary
positions; and the text model of Cohere Compass, whose rotary positions are by halves."""

import dataclasses
from typing import Any

from ...modeling.config_checks import LAYER_TYPES
from ..family import ConfigMapping, without
from ..rope_and_window_mappings import (
    FULL_ROPE,
    WINDOW_BY_LAYER_TYPE,
    rope_layers_field,
    rope_of_full_heads,
    window_by_layer_type_to_native,
    window_by_layer_type_to_ours,
)
from ..weight_transforms import PERMUTE_NORM_FOR_ROPE
from .glm import HELIUM, INTERLEAVED_ROPE_ATTENTION
from .llama import (
    ATTENTION,
    ATTENTION_BIAS,
    DECODER_HEADS,
    EMBEDDING,
    GATED_MLP,
    HEAD_DIM,
    LLAMA_FIELDS,
    LM_HEAD,
    norm_rules,
    qk_norm_rules,
)
from .stablelm import qk_norm_mapping

__all__ = ["FAMILIES"]

# `pooling` of Compass -> ours
POOLINGS = {"bos": "first", "eos": "last_token", "mean": "mean"}


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

# key of rotary parameters -> only for positions in images, which are equal in all three directions of a text
IMAGE_KEYS = ("mrope_section", "mrope_interleaved")


def compass_rope_to_ours(native: Any) -> dict[str, Any]:
    """Rotary parameters by layer type; None for one whose layers have no positions."""
    kinds = sorted(set(native.layer_types))
    rotated = {kind: native.rope_parameters[kind] for kind in kinds if native.rope_parameters[kind] is not None}
    if not rotated:
        return {"position_type": "none"}
    by_type = {kind: without(rope_of_full_heads(rope), "truncate", *IMAGE_KEYS) for kind, rope in rotated.items()}
    first, *others = by_type.values()
    rope = first if all(other == first for other in others) else by_type
    return {"rope_parameters": rope} | rope_layers_field([kind in rotated for kind in native.layer_types])


def compass_rope_to_native(ours: Any) -> dict[str, Any]:
    if ours.position_type == "none":
        return {"rope_parameters": dict.fromkeys(LAYER_TYPES)}
    has_rope = ours.rope_layers or [True] * ours.num_hidden_layers
    rotated = {kind for kind, flag in zip(ours.layer_types, has_rope, strict=True) if flag}
    rope = ours.rope_parameters
    return {"rope_parameters": {kind: dict(rope.get(kind, rope)) if kind in rotated else None for kind in LAYER_TYPES}}


COHERE_COMPASS_TEXT = dataclasses.replace(
    COHERE2,
    name="cohere_compass_text",
    base_weights=(
        EMBEDDING,
        *norm_rules({"input_layernorm": "self_attn_residual.pre_norm"}),
        *ATTENTION,
        *GATED_MLP,
    ),
    head_weights={head: DECODER_HEADS[head] for head in ("base", "causal-lm", "sequence-classification")},
    field_map=without(COHERE2.field_map, "head_dim", "logit_scale", "rope_parameters"),
    config_mappings=(
        ATTENTION_BIAS,
        WINDOW_BY_LAYER_TYPE,
        ConfigMapping(compass_rope_to_ours, compass_rope_to_native, ("rope_parameters",)),
        ConfigMapping(
            lambda native: {"logit_scale": 1.0 if native.logit_scale is None else native.logit_scale},
            lambda ours: {"logit_scale": ours.logit_scale},
            ("logit_scale",),
        ),
        ConfigMapping(
            lambda native: {"pooling": POOLINGS[native.pooling or "eos"]},
            lambda ours: {"pooling": next((name for name, our in POOLINGS.items() if our == ours.pooling), None)},
            ("pooling",),
        ),
    ),
)

FAMILIES = (COHERE, COHERE2, COHERE_COMPASS_TEXT)
