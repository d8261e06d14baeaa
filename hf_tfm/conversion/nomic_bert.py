"""Nomic BERT: BERT with rotary positions, a gate and no biases."""

from .bert import ACTIVATION, BERT_FIELDS, CLASSIFIER, DROPOUT, WITH_POOLER
from .family import Family
from .layer_kinds import WHOLE_HEADS
from .llama import ATTENTION, GATED
from .rows import COPIED, row

__all__ = ["FAMILIES"]

NOMIC_BERT = Family(
    name="nomic_bert",
    architecture="tfm_encoder",
    recipe="bert",
    trunk=(
        row("embeddings.word_embeddings", "embed_tokens"),
        row("embeddings.token_type_embeddings", "token_types.embedding"),
        row("embeddings.LayerNorm", "embed_norm"),
        *ATTENTION,
        row("layers.{}.post_attention_layernorm", "layers.{}.self_attn_residual.after"),
        *GATED,
        row("layers.{}.post_mlp_layernorm", "layers.{}.mlp_residual.after"),
        *WITH_POOLER,
    ),
    heads={
        "base": (),
        "masked-lm": (
            row("cls.predictions.transform.dense", "lm_transform.dense"),
            row("cls.predictions.transform.layer_norm", "lm_transform.norm"),
            row("cls.predictions.decoder.weight", "lm_head.weight"),
            row(("cls.predictions.decoder.bias", "cls.predictions.bias"), "lm_head.bias", COPIED),
        ),
        "sequence-classification": CLASSIFIER,
        "token-classification": CLASSIFIER,
    },
    words={
        "add_pooling_layer": False, "position_type": "rotary", "mlp_type": "gated", "qkv_bias": False,
        "out_bias": False, "mlp_bias": False,
    },
    fields={**BERT_FIELDS, "head_dim": "head_dim", "rope_parameters": "rope_parameters"},
    computed=(DROPOUT, ACTIVATION, WHOLE_HEADS),
)  # fmt: skip

FAMILIES = (NOMIC_BERT,)
