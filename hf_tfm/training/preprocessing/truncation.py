"""Texts above the maximum length are refused with their length, or truncated and counted; never silently."""

from typing import Any

from datasets import Dataset

from ..utils.printing import print_on_main_process
from .row_values import RowError

__all__ = ["report_truncated", "tokenize_within"]

TRUNCATED = "truncated"


def tokenize_within(
    tokenizer: Any,
    texts: list[str],
    pairs: list[str] | None,
    limit: int,
    policy: str,
    option: str,
) -> dict[str, Any]:
    """Tokens of texts (or pairs of texts) with special tokens, at most `limit` long, and the column "truncated". Raises
    RowError for a text of which the tokenizer leaves nothing and, with the policy "error", for one that is longer."""
    encoded = tokenizer(texts, pairs, verbose=False)
    lengths = [len(ids) for ids in encoded["input_ids"]]
    shortest, longest = min(lengths, default=1), max(lengths, default=0)
    if shortest <= tokenizer.num_special_tokens_to_add(pair=pairs is not None):
        text = texts[lengths.index(shortest)]
        raise RowError(f"has a text of which the tokenizer leaves nothing: {text[:60]!r}")
    if longest <= limit:
        return dict(encoded) | {TRUNCATED: [False] * len(lengths)}
    if policy == "error":
        text = texts[lengths.index(longest)]
        raise RowError(
            f"has {longest} tokens, more than {option} {limit}: {text[:60]!r}...; raise {option}, or cut long texts "
            "with --long_texts truncate"
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
