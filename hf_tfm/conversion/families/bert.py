"""BERT, ERNIE, BERT for generation (its encoder), ELECTRA, RemBERT, Megatron-BERT, and BigBird with full attention."""

import dataclasses
from typing import Any

from torch import Tensor

from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names, without
from ..weight_map import rule
from ..weight_transforms import FIRST_OF_COPIES, IDENTITY, Transform

__all__ = [
    "BERT", "BERT_FIELDS", "CLASSIFIER", "CLASSIFIER_WITH_DENSE", "DROPOUT", "EMBEDDINGS", "FAMILIES",
    "LM_HEAD_ACTIVATION", "POOLER", "POST_NORMS", "PROJECTIONS", "QA_HEAD",
]  # fmt: skip

# Weights

EMBEDDINGS = (
    rule("embeddings.word_embeddings", "embed_tokens"),
    rule("embeddings.position_embeddings", "position.embedding"),
    rule("embeddings.token_type_embeddings", "token_types.embedding"),
    rule("embeddings.LayerNorm", "embed_norm"),
)
PROJECTIONS = (
    rule("encoder.layer.{}.attention.self.query", "layers.{}.self_attn.q_proj"),
    rule("encoder.layer.{}.attention.self.key", "layers.{}.self_attn.k_proj"),
    rule("encoder.layer.{}.attention.self.value", "layers.{}.self_attn.v_proj"),
    rule("encoder.layer.{}.attention.output.dense", "layers.{}.self_attn.o_proj"),
    rule("encoder.layer.{}.intermediate.dense", "layers.{}.mlp.up_proj"),
    rule("encoder.layer.{}.output.dense", "layers.{}.mlp.down_proj"),
)
POST_NORMS = (
    rule("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.self_attn_residual.post_norm"),
    rule("encoder.layer.{}.output.LayerNorm", "layers.{}.mlp_residual.post_norm"),
)
POOLER = (rule("pooler.dense", "pooler.transform.dense"),)

CLASSIFIER = (rule("classifier", "classifier"),)
# the native classifier contains the dense layer that is part of our pooler
CLASSIFIER_WITH_DENSE = (
    rule("classifier.dense", "model.pooler.transform.dense"),
    rule("classifier.out_proj", "classifier"),
)
QA_HEAD = (rule("qa_outputs", "qa_outputs"),)

# Configuration

BERT_FIELDS = {
    **same_names(
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
        "max_position_embeddings", "type_vocab_size", "initializer_range", "tie_word_embeddings", "classifier_dropout",
    ),
    "layer_norm_eps": "norm_eps",
    "attention_probs_dropout_prob": "attention_dropout",
}  # fmt: skip
DROPOUT = ConfigMapping(
    lambda native: {"hidden_dropout": native.hidden_dropout_prob, "embedding_dropout": native.hidden_dropout_prob},
    lambda ours: {"hidden_dropout_prob": ours.hidden_dropout},
    ("hidden_dropout_prob",),
)
LM_HEAD_ACTIVATION = ConfigMapping(lambda native: {"lm_head_act": native.hidden_act})
# transformers no longer reads relative positions: its outputs differ from those that the checkpoint was trained for
ABSOLUTE_POSITION_ENCODER = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
NO_CACHE = {"use_cache": "an encoder has no cache"}

# Families

BERT = Family(
    name="bert",
    our_model_type="tfm_encoder",
    recipe="bert",
    base_weights=(*EMBEDDINGS, *PROJECTIONS, *POST_NORMS, *POOLER),
    head_weights={
        "base": (),
        "masked-lm": (
            rule("cls.predictions.transform.dense", "lm_transform.dense"),
            rule("cls.predictions.transform.LayerNorm", "lm_transform.norm"),
            rule("cls.predictions.decoder.weight", "lm_head.weight"),
            rule(("cls.predictions.decoder.bias", "cls.predictions.bias"), "lm_head.bias", FIRST_OF_COPIES),
        ),
        "sequence-classification": CLASSIFIER,
        "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
        "multiple-choice": CLASSIFIER,
    },
    fixed_fields={"add_pooling_layer": False},
    field_map=BERT_FIELDS,
    config_mappings=(DROPOUT, LM_HEAD_ACTIVATION),
    required_values=ABSOLUTE_POSITION_ENCODER,
    ignored_fields=NO_CACHE,
)


def add_first_task(tensors: list[Tensor], config: Any) -> list[Tensor]:
    token_types, tasks = tensors
    return [token_types + tasks[:1]]


# Every token has the task 0 unless told otherwise, so its vector becomes part of the token types. On the way back there
# is no table of tasks.
ERNIE = dataclasses.replace(
    BERT,
    name="ernie",
    base_weights=(
        rule(
            ("embeddings.token_type_embeddings.weight", "embeddings.task_type_embeddings.weight"),
            "token_types.embedding.weight",
            Transform(add_first_task, IDENTITY.to_native),
        ),
        *BERT.base_weights,
    ),
    config_mappings=(
        *BERT.config_mappings,
        ConfigMapping(to_native=lambda ours: {"use_task_id": False}, native_fields=("use_task_id",)),
    ),
    ignored_fields={**NO_CACHE, "task_type_vocab_size": "only for tasks other than 0"},
)

# only its base model: its decoder reads an encoder through cross-attention
BERT_GENERATION = dataclasses.replace(
    BERT,
    name="bert-generation",
    head_weights={"base": ()},
    fixed_fields={"add_pooling_layer": False, "type_vocab_size": 0},
    field_map=without(BERT_FIELDS, "type_vocab_size", "classifier_dropout"),
)

ELECTRA = dataclasses.replace(
    BERT,
    name="electra",
    base_weights=(*EMBEDDINGS, rule("embeddings_project", "embed_projection"), *PROJECTIONS, *POST_NORMS),
    head_weights={
        "base": (),
        "masked-lm": (
            rule("generator_predictions.dense", "lm_transform.dense"),
            rule("generator_predictions.LayerNorm", "lm_transform.norm"),
            rule("generator_lm_head", "lm_head"),
        ),
        "sequence-classification": CLASSIFIER_WITH_DENSE,
        "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
        "multiple-choice": (rule("sequence_summary.summary", "model.pooler.transform.dense"), *CLASSIFIER),
    },
    fixed_fields={"add_pooling_layer": False, "classifier_act": "gelu"},
    field_map={**BERT_FIELDS, "embedding_size": "embedding_size"},
    config_mappings=(DROPOUT,),
    required_values={
        **ABSOLUTE_POSITION_ENCODER, "summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu",
    },
    ignored_fields={**NO_CACHE, "summary_last_dropout": "only for multiple choice, in training"},
)  # fmt: skip


def check_embedding_size(native: Any) -> None:
    if native.input_embedding_size == native.hidden_size:
        raise ConversionError(
            f"rembert with input_embedding_size={native.input_embedding_size}, equal to hidden_size, is not supported: "
            "our encoder projects only embeddings of another width."
        )


# its language head reads vectors of another width than the embeddings, ours of the same
REMBERT = dataclasses.replace(
    BERT,
    name="rembert",
    base_weights=(
        *EMBEDDINGS,
        rule("encoder.embedding_hidden_mapping_in", "embed_projection"),
        *PROJECTIONS,
        *POST_NORMS,
        *POOLER,
    ),
    head_weights=without(BERT.head_weights, "masked-lm"),
    field_map={
        **without(BERT_FIELDS, "classifier_dropout"), "input_embedding_size": "embedding_size",
        "classifier_dropout_prob": "classifier_dropout",
    },
    config_mappings=(DROPOUT, ConfigMapping(check=check_embedding_size)),
    ignored_fields={**NO_CACHE, "output_embedding_size": "only for the language head"},
)  # fmt: skip

MEGATRON_BERT = dataclasses.replace(
    BERT,
    name="megatron-bert",
    base_weights=(
        *EMBEDDINGS,
        *PROJECTIONS,
        rule("encoder.layer.{}.attention.ln", "layers.{}.self_attn_residual.pre_norm"),
        rule("encoder.layer.{}.ln", "layers.{}.mlp_residual.pre_norm"),
        rule("encoder.ln", "norm"),
        *POOLER,
    ),
    fixed_fields={**BERT.fixed_fields, "residual_type": "pre", "embedding_norm": "none"},
    field_map=without(BERT_FIELDS, "classifier_dropout"),
)

# with every head it has the pooler, which it reads only for its own output and for multiple choice
BIG_BIRD = dataclasses.replace(
    BERT,
    name="big_bird",
    base_weights=(*EMBEDDINGS, *PROJECTIONS, *POST_NORMS),
    head_weights={
        "base": (rule("pooler", "pooler.transform.dense"),),
        "masked-lm": BERT.head_weights["masked-lm"],
        "sequence-classification": CLASSIFIER_WITH_DENSE,
        "token-classification": CLASSIFIER,
        "multiple-choice": (rule("bert.pooler", "model.pooler.transform.dense"), *CLASSIFIER),
    },
    unread_weights=dict.fromkeys(("masked-lm", "sequence-classification", "token-classification"), r"^bert\.pooler\."),
    head_fields={"sequence-classification": {"classifier_act": lambda native: native.hidden_act}},
    config_mappings=(
        DROPOUT,
        LM_HEAD_ACTIVATION,
        ConfigMapping(
            lambda native: {"embedding_scale": native.hidden_size**0.5 if native.rescale_embeddings else 1.0},
            lambda ours: {"rescale_embeddings": ours.embedding_scale != 1.0},
            ("rescale_embeddings",),
        ),
        ConfigMapping(
            lambda native: {"qkv_bias": native.use_bias}, lambda ours: {"use_bias": ours.qkv_bias}, ("use_bias",)
        ),
    ),
    required_values={**ABSOLUTE_POSITION_ENCODER, "attention_type": "original_full"},
    ignored_fields={
        **NO_CACHE,
        **dict.fromkeys(("block_size", "num_random_blocks"), "only for sparse attention"),
        "sep_token_id": "only for question answering, whose head has a feed-forward of its own",
    },
)

FAMILIES = (BERT, ERNIE, BERT_GENERATION, ELECTRA, REMBERT, MEGATRON_BERT, BIG_BIRD)
