"""ModernBERT, an encoder, and its decoder."""

import dataclasses
from typing import Any

from ..errors import ConversionError
from ..family import ConfigMapping, Family, same_names, without
from ..rope_and_window_mappings import ROPE_BY_LAYER_TYPE, has_window
from ..weight_map import WeightMap, rule
from ..weight_transforms import SPLIT_GATE_UP, SPLIT_QKV
from .bert import CLASSIFIER
from .llama import ATTENTION_BIAS

__all__ = ["FAMILIES", "pooling_mapping"]


def pooling_mapping(native_to_ours: dict[str, str]) -> ConfigMapping:
    """`classifier_pooling`, with the native values that have an equivalent."""
    ours_to_native = {ours: native for native, ours in native_to_ours.items()}

    def pooling_to_ours(native: Any) -> dict[str, str]:
        pooling = native.classifier_pooling
        if pooling not in native_to_ours:
            raise ConversionError(
                f"{native.model_type} with classifier_pooling={pooling!r} is not supported; "
                f"{', '.join(native_to_ours)} are."
            )
        return {"pooling": native_to_ours[pooling]}

    def pooling_to_native(ours: Any) -> dict[str, str]:
        return {"classifier_pooling": ours_to_native[ours.pooling]} if ours.pooling in ours_to_native else {}

    return ConfigMapping(pooling_to_ours, pooling_to_native, ("classifier_pooling",))


def head_dense_rules(our_name: str) -> WeightMap:
    """The dense layer and norm before every head."""
    return (rule("head.dense", f"{our_name}.dense"), rule("head.norm", f"{our_name}.norm"))


POOLED_CLASSIFIER = (*head_dense_rules("model.pooler.transform"), *CLASSIFIER)

# the native window counts the tokens on both sides, ours those on one side
LOCAL_ATTENTION = ConfigMapping(
    lambda native: {"sliding_window": native.local_attention // 2},
    lambda ours: {"local_attention": 2 * ours.sliding_window} if ours.sliding_window else {},
    ("local_attention",),
)
CLASSIFIER_ACTIVATION = ConfigMapping(
    lambda native: dict.fromkeys(("lm_head_act", "classifier_act"), native.classifier_activation),
    lambda ours: {"classifier_activation": ours.classifier_act},
    ("classifier_activation",),
)

MODERNBERT = Family(
    name="modernbert",
    our_model_type="tfm_encoder",
    base_weights=(
        rule("embeddings.tok_embeddings", "embed_tokens"),
        rule("embeddings.norm", "embed_norm"),
        rule("layers.{}.attn_norm", "layers.{}.self_attn_residual.pre_norm"),
        rule("layers.{}.attn.Wqkv", tuple(f"layers.{{}}.self_attn.{x}_proj" for x in "qkv"), SPLIT_QKV),
        rule("layers.{}.attn.Wo", "layers.{}.self_attn.o_proj"),
        rule("layers.{}.mlp_norm", "layers.{}.mlp_residual.pre_norm"),
        rule("layers.{}.mlp.Wi", ("layers.{}.mlp.gate_proj", "layers.{}.mlp.up_proj"), SPLIT_GATE_UP),
        rule("layers.{}.mlp.Wo", "layers.{}.mlp.down_proj"),
        rule("final_norm", "norm"),
    ),
    head_weights={
        "base": (),
        "masked-lm": (*head_dense_rules("lm_transform"), rule("decoder", "lm_head")),
        "sequence-classification": POOLED_CLASSIFIER,
        "token-classification": (*head_dense_rules("transform"), *CLASSIFIER),
        "question-answering": (*head_dense_rules("transform"), rule("classifier", "qa_outputs")),
        "multiple-choice": POOLED_CLASSIFIER,
    },
    fixed_fields={
        "norm_type": "layer_norm", "first_layer_norm": False, "embedding_norm": "after_positions",
        "lm_head_type": "transform", "classifier_dense": "all", "classifier_norm": True,
    },
    field_map={
        **same_names(
            "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
            "max_position_embeddings", "initializer_range", "norm_eps", "norm_bias", "layer_types",
            "attention_dropout", "embedding_dropout", "mlp_bias", "classifier_dropout", "tie_word_embeddings",
        ),
        "hidden_activation": "hidden_act", "mlp_dropout": "activation_dropout", "decoder_bias": "lm_head_bias",
        "classifier_bias": "head_dense_bias",
    },
    config_mappings=(
        ATTENTION_BIAS,
        ROPE_BY_LAYER_TYPE,
        CLASSIFIER_ACTIVATION,
        LOCAL_ATTENTION,
        pooling_mapping({"cls": "first", "mean": "mean"}),
    ),
    required_values={"sparse_prediction": False},
    ignored_fields={
        "sparse_pred_ignore_index": "only for sparse prediction",
        "initializer_cutoff_factor": "changes only initial weights",
        "deterministic_flash_attn": "changes only gradients in flash attention",
        **dict.fromkeys(("cls_token_id", "sep_token_id"), "only for the tokenizer"),
    },
)  # fmt: skip

# the window of a causal model is half of `local_attention` too, the token itself included
MODERNBERT_DECODER = dataclasses.replace(
    MODERNBERT,
    name="modernbert-decoder",
    our_model_type="tfm_decoder",
    base_weights=(
        *MODERNBERT.base_weights,
        *(rule(f"layers.{{}}.attn.{x}_proj", f"layers.{{}}.self_attn.{x}_proj") for x in "qkv"),
    ),
    head_weights={
        "base": (),
        "causal-lm": (
            rule("lm_head.dense", "lm_transform.dense"),
            rule("lm_head.norm", "lm_transform.norm"),
            rule("decoder", "lm_head"),
        ),
        # the second place is that of an encoder, which this becomes without a direction
        "sequence-classification": (
            *head_dense_rules("pooler.transform"),
            *head_dense_rules("model.pooler.transform"),
            *CLASSIFIER,
        ),
    },
    fixed_fields={**MODERNBERT.fixed_fields, "classifier_dense": "pooled"},
    field_map={**without(MODERNBERT.field_map, "classifier_bias"), "use_cache": "use_cache"},
    config_mappings=(
        ATTENTION_BIAS,
        ROPE_BY_LAYER_TYPE,
        CLASSIFIER_ACTIVATION,
        ConfigMapping(
            lambda native: {"sliding_window": native.sliding_window if native.local_attention else None},
            lambda ours: {"local_attention": 2 * ours.sliding_window if has_window(ours) else None},
            ("local_attention", "sliding_window"),
        ),
        ConfigMapping(
            lambda native: dict.fromkeys(("head_dense_bias", "classifier_bias"), native.classifier_bias),
            lambda ours: {"classifier_bias": ours.head_dense_bias},
            ("classifier_bias",),
        ),
    ),
    required_values={},
    ignored_fields={
        name: MODERNBERT.ignored_fields[name] for name in ("initializer_cutoff_factor", "cls_token_id", "sep_token_id")
    },
)

FAMILIES = (MODERNBERT, MODERNBERT_DECODER)
