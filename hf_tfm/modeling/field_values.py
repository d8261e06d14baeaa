"""Legal values of the fields of a configuration, each field by itself, checked whenever it is set."""

from collections.abc import Collection
from typing import Any

import torch
from huggingface_hub.dataclasses import as_validated_field

LAYER_TYPES = ("full_attention", "sliding_attention")

# Largest legal values, far above every published model, so that a file cannot ask for all memory or for hours.
MAX_LAYERS = 10_000
MAX_WIDTH = 2**20  # elements of a vector, heads, experts, labels
MAX_ROWS = 2**27  # rows of a table, tokens
MAX_FACTOR = 1e6


def one_of(registry: Collection[Any], default: Any) -> Any:
    """A field of a configuration with these values: the keys of a registry, say, entries added later included."""

    @as_validated_field
    def check(value: Any) -> None:
        if value not in registry:
            raise ValueError(f"{value!r} is not one of {list(registry)}")

    return check(default=default, metadata={"registry": registry})


def between(low: float, high: float, default: Any, above: bool = False) -> Any:
    """A field of a configuration whose numbers lie between `low` and `high`, both included, or with `above` greater
    than `low`. Lists are checked by entry; the type of the field says whether None is legal."""

    @as_validated_field
    def check(value: Any) -> None:
        entries = value if isinstance(value, list) else [value]
        # as one comparison, so that NaN fails it
        if not all(entry is None or (low <= entry <= high and not (above and entry == low)) for entry in entries):
            lowest = f"greater than {low}" if above else f"at least {low}"
            raise ValueError(f"The value must be {lowest} and at most {high}, got {value!r}.")

    return check(default=default)


def size(default: int | None, limit: int = MAX_WIDTH) -> Any:
    """A field that counts something: 1 to `limit`."""
    return between(1, limit, default)


def scale(default: float | None) -> Any:
    """A field that multiplies or bounds something: above 0, which would end all training."""
    return between(0, MAX_FACTOR, default, above=True)


def token_id() -> Any:
    """A field that holds a token id or several. -1 stands in published files that have no padding token."""
    return between(-1, MAX_ROWS, default=None)


@as_validated_field
def dropout(value: float | None) -> None:
    """A field that holds the probability that an element is dropped; at 1 nothing is left."""
    if value is not None and not 0 <= value < 1:
        raise ValueError(f"A dropout must be at least 0 and less than 1, got {value!r}.")


@as_validated_field
def floating_dtype(value: str | torch.dtype | None) -> None:
    """A field that holds a floating-point type of torch or its name."""
    found = getattr(torch, value, None) if isinstance(value, str) else value
    if value is not None and not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise ValueError(f"The value must be a floating-point type of torch, such as 'bfloat16', got {value!r}.")


@as_validated_field
def rope_dictionary(value: dict | None) -> None:
    """A field that holds rotary parameters, or such dictionaries by layer type."""
    by_type = {kind: value[kind] for kind in LAYER_TYPES if kind in value} if value else {}
    for parameters in by_type.values() if by_type else [value or {}]:
        if not isinstance(parameters, dict) or not isinstance(parameters.get("rope_type", ""), str):
            raise ValueError(f"The value must be a dictionary with a rope_type, or one by layer type, got {value!r}.")


def check_num_labels(value: Any) -> None:
    """Raises ValueError unless `value` is a number of labels."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not 1 <= value <= MAX_WIDTH:
        raise ValueError(f"num_labels must be an integer from 1 to {MAX_WIDTH}, got {value!r}.")
