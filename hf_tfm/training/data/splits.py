"""Missing splits are cut from the training rows by a hash of their content: independent of order, platform and process,
and duplicates stay in one split."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from ..preprocessing.dataset_utils import iterate_rows
from ..utils.hashing import content_digest
from ..utils.printing import print_on_main_process

__all__ = ["SPLITS", "SplitLimits", "complete_splits"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class SplitLimits:
    """Most rows, and most bytes of text, of a split that is cut from the training rows; 0: no limit."""

    rows: int = 0
    size: int = 0

    def exceeded(self, rows: np.ndarray, size: np.ndarray) -> np.ndarray:
        """Whether numbers of rows and bytes are beyond the limits."""
        return (rows > (self.rows or np.inf)) | (size > (self.size or np.inf))


def complete_splits(
    found: dict[str, Any],
    split_column: str,
    fractions: tuple[float, float, float],
    limits: SplitLimits | None = None,
    row_classes: Callable[[dict[str, Any]], list[list[str]] | None] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """All three splits, and sentences on how they were cut. Splits missing in `found` are cut from its training rows by
    a hash of `split_column`, with the `fractions` of train, validation and test. What is beyond the `limits` stays in
    the training split, and so does every row with a class (`row_classes`) that the training split would lack. Raises
    ValueError if there are too few rows, or if they are a stream."""
    missing = [split for split in SPLITS if split not in found]
    if not missing:
        return found, []
    if not isinstance(found["train"], Dataset):
        raise ValueError(
            f"--streaming reads the training data during training, so {' and '.join(missing)} cannot be cut from it; "
            f"give {' and '.join(f'--{split}_file' for split in missing)}."
        )
    hashes, sizes = hash_rows(found["train"], split_column)
    splits = split_numbers(hashes, fractions)
    splits[~np.isin(splits, [SPLITS.index(split) for split in missing])] = 0
    notes = [limit_splits(splits, hashes, sizes, limits)] if limits else []
    classes = row_classes(found) if row_classes else None
    if classes is not None:
        notes.append(keep_classes(splits, hashes, classes))
    rows = {split: np.flatnonzero(splits == SPLITS.index(split)) for split in ("train", *missing)}
    empty = [split for split in rows if not len(rows[split])]
    if empty:
        raise ValueError(
            f"{len(found['train'])} training row(s) are too few to cut {' and '.join(empty)} from them. Give "
            f"{' and '.join(f'--{split}_file' for split in empty)}; --sample_by line makes more rows of a .txt."
        )
    complete = found | {split: found["train"].select(rows[split]) for split in rows}
    return {split: complete[split] for split in SPLITS}, [note for note in notes if note]


def hash_rows(table: Dataset, column: str) -> tuple[np.ndarray, np.ndarray]:
    """The hash of each row's column, as a number from 0 to 1, and its size in bytes."""
    hashes, sizes = np.empty(len(table)), np.empty(len(table), dtype=np.int64)
    for index, row in enumerate(iterate_rows(table.select_columns([column]))):
        value = row[column]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        hashes[index] = int.from_bytes(content_digest(text)[:8], "big") / 2**64
        sizes[index] = len(text.encode())
    return hashes, sizes


def split_numbers(hashes: np.ndarray, fractions: tuple[float, float, float]) -> np.ndarray:
    """For each row, the index of its split in SPLITS."""
    return np.searchsorted([fractions[0], fractions[0] + fractions[1]], hashes, side="right")


def limit_splits(splits: np.ndarray, hashes: np.ndarray, sizes: np.ndarray, limits: SplitLimits) -> str:
    """Move the rows beyond the limits to the training split: those with the highest hashes, and equal rows together.
    Returns a sentence, empty if no row is moved."""
    kept = []
    for number in (1, 2):
        rows = np.flatnonzero(splits == number)
        rows = rows[np.argsort(hashes[rows], kind="stable")]
        beyond = limits.exceeded(np.arange(1, len(rows) + 1), sizes[rows].cumsum())
        if beyond.any():
            # the first row stays, so that no split is empty
            last = hashes[rows[max(0, beyond.argmax() - 1)]]
            moved = rows[hashes[rows] > last]
            splits[moved] = 0
            kept.append(f"{SPLITS[number]} {len(rows) - len(moved):,} of {len(rows):,} rows")
    if not kept:
        return ""
    note = f"The splits that were cut from the training data were limited: {', '.join(kept)}."
    print_on_main_process(f"{note} Other limits: --max_holdout_rows, --max_holdout_bytes")
    return note


def keep_classes(splits: np.ndarray, hashes: np.ndarray, classes: list[list[str]]) -> str:
    """Move the rows of classes that no training row has to the training split, and rows that are equal to them. Returns
    a sentence, empty if no row is moved."""
    known = {name for row in np.flatnonzero(splits == 0) for name in classes[row]}
    lacking = [row for row in np.flatnonzero(splits) if not known.issuperset(classes[row])]
    if not lacking:
        return ""
    moved = (splits > 0) & np.isin(hashes, hashes[lacking])
    splits[moved] = 0
    count = len({name for row in lacking for name in classes[row]} - known)
    note = f"{moved.sum():,} row(s) stayed in the training split, which would lack {count:,} class(es) without them."
    print_on_main_process(note)
    return note
