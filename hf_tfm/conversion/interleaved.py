"""Decoders whose rotary positions turn neighbours: GLM, Helium, ERNIE 4.5, Command R7B."""

import dataclasses
from typing import Any

from .family import Computed, Family
from .layer_kinds import PARTIAL_ROTARY, TYPED_WINDOW, WHOLE_HEADS, rope_layers, without
from .llama import (
    ALL_ATTENTION_BIASES,
    ATTENTION,
    CAUSAL,
    DECODER_HEADS,
    EMBEDDING,
    FUSED_GATE,
    GATED,
    LLAMA_FIELDS,
    QKV_BIAS,
    TOKEN_BIAS,
    norm_rows,
)
from .rows import INTERLEAVED, ConversionError, row

__all__ = ["COHERE2", "FAMILIES", "NEIGHBOURS"]

NEIGHBOURS = (
    *(row(f"layers.{{}}.self_attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj", INTERLEAVED) for x in "qk"),
    *ATTENTION[2:],
)

GLM = Family(
    name="glm",
    architecture="tfm_decoder",
    recipe="llama",
    trunk=(EMBEDDING, *norm_rows(), *NEIGHBOURS, *FUSED_GATE),
    heads=without(DECODER_HEADS, "question-answering"),
    head_words=TOKEN_BIAS,
    fields=LLAMA_FIELDS,
    computed=(QKV_BIAS, PARTIAL_ROTARY),
)
GLM4 = dataclasses.replace(
    GLM,
    name="glm4",
    trunk=(
        EMBEDDING,
        *norm_rows({
            "input_layernorm": "self_attn_residual.before", "post_self_attn_layernorm": "self_attn_residual.inside",
            "post_attention_layernorm": "mlp_residual.before", "post_mlp_layernorm": "mlp_residual.inside",
        }),
        *NEIGHBOURS, *FUSED_GATE,
    ),
    words={"residual_type": "sandwich"},
)  # fmt: skip


def square(native: Any) -> dict[str, Any]:
    """Natively heads together are as wide as the stream."""
    if native.head_dim * native.num_attention_heads != native.hidden_size:
        raise ConversionError(
            f"{native.model_type} needs heads as wide as hidden_size ({native.hidden_size}) together; these are "
            f"{native.num_attention_heads} of {native.head_dim}."
        )
    return {}


HELIUM = dataclasses.replace(
    GLM,
    name="helium",
    trunk=(EMBEDDING, *norm_rows(), *NEIGHBOURS, *GATED),
    fields={**LLAMA_FIELDS, "mlp_bias": "mlp_bias"},
    computed=(QKV_BIAS, WHOLE_HEADS, Computed(square)),
)

ERNIE4_5 = dataclasses.replace(
    HELIUM,
    name="ernie4_5",
    heads={"base": (), "causal-lm": CAUSAL},
    fields=without(LLAMA_FIELDS, "attention_dropout"),
    computed=(
        WHOLE_HEADS,
        Computed(
            lambda native: dict.fromkeys(("qkv_bias", "out_bias", "mlp_bias"), native.use_bias),
            lambda ours: {"use_bias": ours.mlp_bias},
            ("use_bias",),
        ),
    ),
)


def window(native: Any) -> dict[str, Any]:
    """Layers without a window do not rotate."""
    return TYPED_WINDOW.ours(native) | rope_layers([kind == "sliding_attention" for kind in native.layer_types])


COHERE2 = dataclasses.replace(
    HELIUM,
    name="cohere2",
    trunk=(EMBEDDING, *norm_rows({"input_layernorm": "self_attn_residual.before"}), *NEIGHBOURS, *GATED),
    heads={"base": (), "causal-lm": CAUSAL},
    words={"residual_type": "parallel", "norm_type": "layer_norm", "norm_bias": False},
    fields={**without(LLAMA_FIELDS, "rms_norm_eps"), "layer_norm_eps": "norm_eps", "logit_scale": "logit_scale"},
    computed=(ALL_ATTENTION_BIASES, WHOLE_HEADS, Computed(window, TYPED_WINDOW.native, TYPED_WINDOW.reads)),
)

FAMILIES = (GLM, GLM4, HELIUM, ERNIE4_5, COHERE2)
