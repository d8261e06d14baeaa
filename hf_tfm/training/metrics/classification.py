"""Accuracy, precision, recall, F1 and Matthews correlation by scikit-learn, under the Hub's names and result keys.

Legend: N rows; K labels per row, where a row may have several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Features, List, Value
from sklearn.metrics import accuracy_score, matthews_corrcoef, precision_recall_fscore_support

from .base import InMemoryMetric

__all__ = ["F1", "Accuracy", "MatthewsCorrelation", "Precision", "Recall"]

AVERAGES = ("binary", "macro", "micro", "weighted", None)


def _check_class_labels(values: Any, name: str) -> np.ndarray:
    """Whole numbers: class ids (N,), or 0 and 1 per label (N, K). A single column is read as class ids."""
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2) or np.any(labels != np.floor(labels)):
        raise ValueError(
            f"{name} must be whole numbers of shape (rows,) or (rows, labels), not {labels.dtype} of shape "
            f"{labels.shape}; turn logits into classes with logits.argmax(-1)."
        )
    if labels.ndim == 2 and not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name} with several labels per row must be 0 or 1; got {np.unique(labels)[:5].tolist()}.")
    return labels.astype(np.int64)


class ClassMetric(InMemoryMetric):
    """Predictions and references are class ids (N,), or 0 and 1 per label (N, K)."""

    inputs = [
        Features({"predictions": Value("int64"), "references": Value("int64")}),
        Features({"predictions": List(Value("int64")), "references": List(Value("int64"))}),
    ]

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        labels = {name: _check_class_labels(values, f"{self.name}: {name}") for name, values in batch.items()}
        shapes = {name: values.shape for name, values in labels.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{self.name} compares its inputs row by row, but got unequal shapes: {shapes}.")
        return {name: values.tolist() for name, values in labels.items()}


class Accuracy(ClassMetric):
    """Fraction of correct rows; with several labels per row, a row is correct if all its labels are."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(np.asarray(references), np.asarray(predictions)))}


class AveragedClassMetric(ClassMetric):
    """A fraction per class, averaged as in scikit-learn:
    - "binary": of class `pos_label`, for two classes at most; `labels` is ignored;
    - "micro": of the counts summed over classes;
    - "macro", "weighted": mean over classes, plain or weighted by their frequency in the references;
    - None: a list with one number per class, in the order of `labels`, by default all classes in ascending order.

    `labels`: the classes (or the columns, with several labels per row) that count. 0/0 counts as 0."""

    key: str

    def _compute(
        self,
        predictions: Any,
        references: Any,
        *,
        average: str | None = "binary",
        labels: Sequence[int] | None = None,
        pos_label: int = 1,
    ) -> dict[str, float | list[float]]:
        predicted, actual = np.asarray(predictions), np.asarray(references)
        if average not in AVERAGES:
            raise ValueError(f"{self.name}: average={average!r} is unknown; choose one of {AVERAGES}.")
        if average == "binary":
            self._check_binary(predicted, actual, pos_label)
            labels = None
        elif labels is not None:
            self._check_labels(actual, labels)
        options: Any = {"labels": labels, "pos_label": pos_label, "average": average, "zero_division": 0}
        precision, recall, f1, _ = precision_recall_fscore_support(actual, predicted, **options)
        value = {"precision": precision, "recall": recall, "f1": f1}[self.key]
        return {self.key: np.asarray(value).tolist()}

    def _check_binary(self, predicted: np.ndarray, actual: np.ndarray, pos_label: int) -> None:
        present = np.unique([predicted, actual]).tolist()
        what = "several labels at once" if actual.ndim == 2 else f"{len(present)} classes"
        if actual.ndim == 2 or len(present) > 2:
            raise ValueError(f'{self.name}: average="binary" needs two classes and got {what}; give average="macro".')
        if len(present) == 2 and pos_label not in present:
            raise ValueError(f"{self.name}: pos_label={pos_label} does not occur; the classes are {present}.")

    def _check_labels(self, actual: np.ndarray, labels: Sequence[int]) -> None:
        if not len(labels):
            raise ValueError(f"{self.name}: labels is empty; leave it out to count all.")
        if actual.ndim == 2 and (min(labels) < 0 or max(labels) >= actual.shape[1]):
            raise ValueError(f"{self.name}: labels must be columns, 0 to {actual.shape[1] - 1}; got {list(labels)}.")


class F1(AveragedClassMetric):
    __doc__ = f"Harmonic mean of precision and recall. {AveragedClassMetric.__doc__}"
    key = "f1"


class Precision(AveragedClassMetric):
    __doc__ = f"Fraction of the predictions that is correct. {AveragedClassMetric.__doc__}"
    key = "precision"


class Recall(AveragedClassMetric):
    __doc__ = f"Fraction of the references that is predicted. {AveragedClassMetric.__doc__}"
    key = "recall"


class MatthewsCorrelation(ClassMetric):
    """Correlation of predicted and true classes, -1 to 1; 0 if either has one class only. Gorodkin 2004, eq. 8."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predicted, actual = np.asarray(predictions), np.asarray(references)
        if actual.ndim == 2:
            raise ValueError(f"{self.name} is defined for one class per row, not for several labels per row.")
        return {"matthews_correlation": float(matthews_corrcoef(actual, predicted))}
