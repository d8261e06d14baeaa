"""Texts longer than the model reads: refused with their row and length, or cut and counted. Never silently."""

from typing import Any

from datasets import Dataset

from ..utils.printing import say

__all__ = ["encode_within", "report_cut"]

CUT = "cut"


def encode_within(
    tokenizer: Any,
    texts: list[str],
    pairs: list[str] | None,
    limit: int,
    policy: str,
    option: str,
    rows: list[int],
) -> dict[str, Any]:
    """Tokens of texts (or pairs of texts) with special tokens, at most `limit` long, and a column "cut" that says where
    something was left off. With policy "refuse" a longer one is a ValueError that names its row and `option`."""
    whole = tokenizer(texts, pairs, verbose=False)
    lengths = [len(ids) for ids in whole["input_ids"]]
    longest = max(range(len(lengths)), key=lengths.__getitem__, default=None)
    if longest is None or lengths[longest] <= limit:
        return dict(whole) | {CUT: [False] * len(lengths)}
    if policy == "refuse":
        raise ValueError(
            f"Row {rows[longest] + 1} has {lengths[longest]} tokens, more than {option} {limit}: "
            f"{texts[longest][:60]!r}... Raise {option}, or leave the ends off with --long_texts cut."
        )
    cut = tokenizer(texts, pairs, truncation=True, max_length=limit, verbose=False)
    return dict(cut) | {CUT: [length > limit for length in lengths]}


def report_cut(table: Any, split: str, option: str) -> Any:
    """A table without its column "cut"; says on the screen how many of its rows were cut."""
    if isinstance(table, Dataset):
        count = sum(table[CUT])
        if count:
            say(f"{count:,} of {len(table):,} {split} rows are longer than {option} and were cut.")
    return table.remove_columns(CUT)
