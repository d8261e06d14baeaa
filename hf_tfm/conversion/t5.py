"""T5, mT5, and LongT5 with local attention."""

from dataclasses import replace
from typing import Any

from .family import Computed, Family
from .layer_kinds import without
from .rows import Change, Row, row

__all__ = ["CLASSIFICATION", "FAMILIES", "START", "WORD_TABLES"]

# The first table is a copy of the second, or nothing reads it.
FIRST_UNREAD = Change(lambda tensors, config: tensors[1:], lambda tensors, config: [tensors[0].clone(), *tensors])
# of both sides, and of the encoder alone
WORD_TABLES = (
    row(
        ("shared", "encoder.embed_tokens", "decoder.embed_tokens"),
        ("encoder.embed_tokens", "decoder.embed_tokens"),
        FIRST_UNREAD,
    ),
    row(("shared", "encoder.embed_tokens"), "encoder.embed_tokens", FIRST_UNREAD),
)


def attention(side: str, ours: str, native: str, layer: int) -> list[Row]:
    """Projections and norm of one attention of every block of a side."""
    theirs, mine = f"{side}.block.{{}}.layer.{layer}", f"{side}.layers.{{}}"
    return [
        *(row(f"{theirs}.{native}.{name}", f"{mine}.{ours}.{name}_proj") for name in "qkvo"),
        row(f"{theirs}.layer_norm", f"{mine}.{ours}_residual.before"),
    ]


def feed_forward(side: str, layer: int) -> list[Row]:
    theirs, mine = f"{side}.block.{{}}.layer.{layer}", f"{side}.layers.{{}}"
    return [
        row(f"{theirs}.DenseReluDense.wi_0", f"{mine}.mlp.gate_proj"),
        row(f"{theirs}.DenseReluDense.wi_1", f"{mine}.mlp.up_proj"),
        row(f"{theirs}.DenseReluDense.wi", f"{mine}.mlp.up_proj"),
        row(f"{theirs}.DenseReluDense.wo", f"{mine}.mlp.down_proj"),
        row(f"{theirs}.layer_norm", f"{mine}.mlp_residual.before"),
    ]


def t5_trunk(encoder_attention: str) -> tuple[Row, ...]:
    """Both stacks; `encoder_attention` is the name of the encoder's self-attention."""
    return (
        *WORD_TABLES,
        *attention("encoder", "self_attn", encoder_attention, 0),
        *feed_forward("encoder", 1),
        *attention("decoder", "self_attn", "SelfAttention", 0),
        *attention("decoder", "cross_attn", "EncDecAttention", 1),
        *feed_forward("decoder", 2),
        *(row(f"{side}.final_layer_norm", f"{side}.norm") for side in ("encoder", "decoder")),
        *(
            row(f"{side}.block.0.layer.0.{name}.relative_attention_bias", f"{side}.position.relative_attention_bias")
            for side, name in (("encoder", encoder_attention), ("decoder", "SelfAttention"))
        ),
    )


def activation(native: Any) -> dict[str, Any]:
    return {"mlp_type": "gated" if native.is_gated_act else "plain", "hidden_act": native.dense_act_fn}


def feed_forward_proj(ours: Any) -> dict[str, Any]:
    # "gated-gelu" is the host's word for gelu_new
    act = "gelu" if (ours.mlp_type, ours.hidden_act) == ("gated", "gelu_new") else ours.hidden_act
    return {"feed_forward_proj": f"gated-{act}" if ours.mlp_type == "gated" else act}


T5_FIELDS = {
    "vocab_size": "vocab_size", "d_model": "hidden_size", "d_kv": "head_dim", "d_ff": "intermediate_size",
    "num_layers": "num_hidden_layers", "num_decoder_layers": "decoder_layers", "num_heads": "num_attention_heads",
    "relative_attention_num_buckets": "relative_attention_num_buckets",
    "relative_attention_max_distance": "relative_attention_max_distance", "layer_norm_epsilon": "norm_eps",
    "classifier_dropout": "classifier_dropout", "use_cache": "use_cache",
}  # fmt: skip
DROPOUTS = ("hidden_dropout", "attention_dropout", "embedding_dropout", "activation_dropout")
T5_DROPOUT = Computed(
    lambda native: dict.fromkeys(DROPOUTS, native.dropout_rate),
    lambda ours: {"dropout_rate": ours.hidden_dropout},
    ("dropout_rate",),
)
ACTIVATION = Computed(activation, feed_forward_proj, ("feed_forward_proj",))
START = Computed(
    lambda native: {"decoder_start_token_id": getattr(native, "decoder_start_token_id", native.pad_token_id)},
    lambda ours: {"decoder_start_token_id": ours.decoder_start_token_id},
    ("decoder_start_token_id",),
)
CLASSIFICATION = (
    row("classification_head.dense", "pooler.transform.dense"),
    row("classification_head.out_proj", "classifier"),
)
SCALE = Computed(
    lambda native: {"logit_scale": native.d_model**-0.5 if native.scale_decoder_outputs else 1.0},
    lambda ours: {"scale_decoder_outputs": ours.logit_scale != 1.0},
    ("scale_decoder_outputs",),
)
T5 = Family(
    name="t5",
    architecture="tfm_seq2seq",
    recipe="t5",
    trunk=t5_trunk("SelfAttention"),
    heads={
        "base": (),
        "encoder": (),
        "seq2seq-lm": (row("lm_head", "lm_head"),),
        "sequence-classification": CLASSIFICATION,
        "question-answering": (row("qa_outputs", "qa_outputs"),),
    },
    fields=T5_FIELDS,
    computed=(T5_DROPOUT, ACTIVATION, START, SCALE),
    required={"is_decoder": False},
    ignored={"initializer_factor": "initial weights alone", "tie_word_embeddings": "the tensors tell"},
)
# no scale before the head, tied or not
MT5 = replace(T5, name="mt5", words={"logit_scale": 1.0}, computed=(T5_DROPOUT, ACTIVATION, START))


def local_attention(native: Any) -> dict[str, Any]:
    return {
        "sliding_window": native.local_radius,
        "layer_types": ["sliding_attention"] * native.num_layers,
        "decoder_layer_types": ["full_attention"] * native.num_decoder_layers,
    }


LONGT5 = replace(
    T5,
    name="longt5",
    trunk=t5_trunk("LocalSelfAttention"),
    heads={head: T5.heads[head] for head in ("base", "seq2seq-lm")},
    fields=without(T5_FIELDS, "classifier_dropout"),
    computed=(
        *T5.computed,
        Computed(local_attention, lambda ours: {"local_radius": ours.sliding_window or 127}, ("local_radius",)),
    ),
    required={"is_decoder": False, "encoder_attention_type": "local"},
    ignored={**T5.ignored, "global_block_size": "of global attention alone"},
)

FAMILIES = (T5, MT5, LONGT5)
