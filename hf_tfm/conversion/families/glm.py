"""Decoders with interleaved rotary positions: GLM, GLM-4, Helium, ERNIE 4.5."""

import dataclasses
from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, Family, without
from ..rope_and_window_mappings import FULL_ROPE, PARTIAL_ROPE
from ..weight_map import rule
from ..weight_transforms import PERMUTE_FOR_ROPE
from .gpt2 import bias_mapping
from .llama import (
    ATTENTION,
    DECODER_HEADS,
    EMBEDDING,
    FUSED_GATED_MLP,
    GATED_MLP,
    LLAMA_FIELDS,
    LM_HEAD,
    QKV_BIAS,
    TOKEN_CLASSIFIER_BIAS,
    norm_rules,
)

__all__ = ["FAMILIES", "HELIUM", "INTERLEAVED_ROPE_ATTENTION"]

INTERLEAVED_ROPE_ATTENTION = (
    *(rule(f"layers.{{}}.self_attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj", PERMUTE_FOR_ROPE) for x in "qk"),
    *ATTENTION[2:],
)

GLM = Family(
    name="glm",
    our_model_type="tfm_decoder",
    recipe="llama",
    base_weights=(EMBEDDING, *norm_rules(), *INTERLEAVED_ROPE_ATTENTION, *FUSED_GATED_MLP),
    head_weights=without(DECODER_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map=LLAMA_FIELDS,
    config_mappings=(QKV_BIAS, PARTIAL_ROPE),
)
GLM4 = dataclasses.replace(
    GLM,
    name="glm4",
    base_weights=(
        EMBEDDING,
        *norm_rules({
            "input_layernorm": "self_attn_residual.pre_norm",
            "post_self_attn_layernorm": "self_attn_residual.branch_norm",
            "post_attention_layernorm": "mlp_residual.pre_norm", "post_mlp_layernorm": "mlp_residual.branch_norm",
        }),
        *INTERLEAVED_ROPE_ATTENTION, *FUSED_GATED_MLP,
    ),
    fixed_fields={"residual_type": "sandwich"},
)  # fmt: skip


def check_head_dim(native: Any) -> None:
    """The native output projection has hidden_size inputs, whatever head_dim is."""
    if native.head_dim * native.num_attention_heads != native.hidden_size:
        raise ConversionError(
            f"{native.model_type} needs num_attention_heads * head_dim equal to hidden_size ({native.hidden_size}); "
            f"got {native.num_attention_heads} * {native.head_dim}."
        )


HELIUM = dataclasses.replace(
    GLM,
    name="helium",
    base_weights=(EMBEDDING, *norm_rules(), *INTERLEAVED_ROPE_ATTENTION, *GATED_MLP),
    field_map={**LLAMA_FIELDS, "mlp_bias": "mlp_bias"},
    config_mappings=(QKV_BIAS, FULL_ROPE, ConfigMapping(check=check_head_dim)),
)

ERNIE4_5 = dataclasses.replace(
    HELIUM,
    name="ernie4_5",
    head_weights={"base": (), "causal-lm": LM_HEAD},
    field_map=without(LLAMA_FIELDS, "attention_dropout"),
    config_mappings=(FULL_ROPE, bias_mapping("use_bias")),
)

FAMILIES = (GLM, GLM4, HELIUM, ERNIE4_5)
