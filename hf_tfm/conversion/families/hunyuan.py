"""Hunyuan (dense): Llama with norms of queries and keys after the rotation."""

import dataclasses
from typing import Any

from ..family import ConfigMapping, without
from ..rope_and_window_mappings import rope_of_full_heads, single_rope
from ..weight_map import rule
from .llama import ATTENTION_BIAS, DECODER_HEADS, LLAMA, LLAMA_BASE, LLAMA_FIELDS

__all__ = ["FAMILIES"]


def stretched_rope_to_ours(native: Any) -> dict[str, Any]:
    """`alpha` beside "dynamic" scales the base once for all lengths, so that it is part of ours."""
    rope = rope_of_full_heads(single_rope(native))
    if rope["rope_type"] == "dynamic" and rope.get("alpha"):
        head_dim = native.head_dim
        theta = rope["rope_theta"] * rope["alpha"] ** (head_dim / (head_dim - 2))
        rope = {"rope_type": "default", "rope_theta": theta}
    return {"rope_parameters": without(rope, "alpha")}


HUNYUAN_V1_DENSE = dataclasses.replace(
    LLAMA,
    name="hunyuan_v1_dense",
    base_weights=(
        *LLAMA_BASE,
        rule("layers.{}.self_attn.query_layernorm", "layers.{}.self_attn.rotated_q_norm"),
        rule("layers.{}.self_attn.key_layernorm", "layers.{}.self_attn.rotated_k_norm"),
    ),
    head_weights={head: DECODER_HEADS[head] for head in ("base", "causal-lm", "sequence-classification")},
    head_fields={},
    fixed_fields={"qk_norm": "head", "qk_norm_position": "after_rotation"},
    field_map=LLAMA_FIELDS,
    config_mappings=(ATTENTION_BIAS, ConfigMapping(stretched_rope_to_ours)),
    ignored_fields={
        "eod_token_id": "separates documents in training data",
        "pretraining_tp": "changes only the order of sums",
    },
)

FAMILIES = (HUNYUAN_V1_DENSE,)
