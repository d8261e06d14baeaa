"""DistilBERT."""

from .bert import CLASSIFIER, QA
from .family import Computed, Family
from .rows import row

__all__ = ["FAMILIES"]

PRE_CLASSIFIER = (row("pre_classifier", "model.pooler.transform.dense"), *CLASSIFIER)

DISTILBERT = Family(
    name="distilbert",
    architecture="tfm_encoder",
    recipe="bert",
    trunk=(
        row("embeddings.word_embeddings", "embed_tokens"),
        row("embeddings.position_embeddings", "position.embedding"),
        row("embeddings.LayerNorm", "embed_norm"),
        row("transformer.layer.{}.attention.q_lin", "layers.{}.self_attn.q_proj"),
        row("transformer.layer.{}.attention.k_lin", "layers.{}.self_attn.k_proj"),
        row("transformer.layer.{}.attention.v_lin", "layers.{}.self_attn.v_proj"),
        row("transformer.layer.{}.attention.out_lin", "layers.{}.self_attn.o_proj"),
        row("transformer.layer.{}.sa_layer_norm", "layers.{}.self_attn_residual.after"),
        row("transformer.layer.{}.ffn.lin1", "layers.{}.mlp.up_proj"),
        row("transformer.layer.{}.ffn.lin2", "layers.{}.mlp.down_proj"),
        row("transformer.layer.{}.output_layer_norm", "layers.{}.mlp_residual.after"),
    ),
    heads={
        "base": (),
        "masked-lm": (
            row("vocab_transform", "lm_transform.dense"),
            row("vocab_layer_norm", "lm_transform.norm"),
            row("vocab_projector", "lm_head"),
        ),
        "sequence-classification": PRE_CLASSIFIER,
        "token-classification": CLASSIFIER,
        "question-answering": QA,
        "multiple-choice": PRE_CLASSIFIER,
    },
    # its eps is not a field
    words={"add_pooling_layer": False, "type_vocab_size": 0, "norm_eps": 1e-12, "classifier_act": "relu"},
    fields={
        "vocab_size": "vocab_size", "dim": "hidden_size", "hidden_dim": "intermediate_size",
        "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads", "activation": "hidden_act",
        "max_position_embeddings": "max_position_embeddings", "initializer_range": "initializer_range",
        "attention_dropout": "attention_dropout", "seq_classif_dropout": "classifier_dropout",
        "tie_word_embeddings": "tie_word_embeddings",
    },
    computed=(
        Computed(
            lambda native: {"hidden_dropout": native.dropout, "embedding_dropout": native.dropout},
            lambda ours: {"dropout": ours.hidden_dropout},
            ("dropout",),
        ),
        Computed(lambda native: {"lm_head_act": native.activation}),
    ),
    ignored={
        "sinusoidal_pos_embds": "initial weights alone; the table is a weight either way",
        "qa_dropout": "of question answering, in training alone",
    },
)  # fmt: skip

FAMILIES = (DISTILBERT,)
