"""Phi-3: Llama with fused projections and a part of each head that rotates."""

from typing import Any

from .family import Computed, Family
from .layer_kinds import PARTIAL_ROTARY, WINDOW_EVERYWHERE, without
from .llama import ATTENTION, DECODER_HEADS, EMBEDDING, FUSED_GATE, HEAD_DIM, LLAMA_FIELDS, TOKEN_BIAS, norm_rows
from .rows import BLOCKS, row

__all__ = ["FAMILIES"]

LENGTH = "original_max_position_embeddings"


def original_length(ours: Any) -> dict[str, Any]:
    """The field overrides the key of the same name, which has come from it."""
    return {LENGTH: ours.rope_parameters[LENGTH]} if LENGTH in (ours.rope_parameters or {}) else {}


PHI3 = Family(
    name="phi3",
    architecture="tfm_decoder",
    recipe="llama",
    trunk=(
        EMBEDDING,
        *norm_rows(),
        row("layers.{}.self_attn.qkv_proj", tuple(f"layers.{{}}.self_attn.{x}_proj" for x in "qkv"), BLOCKS),
        ATTENTION[-1],
        *FUSED_GATE,
    ),
    heads=without(DECODER_HEADS, "question-answering"),
    head_words=TOKEN_BIAS,
    fields={**without(LLAMA_FIELDS, "head_dim"), "resid_pdrop": "hidden_dropout"},
    computed=(HEAD_DIM, WINDOW_EVERYWHERE, PARTIAL_ROTARY, Computed(native=original_length, reads=(LENGTH,))),
    ignored={"embd_pdrop": "nothing reads it"},
)

FAMILIES = (PHI3,)
