"""BART's text infilling and sentence permutation.

Legend: L tokens in a row; positions (n,): of the maskable tokens (no special tokens), in order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .noising_collator import NoisingCollator, check_range, special_token_id

__all__ = ["BartNoisingCollator", "sentence_end_ids"]

SENTENCE_MARKS = (".", "!", "?", "。", "！", "？")  # noqa: RUF001
CLOSING_MARKS = "\"')]}»”’"  # noqa: RUF001


def sentence_end_ids(tokenizer: Any, marks: tuple[str, ...] = SENTENCE_MARKS) -> list[int]:
    """Ids of tokens whose text ends with a mark, ignoring spaces and closing quotes or brackets; no special tokens."""
    special = set(tokenizer.all_special_ids)
    ids = [token_id for token_id in sorted(tokenizer.get_vocab().values()) if token_id not in special]
    texts = tokenizer.batch_decode([[token_id] for token_id in ids], clean_up_tokenization_spaces=False)
    stripped = [text.strip().rstrip(CLOSING_MARKS) for text in texts]
    return [token_id for token_id, text in zip(ids, stripped, strict=True) if text.endswith(marks)]


def permute_sentences(
    ids: np.ndarray, positions: np.ndarray, is_start: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """The row (L,) with a fraction of its sentences in another order; only tokens at `positions` move.

    `is_start` (L,): whether a sentence begins here. A sentence ends at a gap between positions and never crosses one,
    so that sentences are permuted within each segment between gaps."""
    after_gap = np.diff(positions, prepend=-2) > 1
    begins = after_gap | is_start[positions]
    segment = np.cumsum(after_gap)[begins]
    moved = np.sort(rng.permutation(len(segment))[: math.ceil(fraction * len(segment))])
    order = np.arange(len(segment))
    order[moved] = moved[np.lexsort((rng.random(len(moved)), segment[moved]))]
    rank_of_token = np.argsort(order)[np.cumsum(begins) - 1]
    result = ids.copy()
    result[positions] = ids[positions[np.argsort(rank_of_token, kind="stable")]]
    return result


def poisson_spans(total: int, poisson_lambda: float, rng: np.random.Generator) -> np.ndarray:
    """Span lengths from a Poisson distribution that sum to `total`, in random order; the last one is cut to fit.

    Spans of length 0 are removed until there are at most `total` spans, because a row must not grow."""
    lengths = np.zeros(0, dtype=np.int64)
    while lengths.sum() < total:
        lengths = np.append(lengths, rng.poisson(poisson_lambda, total))
    sums = lengths.cumsum()
    lengths = lengths[: np.searchsorted(sums, total) + 1] if total else lengths
    lengths[-1:] -= lengths.sum() - total
    excess = max(0, len(lengths) - total)
    lengths = np.delete(lengths, np.flatnonzero(lengths == 0)[:excess])
    return rng.permutation(lengths)


def infill_text(
    ids: np.ndarray, positions: np.ndarray, mask_id: int, rate: float, poisson_lambda: float, rng: np.random.Generator
) -> np.ndarray:
    """The row with round(rate * n) of its maskable tokens in spans, each replaced by one mask; an empty span inserts
    one.

    Spans do not overlap; all orders of spans and kept tokens are equally likely. A special token inside a span is kept,
    with a mask on each side. The row does not grow."""
    spans = poisson_spans(round(rate * len(positions)), poisson_lambda, rng)
    if len(spans) == 0:
        return ids.copy()
    # An item is a kept token or a span; `covers` says how many of the n maskable tokens it contains.
    covers = np.ones(len(positions) - spans.sum() + len(spans), dtype=np.int64)
    is_span = np.zeros(len(covers), dtype=bool)
    is_span[rng.choice(len(covers), len(spans), replace=False)] = True
    covers[is_span] = spans

    item = np.repeat(np.arange(len(covers)), covers)
    span = np.full(len(ids), -1)
    span[positions] = np.where(is_span[item], item, -1)
    first = (span >= 0) & (np.diff(span, prepend=-1) != 0)
    inserted = (np.cumsum(covers) - covers)[is_span & (covers == 0)]
    before = np.append(positions, positions[-1] + 1)[inserted]
    kept = np.insert((span < 0) | first, before, True)
    return np.insert(np.where(first, mask_id, ids), before, mask_id)[kept]


class BartNoisingCollator(NoisingCollator):
    """Permutes sentences and replaces spans by single masks; `labels` are the clean row with its bos and eos.

    Lewis et al. 2020, sections 2.2 and 5.1, arXiv:1910.13461: text infilling of 30% of the tokens, and all sentences
    permuted. The paper samples spans with lambda 3; 3.5 is mBART's (Liu et al. 2020, arXiv:2001.08210).

    A sentence begins at the positions in a row's `sentence_starts`, if it has this column. Else it begins after the
    last of consecutive tokens in `sentence_ends` (ids; None: `sentence_end_ids`), which also splits at abbreviations
    and decimal points. Special tokens keep their position, and no sentence or span crosses them.

    Raises ValueError if the tokenizer has no mask_token, or if a fraction or `poisson_lambda` is out of range."""

    def __init__(
        self,
        tokenizer: Any,
        mask_rate: float = 0.3,
        poisson_lambda: float = 3.5,
        permute_sentences: float = 1.0,
        sentence_ends: Sequence[int] | None = None,
        seed: int = 0,
        fixed: bool = False,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        super().__init__(tokenizer, seed=seed, fixed=fixed, pad_to_multiple_of=pad_to_multiple_of)
        self.mask_id = special_token_id(tokenizer, "mask_token")
        self.mask_rate = check_range("mask_rate", mask_rate, 0, 1)
        self.permuted_fraction = check_range("permute_sentences", permute_sentences, 0, 1)
        # With a smaller lambda, almost all spans would be insertions.
        self.poisson_lambda = check_range("poisson_lambda", poisson_lambda, 0.1, math.inf)
        self.is_end = np.zeros_like(self.is_special)
        self.is_end[sentence_end_ids(tokenizer) if sentence_ends is None else list(sentence_ends)] = True

    def add_noise(
        self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        positions = self.maskable_positions(ids, row)
        is_start = np.zeros(len(ids), dtype=bool)
        if (starts := row.get("sentence_starts")) is not None:
            is_start[np.asarray(starts, dtype=np.int64)] = True
        else:
            ends = self.is_end[ids]
            is_start[1:] = ends[:-1] & ~ends[1:]
        permuted = permute_sentences(ids, positions, is_start, self.permuted_fraction, rng)
        return infill_text(permuted, positions, self.mask_id, self.mask_rate, self.poisson_lambda, rng), ids
