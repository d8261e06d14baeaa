"""Precision, recall and F1 of spans in tagged sequences, equal to seqeval's default mode (conlleval).

Written by hand because seqeval has no release since 2020 and is not packaged with wheels."""

import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

from datasets import Features, List, Value

from .base import InMemoryMetric, check_strings

__all__ = ["Seqeval", "get_spans"]

OUTSIDE_TAG = "O"


def get_spans(sequences: list[list[str]], suffix: bool = False) -> Iterator[tuple[str, int, int]]:
    """Spans as (type, first, last). Positions count over all sequences, with one extra position after each.

    A tag is a letter and a type, "B-PER" ("PER-B" with `suffix`), or O; a tag without a type, "B", has the type "_". A
    span ends after E and S, before B, S and O, and where the type changes. It begins at B and S, at I and E outside a
    span, and where the type changes. So the function reads IOB1, IOB2, IOE and BIOES alike, and an I outside a span
    starts one, as in conlleval."""
    letter, span_type, first = OUTSIDE_TAG, "", 0
    for position, tag in enumerate(chain.from_iterable([*sequence, OUTSIDE_TAG] for sequence in sequences)):
        previous_letter, previous_type = letter, span_type
        letter, span_type = _split_tag(tag, suffix)
        changes = span_type != previous_type
        if (
            previous_letter in "ES"
            or (previous_letter in "BI" and letter in "BSO")
            or (previous_letter not in "O." and changes)
        ):
            yield previous_type, first, position - 1
        if letter in "BS" or (previous_letter in "ESO" and letter in "IE") or (letter not in "O." and changes):
            first = position


def _split_tag(tag: str, suffix: bool) -> tuple[str, str]:
    if suffix:
        return tag[-1], tag[:-1].rsplit("-", 1)[0] or "_"
    return tag[0], tag[1:].split("-", 1)[-1] or "_"


def _is_span_tag(tag: str, suffix: bool) -> bool:
    ending, letter = tag[-2:] if suffix else tag[1::-1], tag[-1] if suffix else tag[0]
    return tag in ("O", "B", "I", "E", "S") or (ending[0] == "-" and letter in "BIES")


class Seqeval(InMemoryMetric):
    """Precision, recall, F1 and number of the spans of each type; `overall_...` for all spans together; and
    `overall_accuracy`, the fraction of correct tags. A span is correct if its type and both its ends are.

    Predictions and references are lists of tags of equal length. 0/0 counts as 0."""

    inputs = Features({"predictions": List(Value("string")), "references": List(Value("string"))})

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = {name: [_check_tags(row, name) for row in sequences] for name, sequences in batch.items()}
        for number, (predicted, actual) in enumerate(zip(rows["predictions"], rows["references"], strict=True)):
            if len(predicted) != len(actual):
                raise ValueError(
                    f"{self.name} compares tag by tag: row {number} has {len(predicted)} predictions and "
                    f"{len(actual)} references; give one prediction for each reference."
                )
        return rows

    def _compute(self, predictions: Any, references: Any, *, suffix: bool = False) -> dict[str, Any]:
        pairs = list(zip(chain.from_iterable(predictions), chain.from_iterable(references), strict=True))
        if not pairs:
            raise ValueError(f"{self.name} got no tags: all {len(references)} rows are empty.")
        unknown = sorted(tag for tag in set(chain.from_iterable(pairs)) if not _is_span_tag(tag, suffix))
        if unknown:
            warnings.warn(f"{self.name} expects tags like B-PER, I-PER and O; got {unknown[:5]}.", stacklevel=2)
        predicted, actual = set(get_spans(predictions, suffix)), set(get_spans(references, suffix))
        hits = predicted & actual
        counts = [Counter(span_type for span_type, _, _ in spans) for spans in (hits, predicted, actual)]
        span_types = sorted(counts[1] | counts[2])
        results: dict[str, Any] = {name: _scores(*(count[name] for count in counts)) for name in span_types}
        overall = _scores(len(hits), len(predicted), len(actual))
        results |= {f"overall_{key}": overall[key] for key in ("precision", "recall", "f1")}
        return results | {"overall_accuracy": sum(a == b for a, b in pairs) / len(pairs)}


def _check_tags(row: Any, name: str) -> list[str]:
    if isinstance(row, str):
        raise ValueError(f"{name} must be lists of tags, one per sequence; got the string {row!r}.")
    tags = check_strings(row, f"the tags of {name}")
    if "" in tags:
        raise ValueError(f"{name} have an empty tag at position {tags.index('')}; write tags as O or B-PER.")
    return tags


def _scores(hits: int, predicted: int, actual: int) -> dict[str, Any]:
    # Where a denominator is 0, hits is 0 too.
    return {
        "precision": hits / max(predicted, 1),
        "recall": hits / max(actual, 1),
        "f1": 2 * hits / max(predicted + actual, 1),
        "number": actual,
    }
