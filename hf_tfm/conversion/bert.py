"""BERT and the encoders that are BERT but for a part: ERNIE, BERT for generation, ELECTRA."""

import dataclasses

from .family import Computed, Family
from .rows import COPIED, row

__all__ = [
    "ACTIVATION", "BERT", "BERT_FIELDS", "CLASSIFIER", "DENSE_CLASSIFIER", "DROPOUT", "ENCODER_ONLY", "FAMILIES",
    "NORMS_AFTER", "NO_CACHE", "PROJECTIONS", "QA", "TABLES", "WITH_POOLER",
]  # fmt: skip

TABLES = (
    row("embeddings.word_embeddings", "embed_tokens"),
    row("embeddings.position_embeddings", "position.embedding"),
    row("embeddings.token_type_embeddings", "token_types.embedding"),
    row("embeddings.LayerNorm", "embed_norm"),
)
PROJECTIONS = (
    row("encoder.layer.{}.attention.self.query", "layers.{}.self_attn.q_proj"),
    row("encoder.layer.{}.attention.self.key", "layers.{}.self_attn.k_proj"),
    row("encoder.layer.{}.attention.self.value", "layers.{}.self_attn.v_proj"),
    row("encoder.layer.{}.attention.output.dense", "layers.{}.self_attn.o_proj"),
    row("encoder.layer.{}.intermediate.dense", "layers.{}.mlp.up_proj"),
    row("encoder.layer.{}.output.dense", "layers.{}.mlp.down_proj"),
)
NORMS_AFTER = (
    row("encoder.layer.{}.attention.output.LayerNorm", "layers.{}.self_attn_residual.after"),
    row("encoder.layer.{}.output.LayerNorm", "layers.{}.mlp_residual.after"),
)
WITH_POOLER = (row("pooler.dense", "pooler.transform.dense"),)

CLASSIFIER = (row("classifier", "classifier"),)
# a classifier that holds the dense layer which is the pooler's elsewhere
DENSE_CLASSIFIER = (
    row("classifier.dense", "model.pooler.transform.dense"),
    row("classifier.out_proj", "classifier"),
)
QA = (row("qa_outputs", "qa_outputs"),)

BERT_FIELDS = {
    **{
        name: name
        for name in (
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act",
            "max_position_embeddings", "type_vocab_size", "initializer_range", "tie_word_embeddings",
        )
    },
    "layer_norm_eps": "norm_eps",
    "attention_probs_dropout_prob": "attention_dropout",
    "classifier_dropout": "classifier_dropout",
}  # fmt: skip
DROPOUT = Computed(
    lambda native: {"hidden_dropout": native.hidden_dropout_prob, "embedding_dropout": native.hidden_dropout_prob},
    lambda ours: {"hidden_dropout_prob": ours.hidden_dropout},
    ("hidden_dropout_prob",),
)
ACTIVATION = Computed(lambda native: {"lm_head_act": native.hidden_act})
# the host reads relative positions no more: it would compute other numbers than the checkpoint was trained with
ENCODER_ONLY = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}
NO_CACHE = {"use_cache": "an encoder has no cache"}

BERT = Family(
    name="bert",
    architecture="tfm_encoder",
    recipe="bert",
    trunk=(*TABLES, *PROJECTIONS, *NORMS_AFTER, *WITH_POOLER),
    heads={
        "base": (),
        "masked-lm": (
            row("cls.predictions.transform.dense", "lm_transform.dense"),
            row("cls.predictions.transform.LayerNorm", "lm_transform.norm"),
            row("cls.predictions.decoder.weight", "lm_head.weight"),
            row(("cls.predictions.decoder.bias", "cls.predictions.bias"), "lm_head.bias", COPIED),
        ),
        "sequence-classification": CLASSIFIER,
        "token-classification": CLASSIFIER,
        "question-answering": QA,
        "multiple-choice": CLASSIFIER,
    },
    words={"add_pooling_layer": False},
    fields=BERT_FIELDS,
    computed=(DROPOUT, ACTIVATION),
    required=ENCODER_ONLY,
    ignored=NO_CACHE,
)

ERNIE = dataclasses.replace(
    BERT,
    name="ernie",
    required={**ENCODER_ONLY, "use_task_id": False},
    ignored={**NO_CACHE, "task_type_vocab_size": "of the task embedding, which is not there"},
)

# its decoder reads an encoder through cross-attention
BERT_GENERATION = dataclasses.replace(
    BERT,
    name="bert-generation",
    heads={"base": ()},
    words={"add_pooling_layer": False, "type_vocab_size": 0},
    fields={
        native: ours for native, ours in BERT_FIELDS.items() if native not in ("type_vocab_size", "classifier_dropout")
    },
)

ELECTRA = dataclasses.replace(
    BERT,
    name="electra",
    trunk=(*TABLES, row("embeddings_project", "embed_projection"), *PROJECTIONS, *NORMS_AFTER),
    heads={
        "base": (),
        "masked-lm": (
            row("generator_predictions.dense", "lm_transform.dense"),
            row("generator_predictions.LayerNorm", "lm_transform.norm"),
            row("generator_lm_head", "lm_head"),
        ),
        "sequence-classification": DENSE_CLASSIFIER,
        "token-classification": CLASSIFIER,
        "question-answering": QA,
        "multiple-choice": (row("sequence_summary.summary", "model.pooler.transform.dense"), *CLASSIFIER),
    },
    words={"add_pooling_layer": False, "classifier_act": "gelu"},
    fields={**BERT_FIELDS, "embedding_size": "embedding_size"},
    computed=(DROPOUT,),
    required={**ENCODER_ONLY, "summary_type": "first", "summary_use_proj": True, "summary_activation": "gelu"},
    ignored={**NO_CACHE, "summary_last_dropout": "of multiple choice, in training alone"},
)

FAMILIES = (BERT, ERNIE, BERT_GENERATION, ELECTRA)
