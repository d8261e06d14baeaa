"""A report as dictionaries, lists and plain values, for JSON and for the page."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

__all__ = ["arrays_of", "nested_lists", "plain"]


def plain(value: Any, array: Callable[[np.ndarray], Any]) -> Any:
    """`value` without dataclasses and NumPy types; `array` says what becomes of an array. NaN and infinity, which JSON
    does not have, become None."""
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name), array) for item in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item, array) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, array) for item in value]
    if isinstance(value, np.ndarray):
        return array(value)
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nested_lists(array: np.ndarray) -> list:
    """The array's numbers as they are, float32 as the float64 of the same value."""
    return plain(array.tolist(), nested_lists) if array.dtype.kind == "f" else array.tolist()


def arrays_of(value: Any, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """(dotted name, array) of every array in a report: "attention.0.weights"."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif is_dataclass(value):
        for item in fields(value):
            yield from arrays_of(getattr(value, item.name), f"{name}.{item.name}".strip("."))
    elif isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from arrays_of(item, f"{name}.{key}".strip("."))
