"""BART, and mBART, PLBart, Blenderbot and BigBird-Pegasus, which differ from it in the seats of norms."""

from dataclasses import replace
from typing import Any

from .family import Computed, Family
from .layer_kinds import without
from .rows import FLAT, Row, row
from .t5 import CLASSIFICATION, START, WORD_TABLES

__all__ = [
    "BART_DROPOUT", "BART_FIELDS", "BART_HEADS", "BART_SCALE", "FAMILIES", "IGNORED", "LAYERDROP", "PRE_WORDS",
    "bart_trunk",
]  # fmt: skip


def attention(side: str, native: str, ours: str, seat: str) -> list[Row]:
    theirs, mine = f"{side}.layers.{{}}.{native}", f"{side}.layers.{{}}.{ours}"
    return [
        *(row(f"{theirs}.{name}_proj", f"{mine}.{name}_proj") for name in "qkv"),
        row(f"{theirs}.out_proj", f"{mine}.o_proj"),
        row(f"{theirs}_layer_norm", f"{mine}_residual.{seat}"),
    ]


def side_rows(side: str, seat: str) -> list[Row]:
    """One stack; norms stand in the `seat` before or after."""
    layer = f"{side}.layers.{{}}"
    return [
        row(f"{side}.embed_positions", f"{side}.position.embedding"),
        row(f"{side}.layernorm_embedding", f"{side}.embed_norm"),
        *attention(side, "self_attn", "self_attn", seat),
        *attention(side, "encoder_attn", "cross_attn", seat),
        row(f"{layer}.fc1", f"{layer}.mlp.up_proj"),
        row(f"{layer}.fc2", f"{layer}.mlp.down_proj"),
        row(f"{layer}.final_layer_norm", f"{layer}.mlp_residual.{seat}"),
        row(f"{side}.layer_norm", f"{side}.norm"),
    ]


def bart_trunk(seat: str) -> tuple[Row, ...]:
    return (*WORD_TABLES, *side_rows("encoder", seat), *side_rows("decoder", seat))


BART_FIELDS = {
    "vocab_size": "vocab_size", "d_model": "hidden_size", "encoder_layers": "num_hidden_layers",
    "decoder_layers": "decoder_layers", "encoder_attention_heads": "num_attention_heads",
    "decoder_attention_heads": "decoder_attention_heads", "encoder_ffn_dim": "intermediate_size",
    "decoder_ffn_dim": "decoder_intermediate_size", "activation_function": "hidden_act",
    "max_position_embeddings": "max_position_embeddings", "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout", "classifier_dropout": "classifier_dropout",
    "init_std": "initializer_range", "use_cache": "use_cache", "tie_word_embeddings": "tie_word_embeddings",
}  # fmt: skip
BART_DROPOUT = Computed(
    lambda native: {"hidden_dropout": native.dropout, "embedding_dropout": native.dropout},
    lambda ours: {"dropout": ours.hidden_dropout},
    ("dropout",),
)


def scale(native: Any) -> dict[str, Any]:
    return {"embedding_scale": native.d_model**0.5 if native.scale_embedding else 1.0}


BART_SCALE = Computed(scale, lambda ours: {"scale_embedding": ours.embedding_scale != 1.0}, ("scale_embedding",))
BART_HEADS = {
    "base": (),
    "seq2seq-lm": (row("lm_head.weight", "lm_head.weight"), row("final_logits_bias", "lm_head.bias", FLAT)),
    "sequence-classification": CLASSIFICATION,
    "question-answering": (row("qa_outputs", "qa_outputs"),),
}
LAYERDROP = dict.fromkeys(("encoder_layerdrop", "decoder_layerdrop"), "layers dropped in training alone")
IGNORED = {**LAYERDROP, "forced_eos_token_id": "of generation, in its configuration"}
BART = Family(
    name="bart",
    architecture="tfm_seq2seq",
    recipe="bart",
    trunk=bart_trunk("after"),
    heads=BART_HEADS,
    fields=BART_FIELDS,
    computed=(BART_DROPOUT, BART_SCALE, START),
    required={"is_decoder": False},
    ignored=IGNORED,
)
# the last token of labels, a language, comes first
WRAPPED = {"decoder_shift": "wrap_last_non_pad"}
PLBART = replace(
    BART,
    name="plbart",
    words=WRAPPED,
    heads={head: BART_HEADS[head] for head in ("base", "seq2seq-lm", "sequence-classification")},
)
MBART = replace(BART, name="mbart", trunk=bart_trunk("before"), words={"residual_type": "pre", **WRAPPED})

PRE_WORDS = {"residual_type": "pre", "embedding_norm": "none", "position_offset": 0}
BLENDERBOT = replace(
    BART,
    name="blenderbot",
    trunk=bart_trunk("before"),
    heads={head: BART_HEADS[head] for head in ("base", "seq2seq-lm")},
    words=PRE_WORDS,
    fields=without(BART_FIELDS, "classifier_dropout"),
    ignored={**IGNORED, "encoder_no_repeat_ngram_size": "of generation, in its configuration"},
)

BIGBIRD_ATTENTION = "encoder.layers.{}.self_attn"
BIGBIRD_TRUNK = (
    # before the pre-norm rows: the name is that of BART's norm of embeddings
    *(row(f"{side}.layernorm_embedding", f"{side}.norm") for side in ("encoder", "decoder")),
    *(
        row(f"{BIGBIRD_ATTENTION}.self.{name}", f"{BIGBIRD_ATTENTION}.{name[0]}_proj")
        for name in ("query", "key", "value")
    ),
    row(f"{BIGBIRD_ATTENTION}.output", f"{BIGBIRD_ATTENTION}.o_proj"),
    *bart_trunk("before"),
)
BIGBIRD_PEGASUS = replace(
    BART,
    name="bigbird_pegasus",
    trunk=BIGBIRD_TRUNK,
    words=PRE_WORDS,
    computed=(
        *BART.computed,
        Computed(
            lambda native: {"qkv_bias": native.use_bias, "out_bias": native.use_bias},
            lambda ours: {"use_bias": ours.qkv_bias},
            ("use_bias",),
        ),
    ),
    required={"is_decoder": False, "attention_type": "original_full"},
    ignored={**LAYERDROP, **dict.fromkeys(("block_size", "num_random_blocks"), "of sparse attention alone")},
)

FAMILIES = (BART, MBART, PLBART, BLENDERBOT, BIGBIRD_PEGASUS)
