"""EuroBERT and UltraBERT: Llama as an encoder."""

import dataclasses

from ..family import ConfigMapping, Family, without
from ..rope_and_window_mappings import FULL_ROPE, ROPE_BY_LAYER_TYPE, WINDOW_BY_LAYER_TYPE
from ..weight_map import rule
from .bert import CLASSIFIER, QA_HEAD
from .llama import ATTENTION_BIAS, LLAMA_BASE, LLAMA_FIELDS, LM_HEAD
from .modernbert import pooling_mapping

__all__ = ["FAMILIES"]

EUROBERT = Family(
    name="eurobert",
    our_model_type="tfm_encoder",
    base_weights=LLAMA_BASE,
    head_weights={
        "base": (),
        "masked-lm": LM_HEAD,
        "sequence-classification": (
            # the place of our dense layer depends on the pooling
            rule("dense", "model.pooler.transform.dense"),
            rule("dense", "model.pooler.token_transform.dense"),
            *CLASSIFIER,
        ),
        "token-classification": CLASSIFIER,
    },
    fixed_fields={"classifier_dense": "pooled", "classifier_act": "gelu"},
    field_map={**without(LLAMA_FIELDS, "use_cache"), "mlp_bias": "mlp_bias"},
    config_mappings=(
        ATTENTION_BIAS,
        FULL_ROPE,
        ConfigMapping(lambda native: {"lm_head_bias": native.mlp_bias}),
        pooling_mapping({"bos": "first", "mean": "mean", "late": "late"}),
    ),
    ignored_fields={
        "use_cache": "an encoder has no cache",
        "mask_token_id": "only for the tokenizer",
        "pretraining_tp": "changes only the order of sums",
    },
)

# its window is, as ours, the number of tokens on one side; the language head has two dense layers, ours has one
ULTRABERT = dataclasses.replace(
    EUROBERT,
    name="ultrabert",
    head_weights={
        "base": (), "sequence-classification": CLASSIFIER, "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
    },
    fixed_fields={},
    field_map={
        **without(EUROBERT.field_map, "rope_parameters"), "classifier_dropout": "classifier_dropout",
    },
    config_mappings=(
        ATTENTION_BIAS,
        ROPE_BY_LAYER_TYPE,
        WINDOW_BY_LAYER_TYPE,
        pooling_mapping({"cls": "first", "mean": "mean"}),
    ),
    ignored_fields={
        "use_cache": "an encoder has no cache",
        "prediction_head_size": "only for the language head",
    },
)  # fmt: skip

FAMILIES = (EUROBERT, ULTRABERT)
