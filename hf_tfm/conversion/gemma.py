"""Gemma: norms multiply by 1 + weight, and word vectors are scaled."""

import dataclasses
from typing import Any

from .family import Computed, Family
from .layer_kinds import TYPED_ROPE, TYPED_WINDOW, WHOLE_HEADS, without
from .llama import (
    ALL_ATTENTION_BIASES,
    ATTENTION,
    CAUSAL,
    DECODER_HEADS,
    EMBEDDING,
    GATED,
    LLAMA_FIELDS,
    TOKEN_BIAS,
    norm_rows,
    qk_norms,
    scale_word,
)
from .rows import PLUS_ONE, ConversionError

__all__ = ["FAMILIES"]

EMBEDDING_SCALE = Computed(lambda native: {"embedding_scale": native.hidden_size**0.5})


def one_way(native: Any) -> dict[str, Any]:
    if native.use_bidirectional_attention:
        raise ConversionError(f"use_bidirectional_attention of {native.model_type} cannot be said in our decoder.")
    return {}


ONE_WAY = Computed(one_way, reads=("use_bidirectional_attention",))

GEMMA = Family(
    name="gemma",
    architecture="tfm_decoder",
    recipe="llama",
    trunk=(EMBEDDING, *norm_rows(weights=PLUS_ONE), *ATTENTION, *GATED),
    heads=without(DECODER_HEADS, "question-answering"),
    head_words=TOKEN_BIAS,
    fields=LLAMA_FIELDS,
    computed=(ALL_ATTENTION_BIASES, WHOLE_HEADS, EMBEDDING_SCALE, ONE_WAY),
)

SANDWICH = norm_rows(
    {
        "input_layernorm": "self_attn_residual.before", "post_attention_layernorm": "self_attn_residual.inside",
        "pre_feedforward_layernorm": "mlp_residual.before", "post_feedforward_layernorm": "mlp_residual.inside",
    },
    PLUS_ONE,
)  # fmt: skip
SCALE = Computed(
    lambda native: {"attention_scale": scale_word(native.query_pre_attn_scalar**-0.5, native.head_dim)},
    lambda ours: {
        "query_pre_attn_scalar": ours.head_dim if ours.attention_scale is None else round(ours.attention_scale**-2)
    },
    ("query_pre_attn_scalar",),
)
GEMMA2 = dataclasses.replace(
    GEMMA,
    name="gemma2",
    recipe="gemma2",
    trunk=(EMBEDDING, *SANDWICH, *ATTENTION, *GATED),
    fields={
        **without(LLAMA_FIELDS, "hidden_act"), "hidden_activation": "hidden_act",
        "attn_logit_softcapping": "attn_logit_softcapping", "final_logit_softcapping": "final_logit_softcapping",
    },
    computed=(*GEMMA.computed, TYPED_WINDOW, SCALE),
)  # fmt: skip

VAULTGEMMA = dataclasses.replace(
    GEMMA2,
    name="vaultgemma",
    trunk=(
        EMBEDDING,
        *norm_rows(
            {"input_layernorm": "self_attn_residual.before", "pre_feedforward_layernorm": "mlp_residual.before"},
            PLUS_ONE,
        ),
        *ATTENTION,
        *GATED,
    ),
    heads={"base": (), "causal-lm": CAUSAL},
    words={"residual_type": "pre"},
    computed=(ALL_ATTENTION_BIASES, WHOLE_HEADS, EMBEDDING_SCALE, TYPED_WINDOW, SCALE),
)

GEMMA3 = dataclasses.replace(
    GEMMA2,
    name="gemma3_text",
    trunk=(*GEMMA2.trunk, *qk_norms(PLUS_ONE)),
    heads=without(DECODER_HEADS, "question-answering", "token-classification"),
    words={"qk_norm": "head", "attn_logit_softcapping": None},
    fields=without(GEMMA2.fields, "rope_parameters", "attn_logit_softcapping"),
    computed=(ALL_ATTENTION_BIASES, EMBEDDING_SCALE, ONE_WAY, TYPED_WINDOW, TYPED_ROPE, SCALE),
    ignored={"attn_logit_softcapping": "its attention does not read it"},
)

FAMILIES = (GEMMA, GEMMA2, GEMMA3, VAULTGEMMA)
