"""Llama and the decoders that are Llama but for a field or two."""

import dataclasses
import math
from typing import Any

from .family import Computed, Family
from .layer_kinds import PARTIAL_ROTARY, TYPED_WINDOW, WHOLE_HEADS, WINDOW_EVERYWHERE, rope_layers, slides, without
from .rows import GATE_UP, PLUS_ONE, SAME, Change, Row, row

__all__ = [
    "ALL_ATTENTION_BIASES", "ATTENTION", "CAUSAL", "DECODER_HEADS", "EMBEDDING", "FAMILIES", "FUSED_GATE", "GATED",
    "HEAD_DIM", "LLAMA", "LLAMA_FIELDS", "LLAMA_TRUNK", "QKV_BIAS", "TOKEN_BIAS", "norm_rows", "qk_norms",
    "scale_word",
]  # fmt: skip

EMBEDDING = row("embed_tokens", "embed_tokens")
ATTENTION = tuple(row(f"layers.{{}}.self_attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkvo")
GATED = tuple(row(f"layers.{{}}.mlp.{x}_proj", f"layers.{{}}.mlp.{x}_proj") for x in ("gate", "up", "down"))
FUSED_GATE = (
    row("layers.{}.mlp.gate_up_proj", ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"), GATE_UP),
    row("layers.{}.mlp.down_proj", "layers.{}.mlp.down_proj"),
)
NORMS_BEFORE = {"input_layernorm": "self_attn_residual.before", "post_attention_layernorm": "mlp_residual.before"}


def norm_rows(seats: dict[str, str] = NORMS_BEFORE, weights: Change | None = None) -> tuple[Row, ...]:
    """The norms of the blocks, native name -> seat, and the one behind the last block. `weights`: a change of these
    and not of the biases."""
    places = {f"layers.{{}}.{native}": f"layers.{{}}.{seat}" for native, seat in seats.items()} | {"norm": "norm"}
    if weights is None:
        return tuple(row(native, ours) for native, ours in places.items())
    changes = {"weight": weights, "bias": SAME}
    return tuple(
        row(f"{native}.{part}", f"{ours}.{part}", change)
        for native, ours in places.items()
        for part, change in changes.items()
    )


def qk_norms(change: Change = SAME, native: str = "{}_norm") -> tuple[Row, ...]:
    """The norms of queries and keys, with `{}` for q and k in the native name."""
    return tuple(
        row(f"layers.{{}}.self_attn.{native.format(x)}", f"layers.{{}}.self_attn.{x}_norm", change) for x in "qk"
    )


LLAMA_TRUNK = (EMBEDDING, *norm_rows(), *ATTENTION, *GATED)

CAUSAL = (row("lm_head", "lm_head"),)
# the host's generic heads
DECODER_HEADS = {
    "base": (),
    "causal-lm": CAUSAL,
    "sequence-classification": (row("score", "classifier"),),
    "token-classification": (row("score", "classifier"),),
    "question-answering": (row("qa_outputs", "qa_outputs"),),
}
TOKEN_BIAS = {"token-classification": {"classifier_bias": True}}

# native field -> ours
LLAMA_FIELDS = {
    **{
        name: name
        for name in (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "initializer_range",
            "attention_dropout", "rope_parameters", "use_cache", "tie_word_embeddings",
        )
    },
    "rms_norm_eps": "norm_eps",
}  # fmt: skip


ALL_ATTENTION_BIASES = Computed(
    ours=lambda native: {"qkv_bias": native.attention_bias, "out_bias": native.attention_bias},
    native=lambda ours: {"attention_bias": ours.qkv_bias},
    reads=("attention_bias",),
)
QKV_BIAS = Computed(
    ours=lambda native: {"qkv_bias": native.attention_bias},
    native=lambda ours: {"attention_bias": ours.qkv_bias},
    reads=("attention_bias",),
)
# an extra key of families that do not declare it; natively a head_dim of None is not read as absent
HEAD_DIM = Computed(
    ours=lambda native: {"head_dim": getattr(native, "head_dim", None)},
    native=lambda ours: (
        {"head_dim": ours.head_dim} if ours.head_dim * ours.num_attention_heads != ours.hidden_size else {}
    ),
    reads=("head_dim",),
)


def scale_word(scale: float, head_dim: int) -> float | None:
    """Our word for what multiplies the scores: None for the usual one."""
    return None if math.isclose(scale, head_dim**-0.5, rel_tol=1e-12) else scale


LLAMA = Family(
    name="llama",
    architecture="tfm_decoder",
    recipe="llama",
    trunk=LLAMA_TRUNK,
    heads=DECODER_HEADS,
    head_words=TOKEN_BIAS,
    fields={**LLAMA_FIELDS, "mlp_bias": "mlp_bias"},
    computed=(ALL_ATTENTION_BIASES, WHOLE_HEADS),
    ignored={"pretraining_tp": "changes the order of sums alone"},
)

MISTRAL = dataclasses.replace(
    LLAMA, name="mistral", fields=LLAMA_FIELDS, computed=(WINDOW_EVERYWHERE, WHOLE_HEADS), ignored={}
)
MINISTRAL = dataclasses.replace(MISTRAL, name="ministral", computed=(TYPED_WINDOW, WHOLE_HEADS))

SEED_OSS = dataclasses.replace(
    LLAMA,
    name="seed_oss",
    fields={
        **LLAMA_FIELDS, "mlp_bias": "mlp_bias", "attention_bias": "qkv_bias", "attention_out_bias": "out_bias",
        "residual_dropout": "hidden_dropout",
    },
    computed=(WHOLE_HEADS,),
)  # fmt: skip

ARCEE = dataclasses.replace(LLAMA, name="arcee", words={"mlp_type": "plain"}, ignored={})

# its norms multiply by 1 + weight, and its rotary positions may turn a part of each head
NEMOTRON = dataclasses.replace(
    LLAMA,
    name="nemotron",
    trunk=(EMBEDDING, *norm_rows(weights=PLUS_ONE), *ATTENTION, *GATED),
    words={"norm_type": "layer_norm", "mlp_type": "plain"},
    fields={**without(LLAMA_FIELDS, "rms_norm_eps"), "norm_eps": "norm_eps", "mlp_bias": "mlp_bias"},
    computed=(ALL_ATTENTION_BIASES, PARTIAL_ROTARY),
    ignored={},
)


def rotating(native: Any) -> dict[str, Any]:
    return rope_layers([bool(rotates) for rotates in native.no_rope_layers])


def no_rope_layers(ours: Any) -> dict[str, Any]:
    layers = ours.rope_layers or [True] * ours.num_hidden_layers
    return {"no_rope_layers": [int(rotates) for rotates in layers], "use_sliding_window": slides(ours)}


SMOLLM3 = dataclasses.replace(
    LLAMA,
    name="smollm3",
    fields={**without(LLAMA_FIELDS, "head_dim"), "mlp_bias": "mlp_bias"},
    computed=(
        ALL_ATTENTION_BIASES, HEAD_DIM, WHOLE_HEADS, TYPED_WINDOW,
        Computed(rotating, no_rope_layers, ("no_rope_layers",)),
    ),
    ignored={
        "use_sliding_window": "layer_types tells", "no_rope_layer_interval": "no_rope_layers tells",
    },
)  # fmt: skip

CWM = dataclasses.replace(
    LLAMA, name="cwm", heads={"base": (), "causal-lm": CAUSAL}, computed=(TYPED_WINDOW, WHOLE_HEADS)
)

JAIS2 = dataclasses.replace(
    LLAMA,
    name="jais2",
    heads={"base": (), "causal-lm": CAUSAL},
    words={"norm_type": "layer_norm", "mlp_type": "plain"},
    fields={**without(LLAMA_FIELDS, "rms_norm_eps"), "layer_norm_eps": "norm_eps", "mlp_bias": "mlp_bias"},
    ignored={},
)

# the host gives these checkpoints its Llama
NAMESAKES = tuple(
    dataclasses.replace(LLAMA, name=name, heads={"base": (), "causal-lm": CAUSAL}, ignored={})
    for name in ("iquestcoder", "internlm3")
)

FAMILIES = (LLAMA, MISTRAL, MINISTRAL, SEED_OSS, ARCEE, NEMOTRON, SMOLLM3, CWM, JAIS2, *NAMESAKES)
