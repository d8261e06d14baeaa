"""DistilBERT."""

from ..family import ConfigMapping, Family, same_names
from ..weight_map import rule
from .bert import CLASSIFIER, QA_HEAD

__all__ = ["FAMILIES"]

DROPOUT = ConfigMapping(
    lambda native: {"hidden_dropout": native.dropout, "embedding_dropout": native.dropout},
    lambda ours: {"dropout": ours.hidden_dropout},
    ("dropout",),
)
POOLED_CLASSIFIER = (rule("pre_classifier", "model.pooler.transform.dense"), *CLASSIFIER)

DISTILBERT = Family(
    name="distilbert",
    our_model_type="tfm_encoder",
    recipe="bert",
    base_weights=(
        rule("embeddings.word_embeddings", "embed_tokens"),
        rule("embeddings.position_embeddings", "position.embedding"),
        rule("embeddings.LayerNorm", "embed_norm"),
        rule("transformer.layer.{}.attention.q_lin", "layers.{}.self_attn.q_proj"),
        rule("transformer.layer.{}.attention.k_lin", "layers.{}.self_attn.k_proj"),
        rule("transformer.layer.{}.attention.v_lin", "layers.{}.self_attn.v_proj"),
        rule("transformer.layer.{}.attention.out_lin", "layers.{}.self_attn.o_proj"),
        rule("transformer.layer.{}.sa_layer_norm", "layers.{}.self_attn_residual.post_norm"),
        rule("transformer.layer.{}.ffn.lin1", "layers.{}.mlp.up_proj"),
        rule("transformer.layer.{}.ffn.lin2", "layers.{}.mlp.down_proj"),
        rule("transformer.layer.{}.output_layer_norm", "layers.{}.mlp_residual.post_norm"),
    ),
    head_weights={
        "base": (),
        "masked-lm": (
            rule("vocab_transform", "lm_transform.dense"),
            rule("vocab_layer_norm", "lm_transform.norm"),
            rule("vocab_projector", "lm_head"),
        ),
        "sequence-classification": POOLED_CLASSIFIER,
        "token-classification": CLASSIFIER,
        "question-answering": QA_HEAD,
        "multiple-choice": POOLED_CLASSIFIER,
    },
    # 1e-12 is a constant in the native norms
    fixed_fields={"add_pooling_layer": False, "type_vocab_size": 0, "norm_eps": 1e-12, "classifier_act": "relu"},
    field_map={
        **same_names(
            "vocab_size", "max_position_embeddings", "initializer_range", "attention_dropout", "tie_word_embeddings",
        ),
        "dim": "hidden_size", "hidden_dim": "intermediate_size", "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads", "activation": "hidden_act", "seq_classif_dropout": "classifier_dropout",
    },
    config_mappings=(DROPOUT, ConfigMapping(lambda native: {"lm_head_act": native.activation})),
    ignored_fields={
        "sinusoidal_pos_embds": "changes only initial weights",
        "qa_dropout": "only for question answering, in training",
    },
)  # fmt: skip

FAMILIES = (DISTILBERT,)
