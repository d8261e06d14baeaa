"""Encodes labels: one class per row, several classes per row, or a number. Labels are texts, exactly as the files have
them; classes come from the training split."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from datasets import ClassLabel

from .row_values import RowError

__all__ = [
    "LabelEncoder",
    "LabelKind",
    "class_label_names",
    "fit_label_encoder",
    "infer_label_kind",
    "keep_label_order",
    "names_from_ids",
    "parse_number",
    "sorted_names",
]

LabelKind = Literal["class", "number", "multi"]
# kind of the labels -> problem_type of the configuration
PROBLEM_TYPES = {
    "class": "single_label_classification",
    "number": "regression",
    "multi": "multi_label_classification",
}
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
# texts that mean an empty cell in a column whose other labels are numbers
MISSING_MARKERS = frozenset(("na", "n/a", "#n/a", "nan", "null", "none", "-", "?"))
# Labels are numbers if some have a fraction and at most this share of the rows has other text.
MAX_SHARE_OF_TEXT = 0.1


@dataclass(frozen=True)
class LabelEncoder:
    """`names`: the classes in the order of their ids. `has_missing_markers`: whether a text such as "NA" is an empty
    cell, because all other labels are numbers."""

    kind: LabelKind
    names: tuple[str, ...]
    has_missing_markers: bool = False

    def config_fields(self) -> dict[str, Any]:
        """Fields of the configuration."""
        names = dict(enumerate(self.names)) if self.names else {0: "LABEL_0"}
        return {
            "problem_type": PROBLEM_TYPES[self.kind],
            "id2label": names,
            "label2id": {name: number for number, name in names.items()},
        }

    def summary(self) -> str:
        if self.kind == "number":
            return "a number (if these are classes, add --label_kind class)"
        shown = ", ".join(self.names[:12]) + (" ..." if len(self.names) > 12 else "")
        is_number = len(self.names) > 2 and all(parse_number(name) is not None for name in self.names)
        hint = " (if they are numbers to predict, add --label_kind number)" if is_number else ""
        return f"{'one' if self.kind == 'class' else 'any'} of {len(self.names)} classes: {shown}{hint}"

    def encode(self, label: str | list[str]) -> Any:
        """A label in the model's format. Raises RowError for one that is not of this kind, or that the training split
        does not have."""
        if self.kind == "multi":
            return self.encode_several(label)
        if isinstance(label, list):
            raise RowError(f"has the labels {label}, and --label_kind {self.kind} needs one label in each row")
        if self.kind == "class":
            return self.label_id(label)
        number = parse_number(label)
        if number is None:
            raise RowError(f"has the label {label!r}, which is not a finite number")
        return number

    def placeholder(self) -> Any:
        """A value of the type that `encode` returns, for a row that is not used."""
        return {"class": 0, "number": 0.0, "multi": [0.0] * len(self.names)}[self.kind]

    def encode_several(self, label: str | list[str]) -> list[float]:
        if not isinstance(label, list) or len(set(label)) < len(label):
            raise RowError(
                f"has the label {label!r}; several labels in a row are a list of their names, each once, or columns "
                "of 0 "
                "and 1: --columns label=a,b"
            )
        ids = {self.label_id(name) for name in label}
        return [float(label_id in ids) for label_id in range(len(self.names))]

    def label_id(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        if self.has_missing_markers and is_missing_marker(name):
            raise RowError(f"has the label {name!r} among numbers, an empty cell (for a class add --label_kind class)")
        raise RowError(
            f"has the label {name!r}, which no training row has; the known ones are: {', '.join(self.names[:20])}"
        )


def keep_label_order(labels: LabelEncoder, names: tuple[str, ...]) -> LabelEncoder:
    """The same labels with the ids of an earlier run, `names`, if that run had exactly these labels."""
    return replace(labels, names=names) if sorted(names) == sorted(labels.names) else labels


def parse_number(label: str) -> float | None:
    """The number that a text is, in decimal or scientific notation; None for other texts and infinity."""
    number = float(label) if NUMBER.fullmatch(label.strip()) else math.inf
    return number if math.isfinite(number) else None


def is_missing_marker(label: str) -> bool:
    return label.strip().lower() in MISSING_MARKERS


def class_label_names(feature: Any) -> tuple[str, ...] | None:
    """Class names in the type of a column, or in the type of its lists; None if it has none."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return tuple(inner.names) if isinstance(inner, ClassLabel) else None


def names_from_ids(label: Any, known: tuple[str, ...]) -> Any:
    """The name of a class id, or the names of a list of ids; None for other numbers, such as -1, the Hub's sign for no
    label."""
    if isinstance(label, list):
        return [names_from_ids(number, known) for number in label]
    return known[label] if label is not None and 0 <= label < len(known) else None


def infer_label_kind(labels: Iterable[str | list[str]]) -> tuple[LabelKind, bool]:
    """The kind of the labels of all splits, from their text, and whether texts such as "NA" are empty cells.

    Lists are several classes. Numbers are numbers to predict if at least one has a fraction, apart from a few rows of
    other text, which are mistakes; else they are classes, as all other text. Texts such as "NA" are a class of their
    own only beside other words."""
    counts = Counter("" if isinstance(label, list) else label for label in labels)
    if "" in counts:
        return "multi", False
    numbers = {label: number for label in counts if (number := parse_number(label)) is not None}
    texts = [label for label in counts if label not in numbers]
    share_of_text = sum(counts[label] for label in texts) / max(1, counts.total())
    if share_of_text <= MAX_SHARE_OF_TEXT and any(not number.is_integer() for number in numbers.values()):
        return "number", False
    return "class", bool(numbers) and all(map(is_missing_marker, texts))


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Each name once, sorted as numbers if all of them are numbers, else as text."""
    unique = sorted(set(names))
    numbers = [parse_number(name) for name in unique]
    if None in numbers:
        return tuple(unique)
    return tuple(name for _, name in sorted(zip(numbers, unique, strict=True)))


def fit_label_encoder(
    train: list[Any], others: list[Any], forced: LabelKind | None, declared: tuple[str, ...] | None
) -> LabelEncoder:
    """The encoder of the labels of a training split. The kind is inferred from all splits if none is `forced`.
    `declared`: all classes in their order, if the data say so. Raises ValueError for fewer than two classes."""
    kind, has_missing_markers = infer_label_kind([*train, *others])
    if forced:
        kind, has_missing_markers = forced, False
    if kind == "number":
        return LabelEncoder(kind, ())
    found = (name for label in train for name in (label if isinstance(label, list) else [label]))
    names = declared or sorted_names(name for name in found if not (has_missing_markers and is_missing_marker(name)))
    if len(names) < 2:
        raise ValueError(
            f"The training rows have too few labels ({', '.join(names) or 'none'}): at least two are needed. If the "
            "label is a number to predict, add --label_kind number."
        )
    return LabelEncoder(kind, names, has_missing_markers)
