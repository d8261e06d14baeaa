"""OLMo, whose norms have no weights, and OLMo 2 and 3, which apply norms to the outputs of attention and
feed-forward."""

import dataclasses

from ..family import without
from ..rope_and_window_mappings import FULL_ROPE, ROPE_BY_LAYER_TYPE, WINDOW_BY_LAYER_TYPE
from ..weight_map import rule
from ..weight_transforms import CREATE_ONES, SPLIT_HEADS
from .llama import (
    ATTENTION,
    ATTENTION_BIAS,
    DECODER_HEADS,
    EMBEDDING,
    GATED_MLP,
    HEAD_DIM,
    LLAMA,
    LLAMA_FIELDS,
    norm_rules,
    qk_norm_rules,
)

__all__ = ["FAMILIES", "OUTPUT_NORMS"]

OUTPUT_NORMS = norm_rules({
    "post_attention_layernorm": "self_attn_residual.branch_norm",
    "post_feedforward_layernorm": "mlp_residual.branch_norm",
})  # fmt: skip

OLMO2 = dataclasses.replace(
    LLAMA,
    name="olmo2",
    base_weights=(EMBEDDING, *OUTPUT_NORMS, *ATTENTION, *qk_norm_rules(SPLIT_HEADS), *GATED_MLP),
    head_weights={head: DECODER_HEADS[head] for head in ("base", "causal-lm", "sequence-classification")},
    fixed_fields={"residual_type": "inner", "qk_norm": "width"},
    field_map=without(LLAMA_FIELDS, "head_dim"),
    config_mappings=(ATTENTION_BIAS, HEAD_DIM, FULL_ROPE),
    ignored_fields={},
)

OLMO3 = dataclasses.replace(
    OLMO2,
    name="olmo3",
    field_map=without(LLAMA_FIELDS, "head_dim", "rope_parameters"),
    config_mappings=(ATTENTION_BIAS, HEAD_DIM, WINDOW_BY_LAYER_TYPE, ROPE_BY_LAYER_TYPE),
)

NORMS = ("layers.{}.self_attn_residual.pre_norm", "layers.{}.mlp_residual.pre_norm", "norm")
OLMO = dataclasses.replace(
    OLMO2,
    name="olmo",
    base_weights=(EMBEDDING, *ATTENTION, *GATED_MLP, *(rule((), norm, CREATE_ONES) for norm in NORMS)),
    fixed_fields={"norm_type": "layer_norm", "norm_bias": False, "norm_eps": 1e-5},
    field_map=without(LLAMA_FIELDS, "head_dim", "rms_norm_eps"),
    required_values={"clip_qkv": None},
)

FAMILIES = (OLMO, OLMO2, OLMO3)
