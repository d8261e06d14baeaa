"""Qwen 2 and 3. Their mixtures of experts are in `moe.py`."""

import dataclasses
from typing import Any

from ..family import ConfigMapping, Family, without
from ..rope_and_window_mappings import FULL_ROPE, has_window
from .llama import (
    ATTENTION_BIAS,
    DECODER_HEADS,
    HEAD_DIM,
    LLAMA_BASE,
    LLAMA_FIELDS,
    TOKEN_CLASSIFIER_BIAS,
    qk_norm_rules,
)

__all__ = ["FAMILIES", "QWEN2", "QWEN3"]


def window_to_ours(native: Any) -> dict[str, Any]:
    return {"sliding_window": native.sliding_window or None, "layer_types": list(native.layer_types)}


def window_to_native(ours: Any) -> dict[str, Any]:
    """The native configuration drops sliding_window unless use_sliding_window is set."""
    fields: dict[str, Any] = {"layer_types": list(ours.layer_types)}
    if has_window(ours):
        fields |= {"use_sliding_window": True, "sliding_window": ours.sliding_window}
    return fields


QWEN2 = Family(
    name="qwen2",
    our_model_type="tfm_decoder",
    recipe="llama",
    base_weights=LLAMA_BASE,
    head_weights=DECODER_HEADS,
    head_fields=TOKEN_CLASSIFIER_BIAS,
    fixed_fields={"qkv_bias": True},
    field_map=without(LLAMA_FIELDS, "head_dim"),
    config_mappings=(
        HEAD_DIM,
        FULL_ROPE,
        ConfigMapping(window_to_ours, window_to_native, ("sliding_window", "layer_types")),
    ),
    ignored_fields=dict.fromkeys(
        ("use_sliding_window", "max_window_layers"), "already in sliding_window and layer_types"
    ),
)

QWEN3 = dataclasses.replace(
    QWEN2,
    name="qwen3",
    base_weights=(*LLAMA_BASE, *qk_norm_rules()),
    fixed_fields={"qk_norm": "head"},
    field_map=LLAMA_FIELDS,
    config_mappings=(ATTENTION_BIAS, *QWEN2.config_mappings[1:]),
)

FAMILIES = (QWEN2, QWEN3)
