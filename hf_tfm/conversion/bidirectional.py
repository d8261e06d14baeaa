"""Native decoders whose attention has no direction (`is_causal=False` in their configuration): encoders of ours."""

import dataclasses
from typing import Any

from .errors import ConversionError
from .family import Family, without

__all__ = ["as_encoder", "is_bidirectional"]

# Native head -> ours. The native class keeps its name, although it predicts the token at its own position.
HEADS = {"causal-lm": "masked-lm"}
OTHER_HEADS = ("base", "sequence-classification", "token-classification", "question-answering")
# Families with attention code of their own, which stays causal or fails.
ALWAYS_CAUSAL = ("bloom", "gpt_neo", "mpt", "nemotron", "stablelm")


def is_bidirectional(native: Any, family: Family) -> bool:
    """Whether a native configuration of a causal family lets every token read all others."""
    is_decoder = family.our_model_type == "tfm_decoder" and family.name not in ALWAYS_CAUSAL
    return is_decoder and not getattr(native, "is_causal", True)


def as_encoder(family: Family) -> Family:
    """The family of native models of `family` with `is_causal=False`. Raises ConversionError if its code ignores it."""
    if family.name in ALWAYS_CAUSAL:
        raise ConversionError(f"{family.name} is always causal; this model is an encoder.")
    return dataclasses.replace(
        family,
        our_model_type="tfm_encoder",
        recipe_model_type=family.our_model_type,
        head_weights={head: rules for head, rules in family.head_weights.items() if head in (*HEADS, *OTHER_HEADS)},
        our_heads=HEADS,
        fixed_fields={**family.fixed_fields, "pooling": "last_token", "add_pooling_layer": False},
        field_map=without(family.field_map, "use_cache"),
        required_values={**family.required_values, "is_causal": False},
        ignored_fields={**family.ignored_fields, "use_cache": "an encoder has no cache"},
    )
