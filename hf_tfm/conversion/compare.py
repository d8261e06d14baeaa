"""Which fields of two of our configurations give different numbers, for one head."""

import dataclasses
import math
from typing import Any

__all__ = ["differences", "training_differences"]

# Fields that say nothing about numbers.
SILENT = {
    "origin", "hf_tfm_version", "dtype", "architectures", "transformers_version", "use_cache", "return_dict",
    "output_hidden_states", "chunk_size_feed_forward", "problem_type", "id2label", "label2id", "output_router_logits",
    "decoder_start_token_id", "padding_free", "lean_loss",
}  # fmt: skip
TRAINING = {
    "embedding_dropout", "attention_dropout", "activation_dropout", "hidden_dropout", "classifier_dropout",
    "initializer_range", "depth_scaling", "router_aux_loss_coef",
}  # fmt: skip

LANGUAGE = ("masked-lm", "causal-lm", "seq2seq-lm")
POOLED = ("sequence-classification", "multiple-choice")
PER_TOKEN = ("token-classification", "question-answering")

# Fields that count for some heads alone.
OF_HEADS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        (
            "lm_head_type", "lm_head_act", "lm_head_bias", "logit_scale", "final_logit_softcapping",
            "tie_word_embeddings",
        ),
        LANGUAGE,
    ),
    "pooling": POOLED,
    **dict.fromkeys(("classifier_dense", "classifier_act", "classifier_norm"), POOLED + PER_TOKEN),
    "classifier_bias": (*POOLED, "token-classification"),
    "head_dense_bias": LANGUAGE + POOLED + PER_TOKEN,
    "add_pooling_layer": ("base",),
}  # fmt: skip


def counts(config: Any) -> dict[str, bool]:
    """Fields that count only where another field says so."""
    experts = config.mlp_type == "moe"
    norms = config.norm_type == "layer_norm"
    return {
        **dict.fromkeys(
            (
                "num_experts", "num_experts_per_tok", "norm_topk_prob", "moe_intermediate_size", "moe_layers",
                "shared_expert_intermediate_size",
            ),
            experts,
        ),
        "intermediate_size": not experts or config.moe_layers is not None,
        **dict.fromkeys(
            ("relative_attention_num_buckets", "relative_attention_max_distance"),
            config.position_type == "relative_bias",
        ),
        # rows of a table, and the length that scaled rotary starts from; other schemes have no end
        "max_position_embeddings": config.position_type in ("learned", "rotary"),
        "sinusoid_type": config.position_type == "sinusoidal",
        "norm_bias": norms,
        "sliding_window": "sliding_attention" in [*config.layer_types, *(getattr(config, "decoder_layer_types", ()))],
        "head_dense_bias": config.lm_head_type != "linear" or config.classifier_dense != "none",
        "lm_head_act": config.lm_head_type != "linear",
        "classifier_act": config.classifier_dense != "none",
        "classifier_norm": config.classifier_dense != "none",
    }  # fmt: skip


def equal(mine: Any, said: Any) -> bool:
    if isinstance(mine, float | int) and isinstance(said, float | int):
        return math.isclose(mine, said, rel_tol=1e-12)
    if isinstance(mine, dict) and isinstance(said, dict):
        return mine.keys() == said.keys() and all(equal(mine[key], said[key]) for key in mine)
    return mine == said


def unlike(ours: Any, said: Any, names: set[str]) -> list[str]:
    return [
        f"{name}={getattr(ours, name)!r} (it says {getattr(said, name)!r})"
        for name in sorted(names)
        if not equal(getattr(ours, name), getattr(said, name))
    ]


def differences(ours: Any, said: Any, head: str) -> list[str]:
    """Fields by which a model of `ours` would compute other numbers than one of `said`."""
    conditions = counts(ours)
    names = {field.name for field in dataclasses.fields(ours)} - SILENT - TRAINING
    names = {name for name in names if conditions.get(name, True) and (name not in OF_HEADS or head in OF_HEADS[name])}
    found = unlike(ours, said, names)
    if "deepnorm" in (ours.depth_scaling, said.depth_scaling):
        found += unlike(ours, said, {"depth_scaling"})
    return found


def training_differences(ours: Any, said: Any) -> list[str]:
    """Fields by which it would be trained otherwise."""
    return unlike(ours, said, TRAINING - {"initializer_range", "depth_scaling"})
