"""Encodes labels: one class per row, several labels per row, or a number. Classes come from the training split."""

import math
from dataclasses import dataclass, replace
from typing import Any

from datasets import ClassLabel, Dataset, List, Sequence, Value

__all__ = [
    "LabelEncoder",
    "class_label_names",
    "collect_class_names",
    "fit_label_encoder",
    "keep_label_order",
    "names_from_ids",
]

PROBLEM_TYPES = {
    "single_label": "single_label_classification",
    "multi_label": "multi_label_classification",
    "regression": "regression",
}


@dataclass(frozen=True)
class LabelEncoder:
    """`problem_type`: single_label, multi_label or regression; `names`: the classes in the order of their ids."""

    problem_type: str
    names: tuple[str, ...]

    def config_fields(self) -> dict[str, Any]:
        """Fields of the configuration."""
        names = dict(enumerate(self.names)) if self.names else {0: "LABEL_0"}
        return {
            "problem_type": PROBLEM_TYPES[self.problem_type],
            "id2label": names,
            "label2id": {name: number for number, name in names.items()},
        }

    def summary(self) -> str:
        if self.problem_type == "regression":
            return "a number"
        shown = ", ".join(self.names[:12]) + (" ..." if len(self.names) > 12 else "")
        return f"{'one' if self.problem_type == 'single_label' else 'any'} of {len(self.names)} classes ({shown})"

    def encode(self, label: Any, where: str) -> Any:
        """A label in the model's format. Raises ValueError for one that the training split does not have."""
        if self.problem_type == "regression":
            return parse_number(label, where)
        if self.problem_type == "single_label":
            return self.label_id(label, where)
        if not isinstance(label, list) or len({label_name(name) for name in label}) < len(label):
            raise ValueError(
                f"{where} has the label {label!r}; several labels per row are a list of their names, each once, or "
                "columns of 0 and 1: --columns label=a,b"
            )
        ids = {self.label_id(name, where) for name in label}
        return [float(label_id in ids) for label_id in range(len(self.names))]

    def label_id(self, label: Any, where: str) -> int:
        name = label_name(label)
        if name not in self.names:
            raise ValueError(
                f"{where} has the label {name!r}, which no training row has; the known ones are: "
                f"{', '.join(self.names[:20])}. Correct it, leave the row out, or add training rows with it."
            )
        return self.names.index(name)


def keep_label_order(labels: LabelEncoder, names: tuple[str, ...]) -> LabelEncoder:
    """The same labels with the ids of an earlier run, `names`, if that run had exactly these labels."""
    return replace(labels, names=names) if sorted(names) == sorted(labels.names) else labels


def label_name(label: Any) -> str:
    return str(int(label)) if isinstance(label, (bool, float)) and float(label).is_integer() else str(label)


def parse_number(label: Any, where: str) -> float:
    try:
        number = float(label)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where} has the label {label!r}, which is not a finite number, as regression needs.")
    return number


def class_label_names(feature: Any) -> tuple[str, ...] | None:
    """Class names in the type of a column, or in the type of its lists; None if it has none."""
    inner = feature[0] if isinstance(feature, list) else getattr(feature, "feature", feature)
    return tuple(inner.names) if isinstance(inner, ClassLabel) else None


def names_from_ids(label: Any, known: tuple[str, ...], where: str) -> Any:
    """The name of a class id, or the names of a list of ids. Raises ValueError for other numbers; on the Hub, -1 means
    no label."""
    if isinstance(label, list):
        return [names_from_ids(number, known, where) for number in label]
    if not 0 <= label < len(known):
        raise ValueError(
            f"{where} has the label {label}, which is not one of its classes; remove the row or the split."
        )
    return known[label]


def infer_problem_type(feature: Any) -> str:
    """The problem type that fits the type of the label column."""
    if isinstance(feature, (list, List, Sequence)):
        return "multi_label"
    return "regression" if isinstance(feature, Value) and feature.dtype.startswith("float") else "single_label"


def collect_class_names(values: Any) -> tuple[str, ...]:
    """Names of all classes, sorted as numbers if all of them are numbers, else as text."""
    names = {label_name(value) for value in values if value is not None and value != ""}
    numbers = all(name.lstrip("-").isdigit() for name in names)
    return tuple(sorted(names, key=int if numbers else str))


def fit_label_encoder(table: Dataset, column: str, problem_type: str | None, columns: list[str]) -> LabelEncoder:
    """The encoder of the labels of a training split. `problem_type` is inferred if it is None. Several `columns` of 0
    and 1 are the classes, with the columns' names. Raises ValueError for fewer than two classes."""
    feature = table.features[column]
    problem_type = problem_type or infer_problem_type(feature)
    if problem_type == "regression":
        return LabelEncoder(problem_type, ())
    if problem_type == "multi_label" and infer_problem_type(feature) != "multi_label":
        raise ValueError("--problem_type multi_label needs lists of labels, or columns of 0 and 1: --columns label=a,b")
    if len(columns) > 1:
        names = tuple(columns)
    elif known := class_label_names(feature):
        names = known
    else:
        values = table[column][:]
        names = collect_class_names(
            label for value in values for label in (value if problem_type == "multi_label" else [value])
        )
    if len(names) < 2:
        raise ValueError(
            f"The training rows have too few labels ({', '.join(names) or 'none'}): at least two are needed. If the "
            "label is a number to predict, add --problem_type regression."
        )
    return LabelEncoder(problem_type, names)
