"""Fields that a native configuration does not declare, but that keep their value, and what they change.

transformers keeps every key of a `config.json` as an attribute. Its own code (masks, caches, rotary positions, generic
heads) and the native classes read some of these with `getattr`, whether the configuration class declares them or not.
"""

import dataclasses
from collections.abc import Callable, Collection
from typing import Any

from transformers import PreTrainedConfig

from .checkpoint_files import check_plain_weights
from .errors import ConversionError

__all__ = ["HARMLESS_VALUES", "WITHOUT_EFFECT", "check_undeclared_fields", "unread_fields"]


def is_none(value: Any, native: Any) -> bool:
    return value is None


def is_full_attention(value: Any, native: Any) -> bool:
    return value is None or set(value) == {"full_attention"}


def is_default_head_dim(value: Any, native: Any) -> bool:
    return value is None or value * native.num_attention_heads == native.hidden_size


# Undeclared field that code of transformers reads -> whether a value changes no output of this configuration.
HARMLESS_VALUES: dict[str, Callable[[Any, Any], bool]] = {
    "is_causal": lambda value, native: bool(value),  # masks
    "sliding_window": is_none,  # masks and caches
    "attention_chunk_size": is_none,  # masks and caches
    "layer_types": is_full_attention,  # masks and caches
    "kv_sharing_modes": is_none,  # caches
    "head_dim": is_default_head_dim,  # rotary positions
    "token_classification_bias": lambda value, native: bool(value),  # generic heads
    "num_mtp_layers": lambda value, native: not value,  # speculative generation
    "summary_proj_to_labels": lambda value, native: not value or native.model_type != "electra",  # multiple choice
}
# Undeclared field that code of transformers reads -> the reason why it changes no output.
WITHOUT_EFFECT: dict[str, str] = {
    **dict.fromkeys(
        ("hidden_dropout", "classifier_dropout", "attention_dropout", "summary_first_dropout", "summary_last_dropout"),
        "only in training",
    ),
    **dict.fromkeys(("initializer_range", "init_std", "initializer_factor"), "only for new weights"),
    **dict.fromkeys(
        (
            "chain_hidden_post_norm", "logits_mup_width_multiplier", "mtp_hidden_states_first", "rms_norm_eps",
            "unpadded_vocab_size",
        ),
        "only with num_mtp_layers, or in classes that declare it",
    ),
    "rope_parameters": "only in classes that declare it",
    "max_position_embeddings": "only in classes that declare it, and for a warning",
    "cross_attention_hidden_size": "overwritten with the size of the encoder",
    "number_of_conv_states": "only with layer_types of convolutions",
    "gradient_checkpointing": "only in training",
    "embedding_size": "only allows a hidden_size that is no multiple of num_attention_heads",
    "sep_token_id": "only for a warning",
    "quantization_config": "read when the weights are loaded, and refused",
    "model_type": "the name of the family",
    "auto_map": "names code, which is not run",
    "tokenizer_class": "read by the tokenizer",
}  # fmt: skip


def undeclared_fields(native: PreTrainedConfig, known: Collection[str]) -> dict[str, Any]:
    """The fields of a configuration that its class does not declare and that are not in `known`."""
    declared = {field.name for field in dataclasses.fields(native)} | set(native.attribute_map)
    return {
        name: value
        for name, value in vars(native).items()
        if name not in declared and name not in known and not name.startswith("_")
    }


def check_undeclared_fields(native: PreTrainedConfig, known: Collection[str], is_encoder: bool) -> None:
    """Raises ConversionError if an undeclared field has a value that changes outputs. `known`: the fields that the
    family reads. `is_encoder`: whether attention has no direction anyway."""
    check_plain_weights(f"The {native.model_type}", getattr(native, "quantization_config", None))
    for part in (native, *(value for value in vars(native).values() if isinstance(value, PreTrainedConfig))):
        for name, value in undeclared_fields(part, known).items():
            is_harmless = HARMLESS_VALUES.get(name)
            if is_harmless is None or is_harmless(value, part) or (is_encoder and name == "is_causal"):
                continue
            raise ConversionError(
                f"{native.model_type} with {name}={value!r} is not supported: its configuration class does not declare "
                f"{name}, but transformers reads it. Remove it from the configuration if the model was trained without."
            )


def unread_fields(native: PreTrainedConfig, known: Collection[str]) -> list[str]:
    """Undeclared fields that no code of transformers reads."""
    return sorted(undeclared_fields(native, known).keys() - HARMLESS_VALUES.keys() - WITHOUT_EFFECT.keys())
