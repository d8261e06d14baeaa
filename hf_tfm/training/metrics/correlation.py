"""Pearson and Spearman correlation of two columns of numbers."""

from typing import Any

import numpy as np
from datasets import Features, Value

from .base import InMemoryMetric

__all__ = ["Pearsonr", "Spearmanr"]


class NumberMetric(InMemoryMetric):
    inputs = Features({"predictions": Value("float64"), "references": Value("float64")})

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        numbers = {name: np.asarray(rows, dtype=float) for name, rows in batch.items()}
        for name, rows in numbers.items():
            if rows.size != len(rows):
                raise ValueError(f"{self.name}: {name} must be one number per row, not of shape {rows.shape}.")
        return {name: rows.reshape(-1).tolist() for name, rows in numbers.items()}


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r; nan where an input is constant (so is a single row) or not finite."""
    if (x == x[0]).all() or (y == y[0]).all() or not np.isfinite([x, y]).all():
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    # scaled first: squares of very large or very small numbers leave the range of a float
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float(np.clip(x @ y / np.sqrt((x @ x) * (y @ y)), -1, 1))


class Pearsonr(NumberMetric):
    """Linear correlation of two columns of numbers, -1 to 1; nan where one is constant."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"pearsonr": _correlation(np.asarray(predictions), np.asarray(references))}


class Spearmanr(NumberMetric):
    """Correlation of ranks, equal numbers sharing their mean rank; nan where one column is constant."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"spearmanr": _correlation(_ranks(predictions), _ranks(references))}


def _ranks(values: Any) -> np.ndarray:
    distinct, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return np.where(np.isnan(distinct), np.nan, ranks)[codes]
