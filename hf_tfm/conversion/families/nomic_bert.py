"""Nomic BERT: BERT with rotary positions, a gated feed-forward and no biases."""

from ..family import Family, same_names
from ..rope_and_window_mappings import FULL_ROPE
from ..weight_map import rule
from ..weight_transforms import FIRST_OF_COPIES
from .bert import BERT_FIELDS, CLASSIFIER, DROPOUT, LM_HEAD_ACTIVATION, POOLER
from .llama import ATTENTION, GATED_MLP

__all__ = ["FAMILIES"]

NOMIC_BERT = Family(
    name="nomic_bert",
    our_model_type="tfm_encoder",
    recipe="bert",
    base_weights=(
        rule("embeddings.word_embeddings", "embed_tokens"),
        rule("embeddings.token_type_embeddings", "token_types.embedding"),
        rule("embeddings.LayerNorm", "embed_norm"),
        *ATTENTION,
        rule("layers.{}.post_attention_layernorm", "layers.{}.self_attn_residual.post_norm"),
        *GATED_MLP,
        rule("layers.{}.post_mlp_layernorm", "layers.{}.mlp_residual.post_norm"),
        *POOLER,
    ),
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

FAMILIES = (NOMIC_BERT,)
