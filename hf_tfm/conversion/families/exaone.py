"""EXAONE 4: like OLMo 2, with norms of queries and keys per head and sliding windows."""

import dataclasses
from typing import Any

from ..family import ConfigMapping, without
from ..rope_and_window_mappings import (
    FULL_ROPE,
    WINDOW_BY_LAYER_TYPE,
    has_window,
    rope_layers_field,
    window_by_layer_type_to_native,
    window_by_layer_type_to_ours,
)
from .llama import ATTENTION, EMBEDDING, GATED_MLP, HEAD_DIM, LLAMA, LLAMA_FIELDS, qk_norm_rules
from .olmo import OUTPUT_NORMS

__all__ = ["FAMILIES"]


def window_and_rope_to_ours(native: Any) -> dict[str, Any]:
    """If the model has a window, layers without it have no rotary positions."""
    has_rope = [native.sliding_window is None or kind == "sliding_attention" for kind in native.layer_types]
    return window_by_layer_type_to_ours(native) | rope_layers_field(has_rope)


def window_and_rope_to_native(ours: Any) -> dict[str, Any]:
    fields = window_by_layer_type_to_native(ours)
    if not has_window(ours) and ours.rope_layers is None:
        fields["sliding_window"] = None
    return fields


EXAONE4 = dataclasses.replace(
    LLAMA,
    name="exaone4",
    base_weights=(EMBEDDING, *OUTPUT_NORMS, *ATTENTION, *qk_norm_rules(), *GATED_MLP),
    fixed_fields={"residual_type": "inner", "qk_norm": "head"},
    field_map=without(LLAMA_FIELDS, "head_dim"),
    config_mappings=(
        HEAD_DIM,
        FULL_ROPE,
        ConfigMapping(window_and_rope_to_ours, window_and_rope_to_native, WINDOW_BY_LAYER_TYPE.native_fields),
    ),
    ignored_fields={"sliding_window_pattern": "already in layer_types"},
)

FAMILIES = (EXAONE4,)
