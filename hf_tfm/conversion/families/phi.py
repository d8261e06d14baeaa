"""Phi (parallel attention and feed-forward) and Phi-3 (Llama with fused projections). Both can rotate a part of each
head."""

from typing import Any

from ...modeling.recipes import PLAIN_LAYER_NORM
from ..family import ConfigMapping, Family, without
from ..rope_and_window_mappings import PARTIAL_ROPE, WINDOW_IN_ALL_LAYERS
from ..weight_map import rule
from ..weight_transforms import SPLIT_QKV
from .gpt2 import NO_CLASSIFIER_BIAS
from .llama import (
    ATTENTION,
    DECODER_HEADS,
    EMBEDDING,
    FUSED_GATED_MLP,
    HEAD_DIM,
    LLAMA_FIELDS,
    TOKEN_CLASSIFIER_BIAS,
    norm_rules,
)
from .stablelm import qk_norm_mapping

__all__ = ["FAMILIES"]

PHI = Family(
    name="phi",
    our_model_type="tfm_decoder",
    fixed_fields={
        **NO_CLASSIFIER_BIAS, **PLAIN_LAYER_NORM, "position_type": "rotary", "residual_type": "parallel",
        "lm_head_bias": True,
    },
    base_weights=(
        EMBEDDING,
        rule("layers.{}.input_layernorm", "layers.{}.self_attn_residual.pre_norm"),
        *ATTENTION[:3],
        rule("layers.{}.self_attn.dense", "layers.{}.self_attn.o_proj"),
        *(rule(f"layers.{{}}.self_attn.{x}_layernorm", f"layers.{{}}.self_attn.{x}_norm") for x in "qk"),
        rule("layers.{}.mlp.fc1", "layers.{}.mlp.up_proj"),
        rule("layers.{}.mlp.fc2", "layers.{}.mlp.down_proj"),
        rule("final_layernorm", "norm"),
    ),
    head_weights=without(DECODER_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={
        **without(LLAMA_FIELDS, "rms_norm_eps", "head_dim"), "layer_norm_eps": "norm_eps",
        "embd_pdrop": "embedding_dropout", "resid_pdrop": "hidden_dropout",
    },
    config_mappings=(HEAD_DIM, PARTIAL_ROPE, qk_norm_mapping("qk_layernorm", "head")),
)  # fmt: skip

ORIGINAL_LENGTH = "original_max_position_embeddings"


def original_length_to_native(ours: Any) -> dict[str, Any]:
    """The native field overwrites the key of the same name in `rope_parameters`, so both must be equal."""
    rope = ours.rope_parameters
    return {ORIGINAL_LENGTH: rope[ORIGINAL_LENGTH]} if ORIGINAL_LENGTH in rope else {}


PHI3 = Family(
    name="phi3",
    our_model_type="tfm_decoder",
    recipe="llama",
    base_weights=(
        EMBEDDING,
        *norm_rules(),
        rule("layers.{}.self_attn.qkv_proj", tuple(f"layers.{{}}.self_attn.{x}_proj" for x in "qkv"), SPLIT_QKV),
        ATTENTION[-1],
        *FUSED_GATED_MLP,
    ),
    head_weights=without(DECODER_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map={**without(LLAMA_FIELDS, "head_dim"), "resid_pdrop": "hidden_dropout"},
    config_mappings=(
        HEAD_DIM,
        WINDOW_IN_ALL_LAYERS,
        PARTIAL_ROPE,
        ConfigMapping(to_native=original_length_to_native, native_fields=(ORIGINAL_LENGTH,)),
    ),
    ignored_fields={"embd_pdrop": "not read"},
)

FAMILIES = (PHI, PHI3)
