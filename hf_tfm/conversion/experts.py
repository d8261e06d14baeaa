"""Decoders with experts: Mixtral, Qwen 2 and 3, OLMoE, FlexOlmo, Mellum."""

import dataclasses
from typing import Any

from .family import Computed
from .layer_kinds import TYPED_ROPE, TYPED_WINDOW, WHOLE_HEADS, WINDOW_EVERYWHERE, slides, without
from .llama import (
    ALL_ATTENTION_BIASES,
    ATTENTION,
    CAUSAL,
    EMBEDDING,
    GATED,
    HEAD_DIM,
    LLAMA,
    LLAMA_FIELDS,
    norm_rows,
    qk_norms,
)
from .norms_inside import NORMS_INSIDE
from .qwen import QWEN2, QWEN3
from .rows import HEADS, row

__all__ = ["EXPERT_FIELDS", "FAMILIES", "MIXTRAL", "ONE_WIDTH"]

EXPERTS = tuple(
    row(f"layers.{{}}.mlp.{name}", f"layers.{{}}.mlp.{name}")
    for name in ("gate", "experts.gate_up_proj", "experts.down_proj")
)
SHARED = (
    *(row(name, name) for name in (f"layers.{{}}.mlp.shared_expert.{x}_proj" for x in ("gate", "up", "down"))),
    row("layers.{}.mlp.shared_expert_gate", "layers.{}.mlp.shared_expert.gate"),
)
TRUNK = (EMBEDDING, *norm_rows(), *ATTENTION, *EXPERTS)

EXPERT_FIELDS = {
    **without(LLAMA_FIELDS, "intermediate_size"),
    **{name: name for name in ("num_experts_per_tok", "router_aux_loss_coef", "output_router_logits")},
}
# every layer has experts, and the one width is theirs
ONE_WIDTH = Computed(
    lambda native: {
        "intermediate_size": native.intermediate_size,
        "moe_intermediate_size": native.intermediate_size,
    },
    lambda ours: {"intermediate_size": ours.moe_intermediate_size},
    ("intermediate_size",),
)

MIXTRAL = dataclasses.replace(
    LLAMA,
    name="mixtral",
    trunk=TRUNK,
    words={"mlp_type": "moe"},
    fields={**EXPERT_FIELDS, "num_local_experts": "num_experts"},
    computed=(ONE_WIDTH, WINDOW_EVERYWHERE, WHOLE_HEADS),
    ignored={"router_jitter_noise": "of inputs in training alone"},
)

OLMOE = dataclasses.replace(
    MIXTRAL,
    name="olmoe",
    trunk=(*TRUNK, *qk_norms(HEADS)),
    heads={"base": (), "causal-lm": CAUSAL},
    words={"mlp_type": "moe", "qk_norm": "width"},
    fields={**without(EXPERT_FIELDS, "head_dim"), "num_experts": "num_experts", "norm_topk_prob": "norm_topk_prob"},
    computed=(ONE_WIDTH, ALL_ATTENTION_BIASES, WHOLE_HEADS),
    required={"clip_qkv": None},
    ignored={},
)

FLEX_OLMO = dataclasses.replace(
    OLMOE,
    name="flex_olmo",
    trunk=(EMBEDDING, *NORMS_INSIDE, *ATTENTION, *EXPERTS, *qk_norms(HEADS)),
    words={**OLMOE.words, "residual_type": "inner"},
    computed=(*OLMOE.computed, HEAD_DIM),
    required={},
)


def sparse_layers(native: Any) -> dict[str, Any]:
    step, dense = native.decoder_sparse_step, native.mlp_only_layers
    sparse = [i not in dense and (i + 1) % step == 0 for i in range(native.num_hidden_layers)]
    return {"moe_layers": None if all(sparse) else sparse}


def dense_layers(ours: Any) -> dict[str, Any]:
    sparse = ours.moe_layers or []
    return {"decoder_sparse_step": 1, "mlp_only_layers": [i for i, has_experts in enumerate(sparse) if not has_experts]}


SPARSE_LAYERS = Computed(sparse_layers, dense_layers, ("decoder_sparse_step", "mlp_only_layers"))
QWEN_FIELDS = {
    **without(EXPERT_FIELDS, "head_dim"),
    **{name: name for name in ("intermediate_size", "moe_intermediate_size", "num_experts", "norm_topk_prob")},
}

QWEN2_MOE = dataclasses.replace(
    QWEN2,
    name="qwen2_moe",
    trunk=(*TRUNK, *GATED, *SHARED),
    words={"mlp_type": "moe"},
    fields={
        **QWEN_FIELDS, "qkv_bias": "qkv_bias",
        "shared_expert_intermediate_size": "shared_expert_intermediate_size",
    },
    computed=(*QWEN2.computed, SPARSE_LAYERS),
)  # fmt: skip

# a window that is used is that of every layer
USED_WINDOW = Computed(
    WINDOW_EVERYWHERE.ours,
    lambda ours: WINDOW_EVERYWHERE.native(ours) | {"use_sliding_window": slides(ours)},
    WINDOW_EVERYWHERE.reads,
)
QWEN3_MOE = dataclasses.replace(
    QWEN3,
    name="qwen3_moe",
    trunk=(*TRUNK, *GATED, *qk_norms()),
    words={"mlp_type": "moe", "qk_norm": "head"},
    fields=QWEN_FIELDS,
    computed=(ALL_ATTENTION_BIASES, HEAD_DIM, WHOLE_HEADS, USED_WINDOW, SPARSE_LAYERS),
    ignored={"use_sliding_window": "sliding_window tells"},
)


def sparse_types(native: Any) -> dict[str, Any]:
    sparse = [kind == "sparse" for kind in native.mlp_layer_types]
    return {"moe_layers": None if all(sparse) else sparse}


def mlp_layer_types(ours: Any) -> dict[str, Any]:
    sparse = ours.moe_layers or [True] * ours.num_hidden_layers
    return {"mlp_layer_types": ["sparse" if has_experts else "dense" for has_experts in sparse]}


MELLUM = dataclasses.replace(
    QWEN3_MOE,
    name="mellum",
    heads={"base": (), "causal-lm": CAUSAL},
    fields={**without(QWEN_FIELDS, "rope_parameters"), "head_dim": "head_dim"},
    computed=(
        ALL_ATTENTION_BIASES, TYPED_WINDOW, TYPED_ROPE, Computed(sparse_types, mlp_layer_types, ("mlp_layer_types",)),
    ),
    required={"num_mtp_layers": None},
    ignored=dict.fromkeys(("mtp_layer_types", "mtp_mlp_layer_types"), "of layers that predict further tokens"),
)  # fmt: skip

FAMILIES = (MIXTRAL, OLMOE, FLEX_OLMO, QWEN2_MOE, QWEN3_MOE, MELLUM)
