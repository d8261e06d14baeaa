"""How equal the tests found the outputs of each family: `parity_results.json`, with one line per family.

`pytest tests/conversion --write_families` writes the file; `hf-tfm families` prints it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .registry import FAMILIES

__all__ = ["PARITY_RESULTS", "read_results", "update_results", "write_results"]

PARITY_RESULTS = Path(__file__).with_name("parity_results.json")

Result = dict[str, Any]


def update_results(results: list[Result], measurements: Mapping[str, list[Mapping[str, Any]]]) -> list[Result]:
    """The results of all families, in the order of the registry: new for those with measurements, else as before.

    `measurements`: family -> one measurement per case and head."""
    updated = {result["family"]: result for result in results}
    updated |= {family: summarize(family, found) for family, found in measurements.items()}
    return [updated[family] for family in FAMILIES if family in updated]


def summarize(family: str, measurements: list[Mapping[str, Any]]) -> Result:
    """`heads`: those that were measured. `exact`: whether all weights came back bit by bit. `max_difference`: of the
    outputs. `text_equal`: None if no text was generated."""
    heads = {measurement["head"] for measurement in measurements}
    texts = {measurement["text_equal"] for measurement in measurements} - {None}
    return {
        "family": family,
        "heads": [head for head in FAMILIES[family].heads if head in heads],
        "exact": all(measurement["exact"] for measurement in measurements),
        "max_difference": max(measurement["max_difference"] for measurement in measurements),
        "text_equal": all(texts) if texts else None,
    }


def read_results(path: Path = PARITY_RESULTS) -> list[Result]:
    return json.loads(path.read_text(encoding="utf-8"))


def write_results(results: list[Result], path: Path = PARITY_RESULTS) -> None:
    """Valid JSON with one line per family."""
    lines = ",\n".join(json.dumps(result) for result in results)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
