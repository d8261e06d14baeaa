"""RoBERTa, XLM-RoBERTa, CamemBERT, Data2VecText, RoBERTa-PreLayerNorm, XLM-RoBERTa-XL, and I-BERT without quantisation:
BERT whose positions start after the padding id."""

import dataclasses
from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, without
from ..weight_map import rule
from ..weight_transforms import FIRST_OF_COPIES
from .bert import (
    BERT,
    BERT_FIELDS,
    CLASSIFIER,
    CLASSIFIER_WITH_DENSE,
    DROPOUT,
    EMBEDDINGS,
    POOLER,
    PROJECTIONS,
    QA_HEAD,
)

__all__ = ["FAMILIES", "ROBERTA"]


def positions_to_ours(native: Any) -> dict[str, int]:
    """The first token has the position after the padding id. Our table keeps the unused rows before it."""
    if native.pad_token_id is None:
        raise ConversionError(
            f"{native.model_type} counts positions from pad_token_id, which is None; set it to the padding id."
        )
    offset = native.pad_token_id + 1
    return {"position_offset": offset, "max_position_embeddings": native.max_position_embeddings - offset}


def positions_to_native(ours: Any) -> dict[str, int]:
    return {"max_position_embeddings": ours.max_position_embeddings + ours.position_offset}


ROBERTA = dataclasses.replace(
    BERT,
    name="roberta",
    head_weights={
        "base": (),
        "masked-lm": (
            rule("lm_head.dense", "lm_transform.dense"),
            rule("lm_head.layer_norm", "lm_transform.norm"),
            rule("lm_head.decoder.weight", "lm_head.weight"),
            rule(("lm_head.decoder.bias", "lm_head.bias"), "lm_head.bias", FIRST_OF_COPIES),
        ),
        "sequence-classification": CLASSIFIER_WITH_DENSE,
        "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
        "multiple-choice": CLASSIFIER,
    },
    field_map=without(BERT_FIELDS, "max_position_embeddings"),
    config_mappings=(
        DROPOUT,
        ConfigMapping(positions_to_ours, positions_to_native, ("max_position_embeddings",)),
    ),
)
XLM_ROBERTA = dataclasses.replace(ROBERTA, name="xlm-roberta")
CAMEMBERT = dataclasses.replace(ROBERTA, name="camembert")
DATA2VEC_TEXT = dataclasses.replace(ROBERTA, name="data2vec-text")

ROBERTA_PRELAYERNORM = dataclasses.replace(
    ROBERTA,
    name="roberta-prelayernorm",
    base_weights=(
        *EMBEDDINGS,
        *PROJECTIONS,
        rule("encoder.layer.{}.attention.LayerNorm", "layers.{}.self_attn_residual.pre_norm"),
        rule("encoder.layer.{}.intermediate.LayerNorm", "layers.{}.mlp_residual.pre_norm"),
        rule("LayerNorm", "norm"),
        *POOLER,
    ),
    fixed_fields={**BERT.fixed_fields, "residual_type": "pre"},
)

XLM_ROBERTA_XL = dataclasses.replace(
    ROBERTA,
    name="xlm-roberta-xl",
    base_weights=(
        *EMBEDDINGS,
        *PROJECTIONS,
        rule("encoder.layer.{}.attention.self_attn_layer_norm", "layers.{}.self_attn_residual.pre_norm"),
        rule("encoder.layer.{}.LayerNorm", "layers.{}.mlp_residual.pre_norm"),
        rule("encoder.LayerNorm", "norm"),
        *POOLER,
    ),
    fixed_fields={**BERT.fixed_fields, "residual_type": "pre", "embedding_norm": "none"},
)

# ranges and integer copies of the weights, which quant_mode=False does not read
QUANTISATION = (
    r"(weight_integer|bias_integer|weight_scaling_factor|fc_scaling_factor|act_scaling_factor|x_min|x_max|shift)$"
)
IBERT = dataclasses.replace(
    ROBERTA,
    name="ibert",
    unread_weights=dict.fromkeys(ROBERTA.heads, QUANTISATION),
    field_map=without(ROBERTA.field_map, "classifier_dropout", "hidden_act"),
    required_values={"quant_mode": False, "hidden_act": "gelu", "position_embedding_type": "absolute"},
    ignored_fields={"force_dequant": "only for quant_mode=True"},
)

FAMILIES = (ROBERTA, XLM_ROBERTA, CAMEMBERT, DATA2VEC_TEXT, ROBERTA_PRELAYERNORM, XLM_ROBERTA_XL, IBERT)
