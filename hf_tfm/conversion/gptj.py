"""GPT-J and CodeGen: attention and feed-forward side by side under one norm, rotary on neighbours."""

import math
from typing import Any

import torch
from torch import Tensor

from ..modeling.recipes import PLAIN_LAYER_NORM, UNBIASED
from .family import Computed, Family
from .gpt2 import GPT_FIELDS, GPT_HEADS, INNER, NO_LABELS_BIAS, QKV
from .layer_kinds import without
from .rows import INTERLEAVED, Change, rotated, row

__all__ = ["FAMILIES"]

THETA = 10000.0  # of both native classes, which cannot say another


def rope_parameters(native: Any) -> dict[str, Any]:
    """Our factor of the native number of elements that rotate, of which int() gives that number again."""
    width = native.n_embd // native.n_head
    factor = native.rotary_dim / width
    if int(width * factor) != native.rotary_dim:
        factor = math.nextafter(factor, 1.0)
    partial = {} if factor == 1.0 else {"partial_rotary_factor": factor}
    return {"rope_parameters": {"rope_type": "default", "rope_theta": THETA, **partial}}


def rotary_dim(ours: Any) -> dict[str, Any]:
    # without one set of rotary positions for all layers, the configurations are found to differ
    return {"rotary_dim": rotated(ours)} if "rope_type" in (ours.rope_parameters or {}) else {}


ROTARY = Computed(rope_parameters, rotary_dim, ("rotary_dim",))
WORDS = {
    **PLAIN_LAYER_NORM, **UNBIASED, **NO_LABELS_BIAS, "mlp_bias": True, "residual_type": "parallel",
    "position_type": "rotary", "lm_head_bias": True,
}  # fmt: skip
SHARED_ROWS = (
    row("wte", "embed_tokens"),
    row("h.{}.ln_1", "layers.{}.self_attn_residual.before"),
    row("h.{}.attn.out_proj", "layers.{}.self_attn.o_proj"),
    row("h.{}.mlp.fc_in", "layers.{}.mlp.up_proj"),
    row("h.{}.mlp.fc_out", "layers.{}.mlp.down_proj"),
    row("ln_f", "norm"),
)

GPTJ = Family(
    name="gptj",
    architecture="tfm_decoder",
    words=WORDS,
    trunk=(
        *SHARED_ROWS,
        row("h.{}.attn.q_proj", "layers.{}.self_attn.q_proj", INTERLEAVED),
        row("h.{}.attn.k_proj", "layers.{}.self_attn.k_proj", INTERLEAVED),
        row("h.{}.attn.v_proj", "layers.{}.self_attn.v_proj"),
    ),
    heads=without(GPT_HEADS, "token-classification"),
    fields=GPT_FIELDS,
    computed=(INNER, ROTARY),
)

PARTS = 4  # CodeGen's layout is that of its training on four devices


def split_parts(tensors: list[Tensor], config: Any) -> list[Tensor]:
    """Query, key and value of a matrix that holds, for each part, its heads' queries, values, keys."""
    width = tensors[0].shape[-1]
    parts = tensors[0].view(PARTS, 3, -1, width).unbind(1)
    query, value, key = [part.reshape(-1, width) for part in parts]
    return [*INTERLEAVED.forward([query, key], config), value]


def join_parts(tensors: list[Tensor], config: Any) -> list[Tensor]:
    query, key = INTERLEAVED.backward(tensors[:2], config)
    width = query.shape[-1]
    parts = [tensor.view(PARTS, -1, width) for tensor in (query, tensors[2], key)]
    return [torch.stack(parts, dim=1).reshape(-1, width)]


CODEGEN = Family(
    name="codegen",
    architecture="tfm_decoder",
    words=WORDS,
    trunk=(*SHARED_ROWS, row("h.{}.attn.qkv_proj", QKV, Change(split_parts, join_parts))),
    heads={head: GPT_HEADS[head] for head in ("base", "causal-lm")},
    fields=GPT_FIELDS,
    computed=(INNER, ROTARY),
    ignored={"n_ctx": "read by nothing"},
)

FAMILIES = (GPTJ, CODEGEN)
