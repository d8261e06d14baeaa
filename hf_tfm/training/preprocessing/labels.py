"""What labels are: one class of several, several yes-or-no at once, or a number; learnt from the training split."""

import math
from dataclasses import dataclass, replace
from typing import Any

from datasets import ClassLabel, Dataset, List, Sequence, Value

__all__ = ["Labels", "class_names", "in_order_of", "known_names", "learn_labels", "named"]

PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class Labels:
    """`kind`: single_label, multi_label or regression; `names`: of the classes, in the order of their ids."""

    kind: str
    names: tuple[str, ...]

    @property
    def problem_type(self) -> str:
        """The configuration's word."""
        return PROBLEM_TYPES[self.kind]

    def words(self) -> dict[str, Any]:
        """Fields of the configuration."""
        names = dict(enumerate(self.names)) if self.names else {0: "LABEL_0"}
        return {
            "problem_type": self.problem_type,
            "id2label": names,
            "label2id": {name: number for number, name in names.items()},
        }

    def summary(self) -> str:
        if self.kind == "regression":
            return "a number"
        shown = ", ".join(self.names[:12]) + (" ..." if len(self.names) > 12 else "")
        return f"{'one' if self.kind == 'single_label' else 'any'} of {len(self.names)} classes ({shown})"

    def encode(self, label: Any, where: str) -> Any:
        """A label as the model takes it. Raises ValueError for one that the training split does not have."""
        if self.kind == "regression":
            return as_number(label, where)
        if self.kind == "single_label":
            return self.number(label, where)
        if not isinstance(label, list) or len({name_of(name) for name in label}) < len(label):
            raise ValueError(
                f"{where} has the label {label!r}; several labels at once are a list of their names, each once, or "
                "columns of 0 and 1: --columns label=a,b"
            )
        chosen = {self.number(name, where) for name in label}
        return [float(number in chosen) for number in range(len(self.names))]

    def number(self, label: Any, where: str) -> int:
        name = name_of(label)
        if name not in self.names:
            raise ValueError(
                f"{where} has the label {name!r}, which no training row has; the known ones are: "
                f"{', '.join(self.names[:20])}. Correct it, leave the row out, or add training rows with it."
            )
        return self.names.index(name)


def in_order_of(labels: Labels, names: tuple[str, ...]) -> Labels:
    """The same labels with the ids that an earlier run gave them, if it had these and no others."""
    return replace(labels, names=names) if sorted(names) == sorted(labels.names) else labels


def name_of(label: Any) -> str:
    return str(int(label)) if isinstance(label, (bool, float)) and float(label).is_integer() else str(label)


def as_number(label: Any, where: str) -> float:
    try:
        number = float(label)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where} has the label {label!r}, which is not a finite number, as regression needs.")
    return number


def known_names(feature: Any) -> tuple[str, ...] | None:
    """Names of the classes that a column's type tells (of its lists' members, where it holds lists)."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return tuple(inner.names) if isinstance(inner, ClassLabel) else None


def named(label: Any, known: tuple[str, ...], where: str) -> Any:
    """The name of a numbered class, or the names of a list of them. Raises ValueError for other numbers: -1 stands for
    no label on the Hub."""
    if isinstance(label, list):
        return [named(number, known, where) for number in label]
    if not 0 <= label < len(known):
        raise ValueError(f"{where} has the label {label}, which is none of its classes; leave the row or split out.")
    return known[label]


def told_kind(feature: Any) -> str:
    """What a column's type says its labels are."""
    if isinstance(feature, (list, List, Sequence)):
        return "multi_label"
    return "regression" if isinstance(feature, Value) and feature.dtype.startswith("float") else "single_label"


def class_names(values: Any) -> tuple[str, ...]:
    """Names of all classes among labels, numbers in their order and words in theirs."""
    names = {name_of(value) for value in values if value is not None and value != ""}
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return tuple(sorted(names, key=int if numbers else str))


def learn_labels(table: Dataset, column: str, kind: str | None, columns: list[str]) -> Labels:
    """What the labels of a training split are; `kind` where the user said it; several `columns` of yes and no have
    their names for classes. Raises ValueError for fewer than two classes."""
    feature = table.features[column]
    kind = kind or told_kind(feature)
    if kind == "regression":
        return Labels(kind, ())
    if kind == "multi_label" and told_kind(feature) != "multi_label":
        raise ValueError("--problem_type multi_label needs lists of labels, or columns of 0 and 1: --columns label=a,b")
    if len(columns) > 1:
        names = tuple(columns)
    elif known := known_names(feature):
        names = known
    else:
        values = table[column][:]
        names = class_names(label for value in values for label in (value if kind == "multi_label" else [value]))
    if len(names) < 2:
        raise ValueError(
            f"The training rows have too few labels ({', '.join(names) or 'none'}): there must be two to tell apart. "
            "If the label is a number to predict, add --problem_type regression."
        )
    return Labels(kind, names)
