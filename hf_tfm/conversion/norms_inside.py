"""Decoders that norm what the branches give: OLMo 3, EXAONE 4."""

import dataclasses
from typing import Any

from .family import Computed
from .layer_kinds import TYPED_ROPE, TYPED_WINDOW, WHOLE_HEADS, rope_layers, slides, without
from .llama import (
    ALL_ATTENTION_BIASES,
    ATTENTION,
    DECODER_HEADS,
    EMBEDDING,
    GATED,
    HEAD_DIM,
    LLAMA,
    LLAMA_FIELDS,
    norm_rows,
    qk_norms,
)
from .rows import HEADS

__all__ = ["FAMILIES", "NORMS_INSIDE"]

NORMS_INSIDE = norm_rows({
    "post_attention_layernorm": "self_attn_residual.inside", "post_feedforward_layernorm": "mlp_residual.inside",
})  # fmt: skip

OLMO3 = dataclasses.replace(
    LLAMA,
    name="olmo3",
    trunk=(EMBEDDING, *NORMS_INSIDE, *ATTENTION, *qk_norms(HEADS), *GATED),
    heads={head: DECODER_HEADS[head] for head in ("base", "causal-lm", "sequence-classification")},
    words={"residual_type": "inner", "qk_norm": "width"},
    fields=without(LLAMA_FIELDS, "head_dim", "rope_parameters"),
    computed=(ALL_ATTENTION_BIASES, HEAD_DIM, TYPED_WINDOW, TYPED_ROPE),
    ignored={},
)


def sliding_and_rotating(native: Any) -> dict[str, Any]:
    """Where there is a window, layers without it do not rotate."""
    rotates = [native.sliding_window is None or kind == "sliding_attention" for kind in native.layer_types]
    return TYPED_WINDOW.ours(native) | rope_layers(rotates)


def window(ours: Any) -> dict[str, Any]:
    windowed = slides(ours) or ours.rope_layers is not None
    return TYPED_WINDOW.native(ours) | ({} if windowed else {"sliding_window": None})


EXAONE4 = dataclasses.replace(
    LLAMA,
    name="exaone4",
    trunk=(EMBEDDING, *NORMS_INSIDE, *ATTENTION, *qk_norms(), *GATED),
    words={"residual_type": "inner", "qk_norm": "head"},
    fields=without(LLAMA_FIELDS, "head_dim"),
    computed=(HEAD_DIM, WHOLE_HEADS, Computed(sliding_and_rotating, window, TYPED_WINDOW.reads)),
    ignored={"sliding_window_pattern": "layer_types tells"},
)

FAMILIES = (OLMO3, EXAONE4)
