"""Splits by content: what is missing is cut from the training rows by a hash, so it depends on content alone, not on
order, platform or process, and twins stay together."""

import json
from typing import Any

from datasets import Dataset

from ..preprocessing.dataset_utils import iterate_rows
from ..utils.hashing import content_digest

__all__ = ["SPLITS", "complete_splits"]

SPLITS = ("train", "validation", "test")


def complete_splits(found: dict[str, Any], by: str, shares: tuple[float, float, float]) -> dict[str, Any]:
    """All three splits; those that `found` lacks are cut from its training rows by the content of column `by`, in
    `shares` of train, validation and test. Raises ValueError if there are too few rows, or if they are a stream."""
    missing = [split for split in SPLITS if split not in found]
    if not missing:
        return found
    if not isinstance(found["train"], Dataset):
        raise ValueError(
            f"--streaming reads the training data only once training needs them, so {' and '.join(missing)} cannot be "
            f"cut from them; give {' and '.join(f'--{split}_file' for split in missing)}."
        )
    edges = (shares[0], shares[0] + shares[1], 1.0)
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, content in enumerate(iterate_rows(found["train"].select_columns([by]))):
        value = content[by]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
        share = int.from_bytes(content_digest(text)[:8], "big") / 2**64
        split = next(name for name, edge in zip(SPLITS, edges, strict=True) if share < edge or edge == 1.0)
        rows[split if split in missing else "train"].append(row)
    empty = [split for split in ("train", *missing) if not rows[split]]
    if empty:
        raise ValueError(
            f"{len(found['train'])} training row(s) are too few to cut {' and '.join(empty)} from them. Give "
            f"{' and '.join(f'--{split}_file' for split in empty)}; a .txt is cut finer with --sample_by line."
        )
    cut = {split: found["train"].select(rows[split]) for split in ("train", *missing)}
    complete = found | cut
    return {split: complete[split] for split in SPLITS}
