"""Granite: Llama with numbers that multiply words, scores, branches and logits; HyperCLOVA X; those with experts."""

import dataclasses
from typing import Any

from .experts import EXPERT_FIELDS, MIXTRAL, ONE_WIDTH
from .family import Computed
from .layer_kinds import TYPED_WINDOW, WHOLE_HEADS, rope_layers, without
from .llama import (
    ALL_ATTENTION_BIASES,
    ATTENTION,
    CAUSAL,
    EMBEDDING,
    HEAD_DIM,
    LLAMA,
    LLAMA_FIELDS,
    LLAMA_TRUNK,
    norm_rows,
    scale_word,
)
from .rows import ConversionError, row

__all__ = ["FAMILIES"]

MULTIPLIERS = {"embedding_multiplier": "embedding_scale", "residual_multiplier": "residual_scale"}


def score_scale(native: Any) -> dict[str, Any]:
    head_dim = getattr(native, "head_dim", None) or native.hidden_size // native.num_attention_heads
    return {"attention_scale": scale_word(native.attention_multiplier, head_dim)}


SCORE_SCALE = Computed(
    score_scale,
    lambda ours: {
        "attention_multiplier": ours.head_dim**-0.5 if ours.attention_scale is None else ours.attention_scale
    },
    ("attention_multiplier",),
)
DIVIDED_LOGITS = Computed(
    lambda native: {"logit_scale": 1 / native.logits_scaling},
    lambda ours: {"logits_scaling": 1 / ours.logit_scale},
    ("logits_scaling",),
)

GRANITE = dataclasses.replace(
    LLAMA,
    name="granite",
    heads={"base": (), "causal-lm": CAUSAL},
    fields={**without(LLAMA_FIELDS, "head_dim"), **MULTIPLIERS, "mlp_bias": "mlp_bias"},
    computed=(ALL_ATTENTION_BIASES, HEAD_DIM, WHOLE_HEADS, SCORE_SCALE, DIVIDED_LOGITS),
    ignored={},
)

HYPERCLOVAX = dataclasses.replace(
    GRANITE,
    name="hyperclovax",
    trunk=(
        *LLAMA_TRUNK,
        row("layers.{}.post_norm1", "layers.{}.self_attn_residual.inside"),
        row("layers.{}.post_norm2", "layers.{}.mlp_residual.inside"),
    ),
    fields={**LLAMA_FIELDS, **MULTIPLIERS, "mlp_bias": "mlp_bias", "logits_scaling": "logit_scale"},
    computed=(
        ALL_ATTENTION_BIASES, WHOLE_HEADS, SCORE_SCALE,
        Computed(
            lambda native: {"residual_type": "sandwich" if native.use_post_norm else "pre"},
            lambda ours: {"use_post_norm": ours.residual_type == "sandwich"},
            ("use_post_norm",),
        ),
    ),
)  # fmt: skip


def rotating(native: Any) -> dict[str, Any]:
    """One base for all layers that rotate; 0 where a layer does not."""
    bases = set(native.layer_rope_theta) - {0}
    if len(bases) > 1:
        raise ConversionError(f"layer_rope_theta of {native.model_type} has several bases: {sorted(bases)}.")
    rope = WHOLE_HEADS.ours(native)["rope_parameters"]
    return {
        "rope_parameters": {**rope, "rope_theta": base} if (base := max(bases, default=0)) else rope,
        **rope_layers([theta != 0 for theta in native.layer_rope_theta]),
    }


def layer_rope_theta(ours: Any) -> dict[str, Any]:
    rotates = ours.rope_layers or [True] * ours.num_hidden_layers
    return {"layer_rope_theta": [ours.rope_parameters["rope_theta"] if turns else 0 for turns in rotates]}


SINKS = (row("layers.{}.self_attn.sinks", "layers.{}.self_attn.sinks"),)
LAYER_BASES = Computed(rotating, layer_rope_theta, ("layer_rope_theta",))
GRANITE_SWA = dataclasses.replace(
    GRANITE,
    name="granite_swa",
    trunk=(*GRANITE.trunk, *SINKS),
    words={"attention_sinks": True},
    computed=(ALL_ATTENTION_BIASES, HEAD_DIM, TYPED_WINDOW, LAYER_BASES, SCORE_SCALE, DIVIDED_LOGITS),
)

# natively the softmax is over the chosen experts, which is to divide by their sum
GRANITEMOE = dataclasses.replace(
    MIXTRAL,
    name="granitemoe",
    trunk=(
        EMBEDDING,
        *norm_rows(),
        *ATTENTION,
        row("layers.{}.block_sparse_moe.router", "layers.{}.mlp.gate"),
        *(
            row(f"layers.{{}}.block_sparse_moe.experts.{name}", f"layers.{{}}.mlp.experts.{name}")
            for name in ("gate_up_proj", "down_proj")
        ),
    ),
    heads=GRANITE.heads,
    fields={**without(EXPERT_FIELDS, "head_dim"), **MULTIPLIERS, "num_local_experts": "num_experts"},
    computed=(ONE_WIDTH, *GRANITE.computed),
    ignored={},
)
# an expert for every token has a gate in our block, and none here
NO_SHARED_EXPERT = {"shared_intermediate_size": 0}
GRANITEMOE_SHARED = dataclasses.replace(GRANITEMOE, name="granitemoeshared", required=NO_SHARED_EXPERT)
GRANITEMOE_SWA = dataclasses.replace(
    GRANITEMOE_SHARED,
    name="granitemoe_swa",
    trunk=(*GRANITEMOE.trunk, *SINKS),
    words={**GRANITEMOE.words, "attention_sinks": True},
    computed=(ONE_WIDTH, *GRANITE_SWA.computed),
)

FAMILIES = (GRANITE, HYPERCLOVAX, GRANITE_SWA, GRANITEMOE, GRANITEMOE_SHARED, GRANITEMOE_SWA)
