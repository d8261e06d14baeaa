"""What differs between the layers of a decoder, or between heads of rotary positions, and is said by fields."""

from collections.abc import Mapping
from typing import Any

from ..modeling.sides import LAYER_TYPES
from .family import Computed
from .rows import ConversionError

__all__ = [
    "PARTIAL_ROTARY", "TYPED_ROPE", "TYPED_WINDOW", "WHOLE_HEADS", "WINDOW_EVERYWHERE", "rope_layers", "slides",
    "without",
]  # fmt: skip


def without(fields: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def slides(ours: Any) -> bool:
    return "sliding_attention" in ours.layer_types


# one window for every layer, or none
WINDOW_EVERYWHERE = Computed(
    ours=lambda native: {"sliding_window": native.sliding_window},
    native=lambda ours: {"sliding_window": ours.sliding_window if slides(ours) else None},
    reads=("sliding_window",),
)
# Layers slide by type. Natively a window is asked for even where none slides.
TYPED_WINDOW = Computed(
    ours=lambda native: {"sliding_window": native.sliding_window, "layer_types": list(native.layer_types)},
    native=lambda ours: {
        "sliding_window": ours.sliding_window or ours.max_position_embeddings, "layer_types": list(ours.layer_types),
    },
    reads=("sliding_window", "layer_types"),
)  # fmt: skip


def rope_layers(rotates: list[bool]) -> dict[str, Any]:
    """Our word for which layers rotate: None for all."""
    return {"rope_layers": None if all(rotates) else rotates}


def one_rope(native: Any) -> dict[str, Any]:
    """The rotary parameters of every layer. Raises ConversionError if there are some for a layer type, which these
    families do not read."""
    if "rope_type" not in native.rope_parameters or any(kind in native.rope_parameters for kind in LAYER_TYPES):
        raise ConversionError(f"{native.model_type} has no rotary parameters by layer type.")
    return native.rope_parameters


def of_whole_heads(rope: dict[str, Any]) -> dict[str, Any]:
    return rope if rope["rope_type"] == "proportional" else without(rope, "partial_rotary_factor")


# The default rotary of these families does not read partial_rotary_factor, and none of the scaled ones can run with it.
WHOLE_HEADS = Computed(lambda native: {"rope_parameters": of_whole_heads(one_rope(native))})


def part_of_heads(native: Any) -> dict[str, Any]:
    rope = one_rope(native)
    whole = rope.get("partial_rotary_factor") == 1.0
    return {"rope_parameters": without(rope, "partial_rotary_factor") if whole else rope}


# For configurations that take an unsaid factor for less than the whole head.
PARTIAL_ROTARY = Computed(
    part_of_heads,
    lambda ours: {"rope_parameters": {"partial_rotary_factor": 1.0, **(ours.rope_parameters or {})}},
    ("rope_parameters",),
)


def rope_by_type(native: Any) -> dict[str, Any]:
    """Rotary parameters of the layer types that are there, or the one set that all share. Natively `truncate` is looked
    for outside these dictionaries."""
    rope = native.rope_parameters
    kinds = {kind: without(of_whole_heads(rope[kind]), "truncate") for kind in sorted(set(native.layer_types))}
    first, *others = kinds.values()
    return {"rope_parameters": first if all(other == first for other in others) else kinds}


def rope_of_types(ours: Any) -> dict[str, Any]:
    rope = ours.rope_parameters or {}
    return {"rope_parameters": {kind: dict(rope.get(kind, rope)) for kind in LAYER_TYPES}}


TYPED_ROPE = Computed(rope_by_type, rope_of_types, ("rope_parameters",))
