"""Config mappings of rotary positions and sliding windows, shared by many families."""

from typing import Any

from ..modeling.config_checks import LAYER_TYPES
from .errors import ConversionError
from .family import ConfigMapping, without

__all__ = [
    "FULL_ROPE", "PARTIAL_ROPE", "ROPE_BY_LAYER_TYPE", "WINDOW_BY_LAYER_TYPE", "WINDOW_IN_ALL_LAYERS", "has_window",
    "rope_layers_field", "rope_of_full_heads", "rope_of_full_heads_to_ours", "single_rope",
    "window_by_layer_type_to_native", "window_by_layer_type_to_ours", "window_in_all_layers_to_native",
    "window_in_all_layers_to_ours",
]  # fmt: skip

# Sliding windows


def has_window(ours: Any) -> bool:
    """Whether any layer of our configuration has a sliding window."""
    return "sliding_attention" in ours.layer_types


def window_in_all_layers_to_ours(native: Any) -> dict[str, Any]:
    return {"sliding_window": native.sliding_window}


def window_in_all_layers_to_native(ours: Any) -> dict[str, Any]:
    return {"sliding_window": ours.sliding_window if has_window(ours) else None}


# All layers have the same window, or none has one.
WINDOW_IN_ALL_LAYERS = ConfigMapping(
    window_in_all_layers_to_ours, window_in_all_layers_to_native, native_fields=("sliding_window",)
)


def window_by_layer_type_to_ours(native: Any) -> dict[str, Any]:
    return {"sliding_window": native.sliding_window, "layer_types": list(native.layer_types)}


def window_by_layer_type_to_native(ours: Any) -> dict[str, Any]:
    # native classes need a number even where no layer has a window
    return {
        "sliding_window": ours.sliding_window or ours.max_position_embeddings,
        "layer_types": list(ours.layer_types),
    }


# `layer_types` says which layers have a window.
WINDOW_BY_LAYER_TYPE = ConfigMapping(
    window_by_layer_type_to_ours, window_by_layer_type_to_native, native_fields=("sliding_window", "layer_types")
)

# Rotary positions


def rope_layers_field(has_rope: list[bool]) -> dict[str, Any]:
    """Our field for the layers with rotary positions; None means all."""
    return {"rope_layers": None if all(has_rope) else has_rope}


def single_rope(native: Any) -> dict[str, Any]:
    """The rotary parameters of all layers. Raises ConversionError if there are some for a layer type, which the native
    classes of these families do not read."""
    if "rope_type" not in native.rope_parameters or any(kind in native.rope_parameters for kind in LAYER_TYPES):
        raise ConversionError(
            f"{native.model_type} does not support rotary parameters by layer type; give one set of rope_parameters."
        )
    return native.rope_parameters


def rope_of_full_heads(rope: dict[str, Any]) -> dict[str, Any]:
    """Rotary parameters without a partial factor that the native class does not read."""
    return rope if rope["rope_type"] == "proportional" else without(rope, "partial_rotary_factor")


def rope_of_full_heads_to_ours(native: Any) -> dict[str, Any]:
    return {"rope_parameters": rope_of_full_heads(single_rope(native))}


# The default rotary positions of these families do not read partial_rotary_factor, and the scaled ones fail with it.
FULL_ROPE = ConfigMapping(rope_of_full_heads_to_ours)


def partial_rope_to_ours(native: Any) -> dict[str, Any]:
    rope = single_rope(native)
    rotates_all = rope.get("partial_rotary_factor") == 1.0
    return {"rope_parameters": without(rope, "partial_rotary_factor") if rotates_all else rope}


def partial_rope_to_native(ours: Any) -> dict[str, Any]:
    # the native default of the factor is less than 1
    return {"rope_parameters": {"partial_rotary_factor": 1.0, **ours.rope_parameters}}


# A part of each head is rotated.
PARTIAL_ROPE = ConfigMapping(partial_rope_to_ours, partial_rope_to_native, native_fields=("rope_parameters",))


def rope_by_layer_type_to_ours(native: Any) -> dict[str, Any]:
    """Rotary parameters of the layer types in use, or one set if they are all equal. `truncate` is left out: native
    classes look for it outside these dictionaries."""
    rope = native.rope_parameters
    by_type = {kind: without(rope_of_full_heads(rope[kind]), "truncate") for kind in sorted(set(native.layer_types))}
    first, *others = by_type.values()
    return {"rope_parameters": first if all(other == first for other in others) else by_type}


def rope_by_layer_type_to_native(ours: Any) -> dict[str, Any]:
    rope = ours.rope_parameters
    return {"rope_parameters": {kind: dict(rope.get(kind, rope)) for kind in LAYER_TYPES}}


# Each layer type has its own rotary parameters.
ROPE_BY_LAYER_TYPE = ConfigMapping(
    rope_by_layer_type_to_ours, rope_by_layer_type_to_native, native_fields=("rope_parameters",)
)
