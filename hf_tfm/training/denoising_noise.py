"""Noise for encoder-decoders: T5's span corruption and BART's denoising, as pure functions of a row's random numbers.

Legend: L tokens in a row, n of them open to noise (no special tokens); places: their positions in the row, in order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .noise import NoiseCollator, require_between, require_token

__all__ = [
    "BartNoiseCollator",
    "SpanCorruptionCollator",
    "add_sentinels",
    "sentence_end_ids",
    "span_counts",
]

SENTENCE_MARKS = (".", "!", "?", "。", "！", "？")  # noqa: RUF001
CLOSING = "\"')]}»”’"  # noqa: RUF001


def add_sentinels(tokenizer: Any, count: int) -> list[int]:
    """The ids of <extra_id_0> .. <extra_id_{count - 1}>, in that order; those that are missing become special tokens.

    Other special tokens stay. The model needs a row of weights for each: build it after, or resize its embeddings."""
    names = [f"<extra_id_{number}>" for number in range(count)]
    tokenizer.add_special_tokens({"extra_special_tokens": names}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(names)


def span_counts(length: int, rate: float, mean_span: float) -> tuple[int, int]:
    """Tokens that are dropped from a row of `length` open tokens, and the spans they form, as in T5: both are fixed.

    A row keeps at least one token and, from two tokens on, loses at least one. The spans are the sentinels that the row
    needs; a special token within a span splits it and asks for one more."""
    if length < 2:
        return 0, 0
    dropped = min(max(round(length * rate), 1), length - 1)
    return dropped, min(max(round(dropped / mean_span), 1), length - dropped)


def random_segments(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` lengths of 1 or more that sum to `total`, every such list with equal chance."""
    cuts = 1 + np.sort(rng.choice(total - 1, count - 1, replace=False))
    return np.diff(cuts, prepend=0, append=total)


def random_spans(length: int, rate: float, mean_span: float, rng: np.random.Generator) -> np.ndarray:
    """Which of `length` tokens are dropped (length,): kept and dropped spans in turn, the first kept, the last dropped.

    T5's `random_spans_noise_mask`: all masks with these counts are equally likely."""
    dropped, spans = span_counts(length, rate, mean_span)
    if spans == 0:
        return np.zeros(length, dtype=bool)
    lengths = np.stack([random_segments(length - dropped, spans, rng), random_segments(dropped, spans, rng)], axis=1)
    return np.repeat(np.tile([False, True], spans), lengths.ravel())


class SpanCorruptionCollator(NoiseCollator):
    """Spans give way to sentinels, and the target tells what they were.

    Raffel et al. 2020, section 3.1.4, arXiv:1910.10683:

    input   Thank you <extra_id_0> me to your party <extra_id_1> eos
    target  <extra_id_0> for inviting <extra_id_1> last week eos

    As in T5's code, a row begins with a kept span and ends with a dropped one. So the sentinel that would follow the
    last span in the target (the paper's figure 2, where "week" is kept) stands for nothing and is left out, and rows so
    short that they hold one span (less than 30 tokens or so) always lose their end. Rows of fewer than two open tokens
    stay whole.

    Special tokens within the row stay in the input, and split a span that they meet. A row that does not end in eos
    gets one, so that only where every span is one token it may grow, by this token.

    Raises ValueError if the tokenizer has no eos_token, if `rate` or `mean_span` is out of range, or if a row needs
    more sentinels than there are."""

    def __init__(
        self,
        tokenizer: Any,
        sentinel_ids: Sequence[int],
        rate: float = 0.15,
        mean_span: float = 3.0,
        seed: int = 0,
        fixed: bool = False,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        super().__init__(tokenizer, seed=seed, fixed=fixed, pad_to_multiple_of=pad_to_multiple_of)
        self.eos_id = require_token(tokenizer, "eos_token")
        self.sentinels = np.asarray(sentinel_ids, dtype=np.int64)
        self.is_special[self.sentinels] = True
        self.rate = require_between("rate", rate, 0, 1)
        self.mean_span = require_between("mean_span", mean_span, 1, math.inf)

    def noise(self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        places = self.open_places(ids, row)
        dropped = np.zeros(len(ids), dtype=bool)
        dropped[places] = random_spans(len(places), self.rate, self.mean_span, rng)
        first = dropped & ~np.append(False, dropped[:-1])[: len(ids)]
        needed = int(first.sum())
        if needed > len(self.sentinels):
            raise ValueError(
                f"A row of {len(ids)} tokens needs {needed} sentinels, and there are {len(self.sentinels)}; make more, "
                f"before the model is built, with add_sentinels(tokenizer, {needed}), or rows shorter."
            )
        sentinels = self.sentinels[:needed]
        inputs = ids.copy()
        inputs[first] = sentinels
        inputs = inputs[first | ~dropped]
        if len(inputs) == 0 or inputs[-1] != self.eos_id:
            inputs = np.append(inputs, self.eos_id)
        targets = np.insert(ids[dropped], np.flatnonzero(first[dropped]), sentinels)
        return inputs, np.append(targets, self.eos_id)


def sentence_end_ids(tokenizer: Any, marks: tuple[str, ...] = SENTENCE_MARKS) -> list[int]:
    """Ids of the tokens whose text ends with a mark, blanks and closing quotes or brackets aside; no special tokens."""
    special = set(tokenizer.all_special_ids)
    ids = [number for number in sorted(tokenizer.get_vocab().values()) if number not in special]
    texts = tokenizer.batch_decode([[number] for number in ids], clean_up_tokenization_spaces=False)
    return [number for number, text in zip(ids, texts, strict=True) if text.strip().rstrip(CLOSING).endswith(marks)]


def permute_sentences(
    ids: np.ndarray, places: np.ndarray, is_start: np.ndarray, share: float, rng: np.random.Generator
) -> np.ndarray:
    """The row (L,) with a share of its sentences in another order; what is not in `places` stays where it is.

    `is_start` (L,): where a sentence begins. A sentence ends at a gap between places, and none moves across one."""
    after_gap = np.diff(places, prepend=-2) > 1
    begins = after_gap | is_start[places]
    stretch = np.cumsum(after_gap)[begins]
    moved = np.sort(rng.permutation(len(stretch))[: math.ceil(share * len(stretch))])
    order = np.arange(len(stretch))
    order[moved] = moved[np.lexsort((rng.random(len(moved)), stretch[moved]))]
    rank_of_token = np.argsort(order)[np.cumsum(begins) - 1]
    result = ids.copy()
    result[places] = ids[places[np.argsort(rank_of_token, kind="stable")]]
    return result


def poisson_spans(total: int, poisson_lambda: float, rng: np.random.Generator) -> np.ndarray:
    """Lengths of spans that sum to `total`, in random order: Poisson, the last one drawn cut to fit.

    Of the spans of length 0 so many are left out that there are at most `total` spans: a row must not grow."""
    lengths = np.zeros(0, dtype=np.int64)
    while lengths.sum() < total:
        lengths = np.append(lengths, rng.poisson(poisson_lambda, total))
    sums = lengths.cumsum()
    lengths = lengths[: np.searchsorted(sums, total) + 1] if total else lengths
    lengths[-1:] -= lengths.sum() - total
    excess = max(0, len(lengths) - total)
    lengths = np.delete(lengths, np.flatnonzero(lengths == 0)[:excess])
    return rng.permutation(lengths)


def infill(
    ids: np.ndarray, places: np.ndarray, mask_id: int, rate: float, poisson_lambda: float, rng: np.random.Generator
) -> np.ndarray:
    """The row with round(rate * n) of its open tokens in spans, each replaced by one mask; an empty span inserts one.

    Spans do not overlap, and lie with equal chance in every order among the tokens that stay. A special token within a
    span stays, with a mask on either side. The row does not grow."""
    spans = poisson_spans(round(rate * len(places)), poisson_lambda, rng)
    if len(spans) == 0:
        return ids.copy()
    # items: tokens that stay, and spans; every one covers so many of the n open tokens
    covers = np.ones(len(places) - spans.sum() + len(spans), dtype=np.int64)
    is_span = np.zeros(len(covers), dtype=bool)
    is_span[rng.choice(len(covers), len(spans), replace=False)] = True
    covers[is_span] = spans

    item = np.repeat(np.arange(len(covers)), covers)
    span = np.full(len(ids), -1)
    span[places] = np.where(is_span[item], item, -1)
    first = (span >= 0) & (np.diff(span, prepend=-1) != 0)
    inserted = (np.cumsum(covers) - covers)[is_span & (covers == 0)]
    before = np.append(places, places[-1] + 1)[inserted]
    kept = np.insert((span < 0) | first, before, True)
    return np.insert(np.where(first, mask_id, ids), before, mask_id)[kept]


class BartNoiseCollator(NoiseCollator):
    """Sentences in another order, spans behind single masks; `labels` are the whole clean row with its bos and eos.

    Lewis et al. 2020, sections 2.2 and 5.1, arXiv:1910.13461: text infilling of 30% of the tokens, and all sentences
    permuted. The paper draws spans with lambda 3; 3.5 is mBART's (Liu et al. 2020, arXiv:2001.08210).

    A sentence begins at the positions of a row's `sentence_starts`, if it has this column; else behind a token of
    `sentence_ends` (ids; None: those of `sentence_end_ids`) that no other such token follows, which cuts at
    abbreviations and decimal points as well. Special tokens stay where they are, and no sentence or span crosses them.

    Raises ValueError if the tokenizer has no mask_token, or if a share or `poisson_lambda` is out of range."""

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
        self.mask_id = require_token(tokenizer, "mask_token")
        self.mask_rate = require_between("mask_rate", mask_rate, 0, 1)
        self.permuted_share = require_between("permute_sentences", permute_sentences, 0, 1)
        # shorter spans would be next to nothing but insertions
        self.poisson_lambda = require_between("poisson_lambda", poisson_lambda, 0.1, math.inf)
        self.is_end = np.zeros_like(self.is_special)
        self.is_end[sentence_end_ids(tokenizer) if sentence_ends is None else list(sentence_ends)] = True

    def noise(self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        places = self.open_places(ids, row)
        is_start = np.zeros(len(ids), dtype=bool)
        if (starts := row.get("sentence_starts")) is not None:
            is_start[np.asarray(starts, dtype=np.int64)] = True
        else:
            ends = self.is_end[ids]
            is_start[1:] = ends[:-1] & ~ends[1:]
        permuted = permute_sentences(ids, places, is_start, self.permuted_share, rng)
        return infill(permuted, places, self.mask_id, self.mask_rate, self.poisson_lambda, rng), ids
