"""BERT with rotary positions: Nomic BERT, Jina Embeddings 3 and RoFormer."""

import dataclasses

from ..family import Family, same_names, without
from ..rope_and_window_mappings import FULL_ROPE
from ..weight_map import rule
from ..weight_transforms import FIRST_OF_COPIES, PERMUTE_FOR_ROPE
from .bert import (
    BERT,
    BERT_FIELDS,
    CLASSIFIER,
    CLASSIFIER_WITH_DENSE,
    DROPOUT,
    EMBEDDINGS,
    LM_HEAD_ACTIVATION,
    POOLER,
    POST_NORMS,
    PROJECTIONS,
    QA_HEAD,
)
from .llama import ATTENTION, GATED_MLP
from .marian import sinusoidal_table_of
from .roberta import ROBERTA

__all__ = ["FAMILIES"]

LAYER_NORMS = (
    rule("layers.{}.post_attention_layernorm", "layers.{}.self_attn_residual.post_norm"),
    rule("layers.{}.post_mlp_layernorm", "layers.{}.mlp_residual.post_norm"),
)

# a gated feed-forward, and no biases
NOMIC_BERT = Family(
    name="nomic_bert",
    our_model_type="tfm_encoder",
    recipe="bert",
    base_weights=(*EMBEDDINGS, *ATTENTION, *GATED_MLP, *LAYER_NORMS, *POOLER),
    head_weights={
        "base": (),
        "masked-lm": (
            rule("cls.predictions.transform.dense", "lm_transform.dense"),
            rule("cls.predictions.transform.layer_norm", "lm_transform.norm"),
            rule("cls.predictions.decoder.weight", "lm_head.weight"),
            rule(("cls.predictions.decoder.bias", "cls.predictions.bias"), "lm_head.bias", FIRST_OF_COPIES),
        ),
        "sequence-classification": CLASSIFIER,
        "token-classification": CLASSIFIER,
    },
    fixed_fields={
        "add_pooling_layer": False, "position_type": "rotary", "mlp_type": "gated", "qkv_bias": False,
        "out_bias": False, "mlp_bias": False,
    },
    field_map={**BERT_FIELDS, **same_names("head_dim", "rope_parameters")},
    config_mappings=(DROPOUT, LM_HEAD_ACTIVATION, FULL_ROPE),
)  # fmt: skip

JINA_EMBEDDINGS_V3 = dataclasses.replace(
    NOMIC_BERT,
    name="jina_embeddings_v3",
    base_weights=(
        *EMBEDDINGS,
        *ATTENTION,
        rule("layers.{}.mlp.fc1", "layers.{}.mlp.up_proj"),
        rule("layers.{}.mlp.fc2", "layers.{}.mlp.down_proj"),
        *LAYER_NORMS,
        *POOLER,
    ),
    head_weights=without(ROBERTA.head_weights, "multiple-choice"),
    fixed_fields={"add_pooling_layer": False, "position_type": "rotary"},
    field_map={**BERT_FIELDS, "rope_parameters": "rope_parameters"},
    config_mappings=(DROPOUT, FULL_ROPE),
    ignored_fields={"use_cache": "an encoder has no cache"},
)

# rotated in pairs of neighbours, by a table of sines and cosines
ROFORMER = dataclasses.replace(
    BERT,
    name="roformer",
    base_weights=(
        *EMBEDDINGS,
        rule("embeddings_project", "embed_projection"),
        rule("encoder.embed_positions.weight", (), sinusoidal_table_of("head_dim")),
        *(projection._replace(transform=PERMUTE_FOR_ROPE) for projection in PROJECTIONS[:2]),
        *PROJECTIONS[2:],
        *POST_NORMS,
    ),
    head_weights={
        "base": (),
        "masked-lm": BERT.head_weights["masked-lm"],
        "sequence-classification": CLASSIFIER_WITH_DENSE,
        "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
    },
    fixed_fields={
        "add_pooling_layer": False, "position_type": "rotary",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    },
    head_fields={"sequence-classification": {"classifier_act": lambda native: native.hidden_act}},
    field_map={**without(BERT_FIELDS, "classifier_dropout"), "embedding_size": "embedding_size"},
    required_values={**BERT.required_values, "rotary_value": False},
    ignored_fields={
        **BERT.ignored_fields,
        **dict.fromkeys(
            ("summary_type", "summary_use_proj", "summary_activation"),
            "only for multiple choice, which reads the last token, padding or not",
        ),
    },
)  # fmt: skip

FAMILIES = (NOMIC_BERT, JINA_EMBEDDINGS_V3, ROFORMER)
