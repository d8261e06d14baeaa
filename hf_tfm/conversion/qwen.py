"""Qwen 2 and 3. Their experts are in `experts.py`."""

import dataclasses
from typing import Any

from .family import Computed, Family
from .layer_kinds import WHOLE_HEADS, slides, without
from .llama import ALL_ATTENTION_BIASES, DECODER_HEADS, HEAD_DIM, LLAMA_FIELDS, LLAMA_TRUNK, TOKEN_BIAS, qk_norms

__all__ = ["FAMILIES", "QWEN2", "QWEN3"]


def window(native: Any) -> dict[str, Any]:
    return {"sliding_window": native.sliding_window or None, "layer_types": list(native.layer_types)}


def used_window(ours: Any) -> dict[str, Any]:
    """Natively a window is forgotten unless it is said to be used."""
    used = {"use_sliding_window": True, "sliding_window": ours.sliding_window} if slides(ours) else {}
    return used | {"layer_types": list(ours.layer_types)}


QWEN2 = Family(
    name="qwen2",
    architecture="tfm_decoder",
    recipe="llama",
    trunk=LLAMA_TRUNK,
    heads=DECODER_HEADS,
    head_words=TOKEN_BIAS,
    words={"qkv_bias": True},
    fields=without(LLAMA_FIELDS, "head_dim"),
    computed=(HEAD_DIM, WHOLE_HEADS, Computed(window, used_window, ("sliding_window", "layer_types"))),
    ignored=dict.fromkeys(("use_sliding_window", "max_window_layers"), "sliding_window and layer_types tell"),
)

QWEN3 = dataclasses.replace(
    QWEN2,
    name="qwen3",
    trunk=(*LLAMA_TRUNK, *qk_norms()),
    words={"qk_norm": "head"},
    fields=LLAMA_FIELDS,
    computed=(ALL_ATTENTION_BIASES, *QWEN2.computed[1:]),
)

FAMILIES = (QWEN2, QWEN3)
