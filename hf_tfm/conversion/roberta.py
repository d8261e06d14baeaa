"""RoBERTa and its namesakes: BERT whose positions count from the padding id."""

import dataclasses
from typing import Any

from .bert import BERT, BERT_FIELDS, CLASSIFIER, DENSE_CLASSIFIER, DROPOUT, PROJECTIONS, QA, TABLES, WITH_POOLER
from .family import Computed
from .rows import COPIED, ConversionError, row

__all__ = ["FAMILIES"]


def first_position(native: Any) -> dict[str, int]:
    """The first token stands at the row after that of the padding id; rows before it are in our table too."""
    if native.pad_token_id is None:
        raise ConversionError(f"{native.model_type} counts positions from pad_token_id, which is None.")
    offset = native.pad_token_id + 1
    return {"position_offset": offset, "max_position_embeddings": native.max_position_embeddings - offset}


POSITIONS = Computed(
    first_position,
    lambda ours: {"max_position_embeddings": ours.max_position_embeddings + ours.position_offset},
    ("max_position_embeddings",),
)
ROBERTA = dataclasses.replace(
    BERT,
    name="roberta",
    heads={
        "base": (),
        "masked-lm": (
            row("lm_head.dense", "lm_transform.dense"),
            row("lm_head.layer_norm", "lm_transform.norm"),
            row("lm_head.decoder.weight", "lm_head.weight"),
            row(("lm_head.decoder.bias", "lm_head.bias"), "lm_head.bias", COPIED),
        ),
        "sequence-classification": DENSE_CLASSIFIER,
        "token-classification": CLASSIFIER,
        "question-answering": QA,
        "multiple-choice": CLASSIFIER,
    },
    fields={native: ours for native, ours in BERT_FIELDS.items() if native != "max_position_embeddings"},
    computed=(DROPOUT, POSITIONS),
)

PRE_LAYER_NORM = dataclasses.replace(
    ROBERTA,
    name="roberta-prelayernorm",
    trunk=(
        *TABLES,
        *PROJECTIONS,
        row("encoder.layer.{}.attention.LayerNorm", "layers.{}.self_attn_residual.before"),
        row("encoder.layer.{}.intermediate.LayerNorm", "layers.{}.mlp_residual.before"),
        row("LayerNorm", "norm"),
        *WITH_POOLER,
    ),
    words={**BERT.words, "residual_type": "pre"},
)

XLM_ROBERTA_XL = dataclasses.replace(
    ROBERTA,
    name="xlm-roberta-xl",
    trunk=(
        *TABLES,
        *PROJECTIONS,
        row("encoder.layer.{}.attention.self_attn_layer_norm", "layers.{}.self_attn_residual.before"),
        row("encoder.layer.{}.LayerNorm", "layers.{}.mlp_residual.before"),
        row("encoder.LayerNorm", "norm"),
        *WITH_POOLER,
    ),
    words={**BERT.words, "residual_type": "pre", "embedding_norm": "none"},
)

FAMILIES = (
    ROBERTA,
    *(dataclasses.replace(ROBERTA, name=name) for name in ("xlm-roberta", "camembert", "data2vec-text")),
    PRE_LAYER_NORM,
    XLM_ROBERTA_XL,
)
