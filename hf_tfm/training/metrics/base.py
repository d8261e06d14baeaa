"""What all metrics share: rows are kept in memory, and nothing is written outside `cache_dir`."""

from pathlib import Path
from typing import Any

import evaluate
import numpy as np
from datasets import Features

__all__ = ["InMemoryMetric", "check_strings", "safe_divide"]


class InMemoryMetric(evaluate.Metric):
    """A metric that keeps its rows in memory and writes nowhere but in `cache_dir`; the blanks are `inputs`, `prepare`
    and `_compute`. No rows, or inputs of unequal length, raise ValueError."""

    inputs: Features | list[Features]

    def __init__(self, cache_dir: str | Path) -> None:
        super().__init__(keep_in_memory=True, cache_dir=str(cache_dir))

    def _info(self) -> evaluate.MetricInfo:
        text = self.__doc__ or ""
        return evaluate.MetricInfo(description=text, citation="", inputs_description="", features=self.inputs)

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch as it is stored. Raises ValueError for what cannot be measured."""
        return batch

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Store one row."""
        given = {"predictions": prediction, "references": reference, **kwargs}
        self.add_batch(**{name: [row] for name, row in given.items() if row is not None})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Store rows."""
        given = {"predictions": predictions, "references": references, **kwargs}
        batch = {name: rows for name, rows in given.items() if rows is not None}
        if sorted(batch) != sorted(self._feature_names()):
            raise ValueError(f"{self.name} takes {' and '.join(self._feature_names())}; got {' and '.join(batch)}.")
        lengths = {name: len(rows) for name, rows in batch.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{self.name} compares row with row, and got unequally many: {lengths}.")
        if not all(lengths.values()):
            raise ValueError(self._no_rows_message())
        super().add_batch(**self.prepare(batch))

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any] | None:
        """Measure the rows given here and before, and forget them."""
        given = {"predictions": predictions, "references": references, **kwargs}
        if not len(self) and all(given.get(name) is None for name in self._feature_names()):
            raise ValueError(self._no_rows_message())
        return super().compute(predictions=predictions, references=references, **kwargs)

    def _no_rows_message(self) -> str:
        return f"{self.name} got no rows; the split, or what is left of it after filtering, is empty."


def safe_divide(numerators: Any, denominators: Any) -> np.ndarray:
    """Quotients, 0 where a denominator is 0."""
    denominators = np.asarray(denominators, dtype=float)
    return np.divide(numerators, denominators, out=np.zeros_like(denominators), where=denominators != 0)


def check_strings(values: Any, name: str) -> list[str]:
    """Rows that are strings. Raises ValueError for the first that is not."""
    for row, text in enumerate(values):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be strings; row {row} is {type(text).__name__}: {text!r}.")
    return list(values)
