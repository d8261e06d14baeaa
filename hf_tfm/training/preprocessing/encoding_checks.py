"""Finds the rows that cannot become examples: only the tokenizer shows that a text is too long, or that nothing is left
of it."""

from collections.abc import Callable
from typing import Any

from .row_values import RowError
from .rows import LOCATION, PROBLEM, BadRows

__all__ = ["check_encoding", "fitting_length", "usable_batch"]


def check_encoding(batch: Any, encode: Callable[[Any], Any], lengths: dict[str, str]) -> dict[str, list[Any]]:
    """Columns of a batch of rows: why `encode` refuses each (PROBLEM, empty if it does not), and how many tokens each
    has. `lengths`: name of such a column -> column of the encoded rows that it counts. A batch for which `encode`
    raises RowError is halved until the rows are found."""
    rows = len(batch[LOCATION])
    try:
        encoded = encode(batch)
    except RowError as error:
        if rows == 1:
            return {PROBLEM: [str(error)], **{name: [0] for name in lengths}}
        halves = [{name: batch[name][part] for name in batch} for part in (slice(rows // 2), slice(rows // 2, None))]
        first, second = (check_encoding(half, encode, lengths) for half in halves)
        return {name: first[name] + second[name] for name in first}
    counted = {name: [count_tokens(ids) for ids in encoded[column]] for name, column in lengths.items()}
    return {PROBLEM: [""] * rows, **counted}


def count_tokens(ids: list[Any]) -> int:
    """The tokens of a row; of the longest of several texts in a row."""
    return max(map(len, ids)) if ids and isinstance(ids[0], list) else len(ids)


def usable_batch(batch: Any, encode: Callable[[Any], Any], bad_rows: BadRows) -> dict[str, list[Any]]:
    """The rows of a batch of a stream that can become examples; what is done with others is up to `bad_rows`."""
    problems = check_encoding(batch, encode, {})[PROBLEM]
    rows = [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]
    kept = list(bad_rows.usable(row | {PROBLEM: problem} for row, problem in zip(rows, problems, strict=True)))
    return {name: [row[name] for row in kept] for name in batch}


def fitting_length(longest: int, least: int, limit: int) -> int:
    """`least`, doubled until `longest` fits, at most `limit`."""
    length = least
    while length < longest:
        length *= 2
    return min(length, limit)
