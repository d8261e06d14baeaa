"""Which fields of two of our configurations give different outputs, for one head."""

import dataclasses
import math
from typing import Any

__all__ = ["language_model_fields", "output_differences", "training_differences"]

# Fields that never change an output.
WITHOUT_EFFECT = {
    "origin", "hf_tfm_version", "dtype", "architectures", "transformers_version", "use_cache", "return_dict",
    "output_hidden_states", "chunk_size_feed_forward", "problem_type", "id2label", "label2id", "output_router_logits",
    "decoder_start_token_id", "padding_free", "fused_loss",
}  # fmt: skip
# Fields that change only training.
TRAINING_ONLY = {
    "embedding_dropout", "attention_dropout", "activation_dropout", "hidden_dropout", "classifier_dropout",
    "initializer_range", "depth_scaling", "router_aux_loss_coef", "z_loss_coef",
}  # fmt: skip

LM_HEADS = ("masked-lm", "causal-lm", "seq2seq-lm")
POOLED_HEADS = ("sequence-classification", "multiple-choice")
TOKEN_HEADS = ("token-classification", "question-answering")

# Field -> the only heads that read it.
HEADS_READING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "lm_head_type", "lm_head_act", "lm_head_bias", "logit_scale", "final_logit_softcapping",
            "tie_word_embeddings", "z_loss_coef", "router_aux_loss_coef",
        ),
        LM_HEADS,
    ),
    "pooling": POOLED_HEADS,
    **dict.fromkeys(("classifier_dense", "classifier_act", "classifier_norm"), POOLED_HEADS + TOKEN_HEADS),
    "classifier_bias": (*POOLED_HEADS, "token-classification"),
    "head_dense_bias": LM_HEADS + POOLED_HEADS + TOKEN_HEADS,
    "add_pooling_layer": ("base",),
}  # fmt: skip


def language_model_fields() -> set[str]:
    """The fields that only heads with a language model's loss read."""
    return {name for name, heads in HEADS_READING.items() if heads == LM_HEADS}


def conditional_fields(config: Any) -> dict[str, bool]:
    """Fields that have an effect only together with another field, and whether they have it in this configuration."""
    layer_types = [*config.layer_types, *getattr(config, "decoder_layer_types", ())]
    return {
        "intermediate_size": config.mlp_type != "moe" or config.moe_layers is not None,
        # the size of a learned table, and the length at which scaled rotary positions start; others have no limit
        "max_position_embeddings": config.position_type in ("learned", "rotary"),
        "norm_bias": config.norm_type == "layer_norm",
        "sliding_window": "sliding_attention" in layer_types,
        "head_dense_bias": config.lm_head_type != "linear" or config.classifier_dense != "none",
        "lm_head_act": config.lm_head_type != "linear",
        "classifier_act": config.classifier_dense != "none",
        "classifier_norm": config.classifier_dense != "none",
    }  # fmt: skip


def equal(first: Any, second: Any) -> bool:
    """Equality with a tolerance for numbers, also inside dictionaries."""
    if isinstance(first, float | int) and isinstance(second, float | int):
        return math.isclose(first, second, rel_tol=1e-12)
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(equal(first[key], second[key]) for key in first)
    return first == second


def different_fields(ours: Any, converted: Any, names: set[str]) -> list[str]:
    # a field that one of the two does not have belongs to a choice, which differs too
    names = names & vars(ours).keys() & vars(converted).keys()
    return [
        f"{name}={getattr(ours, name)!r} (it would be {getattr(converted, name)!r})"
        for name in sorted(names)
        if not equal(getattr(ours, name), getattr(converted, name))
    ]


def output_differences(ours: Any, converted: Any, head: str) -> list[str]:
    """Fields by which models of the two configurations would give different outputs. `converted`: our configuration
    after a conversion to the native one and back."""
    conditions = conditional_fields(ours)
    names = {
        field.name
        for field in dataclasses.fields(ours)
        if conditions.get(field.name, True) and head in HEADS_READING.get(field.name, (head,))
    }
    found = different_fields(ours, converted, names - WITHOUT_EFFECT - TRAINING_ONLY)
    if "deepnorm" in (ours.depth_scaling, converted.depth_scaling):
        found += different_fields(ours, converted, {"depth_scaling"})
    return found


def training_differences(ours: Any, converted: Any) -> list[str]:
    """Fields by which the two models would train differently."""
    return different_fields(ours, converted, TRAINING_ONLY - {"initializer_range", "depth_scaling"})
