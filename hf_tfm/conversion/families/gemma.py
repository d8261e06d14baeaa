"""Gemma 1, 2 and 3, and VaultGemma: norms multiply by 1 + weight, and embeddings are scaled."""

import dataclasses
from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names, without
from ..rope_and_window_mappings import FULL_ROPE, ROPE_BY_LAYER_TYPE, WINDOW_BY_LAYER_TYPE
from ..weight_transforms import ADD_ONE
from .llama import (
    ATTENTION,
    ATTENTION_BIAS,
    DECODER_HEADS,
    EMBEDDING,
    GATED_MLP,
    LLAMA_FIELDS,
    LM_HEAD,
    TOKEN_CLASSIFIER_BIAS,
    attention_scale_field,
    norm_rules,
    qk_norm_rules,
)

__all__ = ["FAMILIES"]

EMBEDDING_SCALE = ConfigMapping(lambda native: {"embedding_scale": native.hidden_size**0.5})


def check_causal(native: Any) -> None:
    if native.use_bidirectional_attention:
        raise ConversionError(
            f"{native.model_type} with use_bidirectional_attention=True is not supported: our decoder is causal."
        )


CAUSAL_ATTENTION = ConfigMapping(check=check_causal, native_fields=("use_bidirectional_attention",))

GEMMA = Family(
    name="gemma",
    our_model_type="tfm_decoder",
    recipe="llama",
    base_weights=(EMBEDDING, *norm_rules(transform=ADD_ONE), *ATTENTION, *GATED_MLP),
    head_weights=without(DECODER_HEADS, "question-answering"),
    head_fields=TOKEN_CLASSIFIER_BIAS,
    field_map=LLAMA_FIELDS,
    config_mappings=(ATTENTION_BIAS, FULL_ROPE, EMBEDDING_SCALE, CAUSAL_ATTENTION),
)

SANDWICH_NORMS = norm_rules(
    {
        "input_layernorm": "self_attn_residual.pre_norm", "post_attention_layernorm": "self_attn_residual.branch_norm",
        "pre_feedforward_layernorm": "mlp_residual.pre_norm", "post_feedforward_layernorm": "mlp_residual.branch_norm",
    },
    ADD_ONE,
)  # fmt: skip


def attention_scale_to_ours(native: Any) -> dict[str, Any]:
    return {"attention_scale": attention_scale_field(native.query_pre_attn_scalar**-0.5, native.head_dim)}


def attention_scale_to_native(ours: Any) -> dict[str, Any]:
    if ours.attention_scale is None:
        return {"query_pre_attn_scalar": ours.head_dim}
    return {"query_pre_attn_scalar": round(ours.attention_scale**-2)}


ATTENTION_SCALE = ConfigMapping(attention_scale_to_ours, attention_scale_to_native, ("query_pre_attn_scalar",))

GEMMA2 = dataclasses.replace(
    GEMMA,
    name="gemma2",
    recipe="gemma2",
    base_weights=(EMBEDDING, *SANDWICH_NORMS, *ATTENTION, *GATED_MLP),
    field_map={
        **without(LLAMA_FIELDS, "hidden_act"), "hidden_activation": "hidden_act",
        **same_names("attn_logit_softcapping", "final_logit_softcapping"),
    },
    config_mappings=(*GEMMA.config_mappings, WINDOW_BY_LAYER_TYPE, ATTENTION_SCALE),
)  # fmt: skip

VAULTGEMMA = dataclasses.replace(
    GEMMA2,
    name="vaultgemma",
    base_weights=(
        EMBEDDING,
        *norm_rules(
            {"input_layernorm": "self_attn_residual.pre_norm", "pre_feedforward_layernorm": "mlp_residual.pre_norm"},
            ADD_ONE,
        ),
        *ATTENTION,
        *GATED_MLP,
    ),
    head_weights={"base": (), "causal-lm": LM_HEAD},
    fixed_fields={"residual_type": "pre"},
    config_mappings=(ATTENTION_BIAS, FULL_ROPE, EMBEDDING_SCALE, WINDOW_BY_LAYER_TYPE, ATTENTION_SCALE),
)

GEMMA3 = dataclasses.replace(
    GEMMA2,
    name="gemma3_text",
    base_weights=(*GEMMA2.base_weights, *qk_norm_rules(ADD_ONE)),
    head_weights=without(DECODER_HEADS, "question-answering", "token-classification"),
    fixed_fields={"qk_norm": "head", "attn_logit_softcapping": None},
    field_map=without(GEMMA2.field_map, "rope_parameters", "attn_logit_softcapping"),
    config_mappings=(
        ATTENTION_BIAS,
        EMBEDDING_SCALE,
        CAUSAL_ATTENTION,
        WINDOW_BY_LAYER_TYPE,
        ROPE_BY_LAYER_TYPE,
        ATTENTION_SCALE,
    ),
    ignored_fields={"attn_logit_softcapping": "not read by its attention"},
)

FAMILIES = (GEMMA, GEMMA2, GEMMA3, VAULTGEMMA)
