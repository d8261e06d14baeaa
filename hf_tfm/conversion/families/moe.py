"""Decoders with a mixture of experts: Mixtral, OLMoE, FlexOlmo, Qwen 2 and 3 MoE, Mellum. Those of Granite are in
`granite.py`."""

import dataclasses
from typing import Any

from ..family import ConfigMapping, same_names, without
from ..rope_and_window_mappings import (
    FULL_ROPE,
    ROPE_BY_LAYER_TYPE,
    WINDOW_BY_LAYER_TYPE,
    WINDOW_IN_ALL_LAYERS,
    has_window,
    window_in_all_layers_to_native,
    window_in_all_layers_to_ours,
)
from ..weight_map import rule
from ..weight_transforms import SPLIT_HEADS
from .llama import (
    ATTENTION,
    ATTENTION_BIAS,
    EMBEDDING,
    GATED_MLP,
    HEAD_DIM,
    LLAMA,
    LLAMA_FIELDS,
    LM_HEAD,
    norm_rules,
    qk_norm_rules,
)
from .olmo import OUTPUT_NORMS
from .qwen import QWEN2, QWEN3

__all__ = ["FAMILIES", "MIXTRAL", "MOE_FIELDS", "SINGLE_EXPERT_SIZE"]

EXPERTS = tuple(
    rule(f"layers.{{}}.mlp.{name}", f"layers.{{}}.mlp.{name}")
    for name in ("gate", "experts.gate_up_proj", "experts.down_proj")
)
SHARED_EXPERT = (
    *(rule(name, name) for name in (f"layers.{{}}.mlp.shared_expert.{x}_proj" for x in ("gate", "up", "down"))),
    rule("layers.{}.mlp.shared_expert_gate", "layers.{}.mlp.shared_expert.gate"),
)
MOE_BASE = (EMBEDDING, *norm_rules(), *ATTENTION, *EXPERTS)

MOE_FIELDS = {
    **without(LLAMA_FIELDS, "intermediate_size"),
    **same_names("num_experts_per_tok", "router_aux_loss_coef", "output_router_logits"),
}
# every layer has experts, and the only native size is theirs
SINGLE_EXPERT_SIZE = ConfigMapping(
    lambda native: {"intermediate_size": native.intermediate_size, "moe_intermediate_size": native.intermediate_size},
    lambda ours: {"intermediate_size": ours.moe_intermediate_size},
    ("intermediate_size",),
)

MIXTRAL = dataclasses.replace(
    LLAMA,
    name="mixtral",
    base_weights=MOE_BASE,
    fixed_fields={"mlp_type": "moe"},
    field_map={**MOE_FIELDS, "num_local_experts": "num_experts"},
    config_mappings=(SINGLE_EXPERT_SIZE, WINDOW_IN_ALL_LAYERS, FULL_ROPE),
    ignored_fields={"router_jitter_noise": "noise on inputs, only in training"},
)

OLMOE = dataclasses.replace(
    MIXTRAL,
    name="olmoe",
    base_weights=(*MOE_BASE, *qk_norm_rules(SPLIT_HEADS)),
    head_weights={"base": (), "causal-lm": LM_HEAD},
    fixed_fields={"mlp_type": "moe", "qk_norm": "width"},
    field_map={**without(MOE_FIELDS, "head_dim"), **same_names("num_experts", "norm_topk_prob")},
    config_mappings=(SINGLE_EXPERT_SIZE, ATTENTION_BIAS, FULL_ROPE),
    required_values={"clip_qkv": None},
    ignored_fields={},
)

FLEX_OLMO = dataclasses.replace(
    OLMOE,
    name="flex_olmo",
    base_weights=(EMBEDDING, *OUTPUT_NORMS, *ATTENTION, *EXPERTS, *qk_norm_rules(SPLIT_HEADS)),
    fixed_fields={**OLMOE.fixed_fields, "residual_type": "inner"},
    config_mappings=(*OLMOE.config_mappings, HEAD_DIM),
    required_values={},
)


def sparse_step_to_ours(native: Any) -> dict[str, Any]:
    step, dense = native.decoder_sparse_step, native.mlp_only_layers
    has_experts = [i not in dense and (i + 1) % step == 0 for i in range(native.num_hidden_layers)]
    return {"moe_layers": None if all(has_experts) else has_experts}


def sparse_step_to_native(ours: Any) -> dict[str, Any]:
    has_experts = ours.moe_layers or []
    return {"decoder_sparse_step": 1, "mlp_only_layers": [i for i, sparse in enumerate(has_experts) if not sparse]}


SPARSE_STEP = ConfigMapping(sparse_step_to_ours, sparse_step_to_native, ("decoder_sparse_step", "mlp_only_layers"))
QWEN_MOE_FIELDS = {
    **without(MOE_FIELDS, "head_dim"),
    **same_names("intermediate_size", "moe_intermediate_size", "num_experts", "norm_topk_prob"),
}

QWEN2_MOE = dataclasses.replace(
    QWEN2,
    name="qwen2_moe",
    base_weights=(*MOE_BASE, *GATED_MLP, *SHARED_EXPERT),
    fixed_fields={"mlp_type": "moe"},
    field_map={**QWEN_MOE_FIELDS, **same_names("qkv_bias", "shared_expert_intermediate_size")},
    config_mappings=(*QWEN2.config_mappings, SPARSE_STEP),
)


def optional_window_to_native(ours: Any) -> dict[str, Any]:
    return window_in_all_layers_to_native(ours) | {"use_sliding_window": has_window(ours)}


# if the window is used, all layers have it
OPTIONAL_WINDOW = ConfigMapping(
    window_in_all_layers_to_ours, optional_window_to_native, WINDOW_IN_ALL_LAYERS.native_fields
)
QWEN3_MOE = dataclasses.replace(
    QWEN3,
    name="qwen3_moe",
    base_weights=(*MOE_BASE, *GATED_MLP, *qk_norm_rules()),
    fixed_fields={"mlp_type": "moe", "qk_norm": "head"},
    field_map=QWEN_MOE_FIELDS,
    config_mappings=(ATTENTION_BIAS, HEAD_DIM, FULL_ROPE, OPTIONAL_WINDOW, SPARSE_STEP),
    ignored_fields={"use_sliding_window": "already in sliding_window"},
)


def mlp_layer_types_to_ours(native: Any) -> dict[str, Any]:
    has_experts = [kind == "sparse" for kind in native.mlp_layer_types]
    return {"moe_layers": None if all(has_experts) else has_experts}


def mlp_layer_types_to_native(ours: Any) -> dict[str, Any]:
    has_experts = ours.moe_layers or [True] * ours.num_hidden_layers
    return {"mlp_layer_types": ["sparse" if sparse else "dense" for sparse in has_experts]}


MELLUM = dataclasses.replace(
    QWEN3_MOE,
    name="mellum",
    head_weights={"base": (), "causal-lm": LM_HEAD},
    field_map={**without(QWEN_MOE_FIELDS, "rope_parameters"), "head_dim": "head_dim"},
    config_mappings=(
        ATTENTION_BIAS,
        WINDOW_BY_LAYER_TYPE,
        ROPE_BY_LAYER_TYPE,
        ConfigMapping(mlp_layer_types_to_ours, mlp_layer_types_to_native, ("mlp_layer_types",)),
    ),
    required_values={"num_mtp_layers": None},
    ignored_fields=dict.fromkeys(
        ("mtp_layer_types", "mtp_mlp_layer_types"), "only for layers that predict further tokens"
    ),
)

FAMILIES = (MIXTRAL, OLMOE, FLEX_OLMO, QWEN2_MOE, QWEN3_MOE, MELLUM)
