"""Missing splits are cut from the training rows by a hash of their content: independent of order, platform and process,
and duplicates stay in one split."""

import json
from typing import Any

from datasets import Dataset

from ..preprocessing.dataset_utils import iterate_rows
from ..utils.hashing import content_digest

__all__ = ["SPLITS", "complete_splits"]

SPLITS = ("train", "validation", "test")


def complete_splits(found: dict[str, Any], split_column: str, fractions: tuple[float, float, float]) -> dict[str, Any]:
    """All three splits. Those missing in `found` are cut from its training rows by a hash of `split_column`, with the
    `fractions` of train, validation and test. Raises ValueError if there are too few rows, or if they are a stream."""
    missing = [split for split in SPLITS if split not in found]
    if not missing:
        return found
    if not isinstance(found["train"], Dataset):
        raise ValueError(
            f"--streaming reads the training data during training, so {' and '.join(missing)} cannot be cut from it; "
            f"give {' and '.join(f'--{split}_file' for split in missing)}."
        )
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for index, row in enumerate(iterate_rows(found["train"].select_columns([split_column]))):
        split = split_of(row[split_column], fractions)
        rows[split if split in missing else "train"].append(index)
    empty = [split for split in ("train", *missing) if not rows[split]]
    if empty:
        raise ValueError(
            f"{len(found['train'])} training row(s) are too few to cut {' and '.join(empty)} from them. Give "
            f"{' and '.join(f'--{split}_file' for split in empty)}; --sample_by line makes more rows of a .txt."
        )
    complete = found | {split: found["train"].select(rows[split]) for split in ("train", *missing)}
    return {split: complete[split] for split in SPLITS}


def split_of(value: Any, fractions: tuple[float, float, float]) -> str:
    """The split of a value, by its hash."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    uniform = int.from_bytes(content_digest(text)[:8], "big") / 2**64
    if uniform < fractions[0]:
        return "train"
    return "validation" if uniform < fractions[0] + fractions[1] else "test"
