"""T5's span corruption.

Legend: L tokens in a row; positions (n,): of the maskable tokens (no special tokens), in order."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .noising_collator import NoisingCollator, check_range, special_token_id

__all__ = ["SpanCorruptionCollator", "add_sentinels", "span_counts"]


def add_sentinels(tokenizer: Any, count: int) -> list[int]:
    """The ids of <extra_id_0> .. <extra_id_{count - 1}>, in that order; missing ones are added as special tokens.

    Other special tokens are kept. The model needs an embedding for each: build it afterwards, or resize it."""
    names = [f"<extra_id_{number}>" for number in range(count)]
    tokenizer.add_special_tokens({"extra_special_tokens": names}, replace_extra_special_tokens=False)
    return tokenizer.convert_tokens_to_ids(names)


def span_counts(length: int, rate: float, mean_span: float) -> tuple[int, int]:
    """How many of `length` maskable tokens are dropped, and in how many spans. Both numbers are fixed, as in T5.

    A row keeps at least one token, and a row of two or more loses at least one. It needs one sentinel per span, and one
    more for every special token that splits a span."""
    if length < 2:
        return 0, 0
    dropped = min(max(round(length * rate), 1), length - 1)
    return dropped, min(max(round(dropped / mean_span), 1), length - dropped)


def random_segments(total: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` lengths of 1 or more that sum to `total`, uniform over all such lists."""
    cuts = 1 + np.sort(rng.choice(total - 1, count - 1, replace=False))
    return np.diff(cuts, prepend=0, append=total)


def random_spans(length: int, rate: float, mean_span: float, rng: np.random.Generator) -> np.ndarray:
    """Mask (length,) of dropped tokens: kept and dropped spans alternate, the first is kept, the last dropped.

    T5's `random_spans_noise_mask`: uniform over all masks with these counts."""
    dropped, spans = span_counts(length, rate, mean_span)
    if spans == 0:
        return np.zeros(length, dtype=bool)
    lengths = np.stack([random_segments(length - dropped, spans, rng), random_segments(dropped, spans, rng)], axis=1)
    return np.repeat(np.tile([False, True], spans), lengths.ravel())


class SpanCorruptionCollator(NoisingCollator):
    """Replaces spans by sentinels in the input; the target lists each sentinel with its span.

    Raffel et al. 2020, section 3.1.4, arXiv:1910.10683:

    input   Thank you <extra_id_0> me to your party <extra_id_1> eos
    target  <extra_id_0> for inviting <extra_id_1> last week eos

    As in T5's code, a row begins with a kept span and ends with a dropped one. So the target does not need the final
    sentinel of the paper's figure 2 (where "week" is kept), and rows with a single span (below about 30 tokens) always
    lose their end. Rows of fewer than two maskable tokens are not changed.

    Special tokens stay in the input and split the spans that contain them. A row that does not end in eos gets one; it
    can become longer only if every span is one token, and then by this token.

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
        self.eos_id = special_token_id(tokenizer, "eos_token")
        self.sentinels = np.asarray(sentinel_ids, dtype=np.int64)
        self.is_special[self.sentinels] = True
        self.rate = check_range("rate", rate, 0, 1)
        self.mean_span = check_range("mean_span", mean_span, 1, math.inf)

    def add_noise(
        self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        positions = self.maskable_positions(ids, row)
        dropped = np.zeros(len(ids), dtype=bool)
        dropped[positions] = random_spans(len(positions), self.rate, self.mean_span, rng)
        first = dropped & ~np.append(False, dropped[:-1])[: len(ids)]
        needed = int(first.sum())
        if needed > len(self.sentinels):
            raise ValueError(
                f"A row of {len(ids)} tokens needs {needed} sentinels, and there are {len(self.sentinels)}; add more "
                f"before building the model, with add_sentinels(tokenizer, {needed}), or use shorter rows."
            )
        sentinels = self.sentinels[:needed]
        inputs = ids.copy()
        inputs[first] = sentinels
        inputs = inputs[first | ~dropped]
        if len(inputs) == 0 or inputs[-1] != self.eos_id:
            inputs = np.append(inputs, self.eos_id)
        targets = np.insert(ids[dropped], np.flatnonzero(first[dropped]), sentinels)
        return inputs, np.append(targets, self.eos_id)
