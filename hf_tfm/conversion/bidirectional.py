"""Native decoders whose attention has no direction (`is_causal=False` in their configuration, or a field of their own):
encoders of ours."""

import dataclasses
from typing import Any

from .errors import ConversionError
from .family import ConfigMapping, Family, without

__all__ = ["as_encoder", "is_bidirectional"]

# Native head -> ours. The native class keeps its name, although it predicts the token at its own position.
HEADS = {"causal-lm": "masked-lm"}
OTHER_HEADS = ("base", "sequence-classification", "token-classification", "question-answering")
# Families with attention code of their own, which stays causal or fails.
ALWAYS_CAUSAL = ("bloom", "gpt_neo", "mpt", "nemotron", "openai-gpt", "stablelm")
# Families that declare a field for it; EmbeddingGemma is one.
DECLARED_FIELDS = {"gemma3_text": "use_bidirectional_attention"}
# With this field, a native configuration in memory has the window of one side and the token itself; its file has the
# tokens of both sides. Our window is that of one side.
WINDOW_OF_BOTH_SIDES = ConfigMapping(
    lambda native: {"sliding_window": native.sliding_window - 1},
    lambda ours: {"sliding_window": 2 * (ours.sliding_window or ours.max_position_embeddings)},
)


def uses_declared_field(native: Any, family: Family) -> bool:
    """Whether a native configuration says it by the field that its family declares."""
    name = DECLARED_FIELDS.get(family.name)
    return name is not None and bool(getattr(native, name))


def is_bidirectional(native: Any, family: Family) -> bool:
    """Whether a native configuration of a causal family lets every token read all others."""
    is_decoder = family.our_model_type == "tfm_decoder" and family.name not in ALWAYS_CAUSAL
    return is_decoder and (not getattr(native, "is_causal", True) or uses_declared_field(native, family))


def as_encoder(family: Family, native: Any = None) -> Family:
    """The family of native models of `family` whose attention has no direction. `native`: the configuration of one;
    None: one is to be made, by the declared field if there is one. Raises ConversionError if its code is always
    causal."""
    if family.name in ALWAYS_CAUSAL:
        raise ConversionError(f"{family.name} is always causal; this model is an encoder.")
    required, mappings = {"is_causal": False}, family.config_mappings
    declared = DECLARED_FIELDS.get(family.name)
    if declared is not None and (native is None or uses_declared_field(native, family)):
        required = {declared: True}
        # not the one that refuses the field
        mappings = (*(mapping for mapping in mappings if declared not in mapping.native_fields), WINDOW_OF_BOTH_SIDES)
    return dataclasses.replace(
        family,
        our_model_type="tfm_encoder",
        recipe_model_type=family.our_model_type,
        head_weights={head: rules for head, rules in family.head_weights.items() if head in (*HEADS, *OTHER_HEADS)},
        our_heads=HEADS,
        fixed_fields={**family.fixed_fields, "pooling": "last_token", "add_pooling_layer": False},
        field_map=without(family.field_map, "use_cache"),
        config_mappings=mappings,
        required_values={**family.required_values, **required},
        ignored_fields={**family.ignored_fields, "use_cache": "an encoder has no cache"},
    )
