"""GPT-J and CodeGen: parallel attention and feed-forward after one norm, interleaved rotary positions."""

import math
from typing import Any

import torch
from torch import Tensor

from ...modeling.recipes import PLAIN_LAYER_NORM, UNBIASED
from ..family import ConfigMapping, Family, without
from ..weight_map import rule
from ..weight_transforms import PERMUTE_FOR_ROPE, Transform, rotary_size
from .gpt2 import GPT_FIELDS, GPT_HEADS, INNER_SIZE, NO_CLASSIFIER_BIAS, QKV

__all__ = ["FAMILIES", "rotary_dim_to_ours"]

ROPE_THETA = 10000.0  # a constant in both native classes


def rotary_dim_to_ours(native: Any) -> dict[str, Any]:
    """The partial rotary factor for a native number of rotated elements, such that int() gives the number again."""
    head_dim = native.n_embd // native.n_head
    factor = native.rotary_dim / head_dim
    if int(head_dim * factor) != native.rotary_dim:
        factor = math.nextafter(factor, 1.0)
    rope = {"rope_type": "default", "rope_theta": ROPE_THETA}
    return {"rope_parameters": rope if factor == 1.0 else rope | {"partial_rotary_factor": factor}}


def rotary_dim_to_native(ours: Any) -> dict[str, Any]:
    # rotary parameters by layer type have no "rope_type"; the comparison of configurations then finds a difference
    return {"rotary_dim": rotary_size(ours)} if "rope_type" in ours.rope_parameters else {}


ROTARY_DIM = ConfigMapping(rotary_dim_to_ours, rotary_dim_to_native, ("rotary_dim",))
GPTJ_FIXED_FIELDS = {
    **PLAIN_LAYER_NORM, **UNBIASED, **NO_CLASSIFIER_BIAS, "mlp_bias": True, "residual_type": "parallel",
    "position_type": "rotary", "lm_head_bias": True,
}  # fmt: skip
# all but queries, keys and values
GPTJ_BASE = (
    rule("wte", "embed_tokens"),
    rule("h.{}.ln_1", "layers.{}.self_attn_residual.pre_norm"),
    rule("h.{}.attn.out_proj", "layers.{}.self_attn.o_proj"),
    rule("h.{}.mlp.fc_in", "layers.{}.mlp.up_proj"),
    rule("h.{}.mlp.fc_out", "layers.{}.mlp.down_proj"),
    rule("ln_f", "norm"),
)

GPTJ = Family(
    name="gptj",
    our_model_type="tfm_decoder",
    fixed_fields=GPTJ_FIXED_FIELDS,
    base_weights=(
        *GPTJ_BASE,
        rule("h.{}.attn.q_proj", "layers.{}.self_attn.q_proj", PERMUTE_FOR_ROPE),
        rule("h.{}.attn.k_proj", "layers.{}.self_attn.k_proj", PERMUTE_FOR_ROPE),
        rule("h.{}.attn.v_proj", "layers.{}.self_attn.v_proj"),
    ),
    head_weights=without(GPT_HEADS, "token-classification"),
    field_map=GPT_FIELDS,
    config_mappings=(INNER_SIZE, ROTARY_DIM),
)

# CodeGen was trained with tensor parallelism on four devices; its fused matrix keeps that layout.
CODEGEN_PARTS = 4


def split_codegen_qkv(tensors: list[Tensor], config: Any) -> list[Tensor]:
    """Queries, keys and values of a matrix that holds, for each part, the queries, values and keys of its heads."""
    hidden_size = tensors[0].shape[-1]
    parts = tensors[0].view(CODEGEN_PARTS, 3, -1, hidden_size).unbind(1)
    query, value, key = [part.reshape(-1, hidden_size) for part in parts]
    return [*PERMUTE_FOR_ROPE.to_ours([query, key], config), value]


def fuse_codegen_qkv(tensors: list[Tensor], config: Any) -> list[Tensor]:
    query, key = PERMUTE_FOR_ROPE.to_native(tensors[:2], config)
    hidden_size = query.shape[-1]
    parts = [tensor.view(CODEGEN_PARTS, -1, hidden_size) for tensor in (query, tensors[2], key)]
    return [torch.stack(parts, dim=1).reshape(-1, hidden_size)]


CODEGEN = Family(
    name="codegen",
    our_model_type="tfm_decoder",
    fixed_fields=GPTJ_FIXED_FIELDS,
    base_weights=(*GPTJ_BASE, rule("h.{}.attn.qkv_proj", QKV, Transform(split_codegen_qkv, fuse_codegen_qkv))),
    head_weights={head: GPT_HEADS[head] for head in ("base", "causal-lm")},
    field_map=GPT_FIELDS,
    config_mappings=(INNER_SIZE, ROTARY_DIM),
    ignored_fields={"n_ctx": "not read"},
)

FAMILIES = (GPTJ, CODEGEN)
