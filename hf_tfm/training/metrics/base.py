"""The base class of all metrics: rows are kept in memory, and nothing is written outside `cache_dir`."""

from pathlib import Path
from typing import Any

import evaluate
from datasets import Features

__all__ = ["InMemoryMetric", "check_strings"]


class InMemoryMetric(evaluate.Metric):
    """A metric that keeps its rows in memory and writes only to `cache_dir`. Subclasses define `inputs`, `_compute`
    and, where needed, `prepare`. Raises ValueError without rows, and for inputs of unequal length."""

    inputs: Features | list[Features]

    def __init__(self, cache_dir: str | Path) -> None:
        super().__init__(keep_in_memory=True, cache_dir=str(cache_dir))

    def _info(self) -> evaluate.MetricInfo:
        text = self.__doc__ or ""
        return evaluate.MetricInfo(description=text, citation="", inputs_description="", features=self.inputs)

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch in the format in which it is stored. Raises ValueError for values that cannot be measured."""
        return batch

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Store one row."""
        given = {"predictions": prediction, "references": reference, **kwargs}
        self.add_batch(**{name: [value] for name, value in given.items() if value is not None})

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Store rows."""
        given = {"predictions": predictions, "references": references, **kwargs}
        batch = {name: values for name, values in given.items() if values is not None}
        if sorted(batch) != sorted(self._feature_names()):
            raise ValueError(f"{self.name} takes {' and '.join(self._feature_names())}; got {' and '.join(batch)}.")
        lengths = {name: len(values) for name, values in batch.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"{self.name} compares its inputs row by row, but got unequally many: {lengths}.")
        if not all(lengths.values()):
            raise ValueError(self._no_rows_message())
        super().add_batch(**self.prepare(batch))

    def compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, Any] | None:
        """Measure the rows given here and stored before, and drop them."""
        given = {"predictions": predictions, "references": references, **kwargs}
        if not len(self) and all(given.get(name) is None for name in self._feature_names()):
            raise ValueError(self._no_rows_message())
        return super().compute(predictions=predictions, references=references, **kwargs)

    def _no_rows_message(self) -> str:
        return f"{self.name} got no rows; the split is empty, or filtering removed all of it."


def check_strings(values: Any, name: str) -> list[str]:
    """The values as a list. Raises ValueError for the first value that is not a string."""
    for number, text in enumerate(values):
        if not isinstance(text, str):
            raise ValueError(f"{name} must be strings; row {number} is {type(text).__name__}: {text!r}.")
    return list(values)
