"""Texts above the maximum length give an error with file, line and length, or are truncated and counted; never
silently."""

from typing import Any

from datasets import Dataset

from ..utils.printing import print_on_main_process

__all__ = ["report_truncated", "tokenize_within"]

TRUNCATED = "truncated"


def tokenize_within(
    tokenizer: Any,
    texts: list[str],
    pairs: list[str] | None,
    limit: int,
    policy: str,
    option: str,
    locations: list[str],
) -> dict[str, Any]:
    """Tokens of texts (or pairs of texts) with special tokens, at most `limit` long, and the column "truncated". With
    the policy "error", a longer text raises ValueError with its location and `option`."""
    encoded = tokenizer(texts, pairs, verbose=False)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    longest = max(range(len(lengths)), key=lengths.__getitem__, default=None)
    if longest is None or lengths[longest] <= limit:
        return dict(encoded) | {TRUNCATED: [False] * len(lengths)}
    if policy == "error":
        raise ValueError(
            f"{locations[longest]} has {lengths[longest]} tokens, more than {option} {limit}: "
            f"{texts[longest][:60]!r}... Raise {option}, or cut long texts with --long_texts truncate."
        )
    encoded = tokenizer(texts, pairs, truncation=True, max_length=limit, verbose=False)
    return dict(encoded) | {TRUNCATED: [length > limit for length in lengths]}


def report_truncated(table: Any, split: str, option: str) -> Any:
    """Print how many rows of a table are truncated, and remove its column "truncated"."""
    if isinstance(table, Dataset):
        count = sum(table[TRUNCATED])
        if count:
            print_on_main_process(f"{count:,} of {len(table):,} {split} rows are longer than {option} and were cut.")
    return table.remove_columns(TRUNCATED)
