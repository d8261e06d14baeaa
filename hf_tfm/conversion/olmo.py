"""OLMo, whose norms have no weights, and OLMo 2, which norms what the branches give."""

import dataclasses

from .layer_kinds import WHOLE_HEADS, without
from .llama import ALL_ATTENTION_BIASES, ATTENTION, EMBEDDING, GATED, HEAD_DIM, LLAMA_FIELDS
from .norms_inside import OLMO3
from .rows import ONES, row

__all__ = ["FAMILIES"]

SEATS = ("layers.{}.self_attn_residual.before", "layers.{}.mlp_residual.before", "norm")

OLMO2 = dataclasses.replace(
    OLMO3,
    name="olmo2",
    fields=without(LLAMA_FIELDS, "head_dim"),
    computed=(ALL_ATTENTION_BIASES, HEAD_DIM, WHOLE_HEADS),
)
OLMO = dataclasses.replace(
    OLMO2,
    name="olmo",
    trunk=(EMBEDDING, *ATTENTION, *GATED, *(row((), seat, ONES) for seat in SEATS)),
    words={"norm_type": "layer_norm", "norm_bias": False, "norm_eps": 1e-5},
    fields=without(LLAMA_FIELDS, "head_dim", "rms_norm_eps"),
    required={"clip_qkv": None},
)

FAMILIES = (OLMO, OLMO2)
