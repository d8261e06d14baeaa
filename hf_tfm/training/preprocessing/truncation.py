"""Texts longer than the model reads: refused with their row and length, or cut and counted. Never silently."""

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
    rows: list[int],
) -> dict[str, Any]:
    """Tokens of texts (or pairs of texts) with special tokens, at most `limit` long, and a column "truncated": whether
    something was left off. With policy "error" a longer one is a ValueError that names its row and `option`."""
    whole = tokenizer(texts, pairs, verbose=False)
    lengths = [len(ids) for ids in whole["input_ids"]]
    longest = max(range(len(lengths)), key=lengths.__getitem__, default=None)
    if longest is None or lengths[longest] <= limit:
        return dict(whole) | {TRUNCATED: [False] * len(lengths)}
    if policy == "error":
        raise ValueError(
            f"Row {rows[longest] + 1} has {lengths[longest]} tokens, more than {option} {limit}: "
            f"{texts[longest][:60]!r}... Raise {option}, or leave the ends off with --long_texts truncate."
        )
    cut = tokenizer(texts, pairs, truncation=True, max_length=limit, verbose=False)
    return dict(cut) | {TRUNCATED: [length > limit for length in lengths]}


def report_truncated(table: Any, split: str, option: str) -> Any:
    """A table without its column "truncated"; says on the screen how many of its rows were cut."""
    if isinstance(table, Dataset):
        count = sum(table[TRUNCATED])
        if count:
            print_on_main_process(f"{count:,} of {len(table):,} {split} rows are longer than {option} and were cut.")
    return table.remove_columns(TRUNCATED)
