"""Precision, recall and F1 of spans in tagged sequences, with the numbers of seqeval's default mode (conlleval)."""

import warnings
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any

from datasets import Features, List, Value

from .base import InMemoryMetric, check_strings, safe_divide

__all__ = ["Seqeval", "get_spans"]

OUTSIDE_TAG = "O"


def get_spans(sequences: list[list[str]], suffix: bool = False) -> Iterator[tuple[str, int, int]]:
    """Spans as (type, first, last), positions counted over all sequences with one place between them.

    A tag is a letter and a type, "B-PER" ("PER-B" with `suffix`), or O; without a type, "B", the type is "_". A span
    ends after E and S, before B, S and O, and where the type changes; it begins at B and S, at I and E that follow
    none, and where the type changes. So IOB1, IOB2, IOE and BIOES are read alike, and an I with nothing before it
    opens a span, as conlleval has it."""
    letter, kind, first = OUTSIDE_TAG, "", 0
    for place, tag in enumerate(chain.from_iterable([*sequence, OUTSIDE_TAG] for sequence in sequences)):
        before, kind_before = letter, kind
        letter, kind = _split(tag, suffix)
        changes = kind != kind_before
        if before in "ES" or (before in "BI" and letter in "BSO") or (before not in "O." and changes):
            yield kind_before, first, place - 1
        if letter in "BS" or (before in "ESO" and letter in "IE") or (letter not in "O." and changes):
            first = place


def _split(tag: str, suffix: bool) -> tuple[str, str]:
    if suffix:
        return tag[-1], tag[:-1].rsplit("-", 1)[0] or "_"
    return tag[0], tag[1:].split("-", 1)[-1] or "_"


def _is_span_tag(tag: str, suffix: bool) -> bool:
    ending, letter = tag[-2:] if suffix else tag[1::-1], tag[-1] if suffix else tag[0]
    return tag in ("O", "B", "I", "E", "S") or (ending[0] == "-" and letter in "BIES")


class Seqeval(InMemoryMetric):
    """Precision, recall, F1 and number of the spans of each type, and the same (`overall_...`) of all of them, with the
    share of tags that are right, `overall_accuracy`. A span counts if its type and both its ends are right.

    Predictions and references are lists of tags, equally long. A fraction of nothing is 0."""

    inputs = Features({"predictions": List(Value("string")), "references": List(Value("string"))})

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        rows = {name: [_tags_of(row, name) for row in sequences] for name, sequences in batch.items()}
        for number, (predicted, actual) in enumerate(zip(rows["predictions"], rows["references"], strict=True)):
            if len(predicted) != len(actual):
                raise ValueError(
                    f"{self.name} compares tag with tag: row {number} has {len(predicted)} predictions and "
                    f"{len(actual)} references."
                )
        return rows

    def _compute(self, predictions: Any, references: Any, *, suffix: bool = False) -> dict[str, Any]:
        pairs = list(zip(chain.from_iterable(predictions), chain.from_iterable(references), strict=True))
        if not pairs:
            raise ValueError(f"{self.name} got no tags: all {len(references)} rows are empty.")
        strange = sorted(tag for tag in set(chain.from_iterable(pairs)) if not _is_span_tag(tag, suffix))
        if strange:
            warnings.warn(f"{self.name} expects tags like B-PER, I-PER and O; got {strange[:5]}.", stacklevel=2)
        predicted, actual = set(get_spans(predictions, suffix)), set(get_spans(references, suffix))
        hits = predicted & actual
        counts = [Counter(kind for kind, _, _ in spans) for spans in (hits, predicted, actual)]
        kinds = sorted(counts[1] | counts[2])
        results: dict[str, Any] = {kind: _fractions(*(count[kind] for count in counts)) for kind in kinds}
        overall = _fractions(len(hits), len(predicted), len(actual))
        results |= {f"overall_{key}": overall[key] for key in ("precision", "recall", "f1")}
        return results | {"overall_accuracy": sum(a == b for a, b in pairs) / len(pairs)}


def _tags_of(row: Any, name: str) -> list[str]:
    if isinstance(row, str):
        raise ValueError(f"{name} must be lists of tags, one per sequence; got the string {row!r}.")
    tags = check_strings(row, f"the tags of {name}")
    if "" in tags:
        raise ValueError(f"{name} hold an empty tag at position {tags.index('')}; tags are O, or like B-PER.")
    return tags


def _fractions(hits: int, predicted: int, actual: int) -> dict[str, Any]:
    precision, recall, f1 = safe_divide([hits, hits, 2 * hits], [predicted, actual, predicted + actual]).tolist()
    return {"precision": precision, "recall": recall, "f1": f1, "number": int(actual)}
