"""Pearson and Spearman correlation of two columns of numbers, by scipy."""

from typing import Any

import numpy as np
from datasets import Features, Value
from scipy.stats import pearsonr, rankdata

from .base import InMemoryMetric

__all__ = ["Pearsonr", "Spearmanr"]


class NumberMetric(InMemoryMetric):
    inputs = Features({"predictions": Value("float64"), "references": Value("float64")})

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        numbers = {name: np.asarray(values, dtype=float) for name, values in batch.items()}
        for name, values in numbers.items():
            if values.size != len(values):
                raise ValueError(f"{self.name}: {name} must be one number per row, not of shape {values.shape}.")
        return {name: values.reshape(-1).tolist() for name, values in numbers.items()}


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's r; nan for inputs that scipy refuses or warns of: constant (also a single row), nan or infinite."""
    if (x == x[0]).all() or (y == y[0]).all() or not np.isfinite([x, y]).all():
        return float("nan")
    result: Any = pearsonr(x, y)
    return float(result.statistic)


class Pearsonr(NumberMetric):
    """Linear correlation of two columns of numbers, -1 to 1; nan if one is constant."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"pearsonr": _pearson(np.asarray(predictions), np.asarray(references))}


class Spearmanr(NumberMetric):
    """Correlation of ranks, where equal numbers share their mean rank; nan if one column is constant."""

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"spearmanr": _pearson(rankdata(predictions), rankdata(references))}
