"""Accuracy, precision, recall, F1 and Matthews correlation; names and result keys are those of the Hugging Face Hub.

Legend: N rows, K classes or, of several labels at once, columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Features, List, Value

from .base import InMemoryMetric, safe_divide

__all__ = ["F1", "Accuracy", "MatthewsCorrelation", "Precision", "Recall"]

Counts = tuple[np.ndarray, np.ndarray, np.ndarray]
AVERAGES = ("binary", "macro", "micro", "weighted", None)


def _check_class_labels(values: Any, name: str) -> np.ndarray:
    """Whole numbers, (N,) of classes or (N, K) of several labels at once, 0 or 1 each; one column counts as classes."""
    labels = np.asarray(values)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind not in "biuf" or labels.ndim not in (1, 2) or np.any(labels != np.floor(labels)):
        raise ValueError(
            f"{name} must be whole numbers, (rows,) or (rows, labels), not {labels.dtype} of shape {labels.shape}; "
            "of logits, give the class: logits.argmax(-1)."
        )
    if labels.ndim == 2 and not np.isin(labels, (0, 1)).all():
        raise ValueError(f"{name} of several labels at once must be 0 or 1; got {np.unique(labels)[:5].tolist()}.")
    return labels.astype(np.int64)


class ClassMetric(InMemoryMetric):
    """Predictions and references are classes (N,), or 0 and 1 per label (N, K)."""

    inputs = [
        Features({"predictions": Value("int64"), "references": Value("int64")}),
        Features({"predictions": List(Value("int64")), "references": List(Value("int64"))}),
    ]

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        labels = {name: _check_class_labels(rows, f"{self.name}: {name}") for name, rows in batch.items()}
        shapes = {name: rows.shape for name, rows in labels.items()}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"{self.name} compares row with row, and got unequal shapes: {shapes}.")
        return {name: rows.tolist() for name, rows in labels.items()}


class Accuracy(ClassMetric):
    """Share of rows that are right; of several labels at once, in every label."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        right = np.equal(predictions, references).reshape(len(references), -1).all(axis=1)
        return {"accuracy": float(right.mean())}


class AveragedClassMetric(ClassMetric):
    """A fraction per class, averaged as by scikit-learn:
    - "binary": of class `pos_label`, where there are no more than two; `labels` is not looked at;
    - "micro": of the counts summed over classes;
    - "macro", "weighted": mean over classes, plain or weighted by how often each is the reference;
    - None: a list, one number per class, in the order of `labels`, by default all that occur, ascending.

    `labels`: the classes, or the columns of several labels at once, that count. A fraction of nothing is 0."""

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
        if average not in AVERAGES:
            raise ValueError(f"{self.name}: average={average!r} is unknown; choose one of {AVERAGES}.")
        predicted, actual = np.asarray(predictions), np.asarray(references)
        if average == "binary":
            labels = [self._positive(predicted, actual, pos_label)]
        elif labels is not None and not len(labels):
            raise ValueError(f"{self.name}: labels is empty; leave it out to count all.")
        counts = _count_columns if actual.ndim == 2 else _count_classes
        hits, predicted, actual = counts(predicted, actual, labels)
        if average == "micro":
            hits, predicted, actual = hits.sum(keepdims=True), predicted.sum(keepdims=True), actual.sum(keepdims=True)
        terms = {"precision": (hits, predicted), "recall": (hits, actual), "f1": (2 * hits, predicted + actual)}
        fractions = safe_divide(*terms[self.key])
        if average is None:
            return {self.key: fractions.tolist()}
        is_weighted = average == "weighted" and actual.any()
        return {self.key: float(np.average(fractions, weights=actual if is_weighted else None))}

    def _positive(self, predicted: np.ndarray, actual: np.ndarray, pos_label: int) -> int:
        present = np.unique([predicted, actual]).tolist()
        what = "several labels at once" if actual.ndim == 2 else f"{len(present)} classes"
        if actual.ndim == 2 or len(present) > 2:
            raise ValueError(f'{self.name}: average="binary" needs two classes and got {what}; give average="macro".')
        if len(present) == 2 and pos_label not in present:
            raise ValueError(f"{self.name}: pos_label={pos_label} does not occur; the classes are {present}.")
        return pos_label


def _count_classes(predicted: np.ndarray, actual: np.ndarray, labels: Sequence[int] | None) -> Counts:
    """Per class: predicted and right, predicted, in the references."""
    wanted = np.unique([predicted, actual]) if labels is None else np.asarray(labels)
    classes, codes = np.unique(np.concatenate([predicted, actual, wanted]), return_inverse=True)
    predicted, actual, wanted = np.split(codes, [len(predicted), 2 * len(predicted)])

    def count(rows: np.ndarray) -> np.ndarray:
        return np.bincount(rows, minlength=len(classes))[wanted]

    return count(actual[predicted == actual]), count(predicted), count(actual)


def _count_columns(predicted: np.ndarray, actual: np.ndarray, labels: Sequence[int] | None) -> Counts:
    columns = np.arange(actual.shape[1]) if labels is None else np.asarray(labels)
    if columns.min() < 0 or columns.max() >= actual.shape[1]:
        raise ValueError(f"labels must be columns, 0 to {actual.shape[1] - 1}; got {columns.tolist()}.")
    predicted, actual = predicted[:, columns], actual[:, columns]
    return (predicted & actual).sum(axis=0), predicted.sum(axis=0), actual.sum(axis=0)


class F1(AveragedClassMetric):
    __doc__ = f"Harmonic mean of precision and recall. {AveragedClassMetric.__doc__}"
    key = "f1"


class Precision(AveragedClassMetric):
    __doc__ = f"Share of what was predicted that is right. {AveragedClassMetric.__doc__}"
    key = "precision"


class Recall(AveragedClassMetric):
    __doc__ = f"Share of the references that was predicted. {AveragedClassMetric.__doc__}"
    key = "recall"


class MatthewsCorrelation(ClassMetric):
    """Correlation of predicted and true classes, -1 to 1; 0 where either is one class only. Gorodkin 2004, eq. 8."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predicted, actual = np.asarray(predictions), np.asarray(references)
        if actual.ndim == 2:
            raise ValueError(f"{self.name} is defined for one class per row, not for several labels at once.")
        # floats: the product of the two variances grows with the fourth power of N
        hits, p, t = (counts.astype(float) for counts in _count_classes(predicted, actual, None))
        variances = (len(actual) ** 2 - p @ p) * (len(actual) ** 2 - t @ t)
        covariance = hits.sum() * len(actual) - p @ t
        return {"matthews_correlation": float(covariance / np.sqrt(variances)) if variances else 0.0}
