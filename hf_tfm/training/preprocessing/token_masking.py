"""Masking of tokens, whole words or spans for masked language modelling.

Legend: L tokens in a row, n of them maskable."""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from hf_tfm.modeling.loss import IGNORE_INDEX

from .noising_collator import NoisingCollator, check_range, special_token_id

__all__ = ["MaskedLMCollator", "MaskingUnit", "word_ids_of"]

MaskingUnit = Literal["token", "whole_word", "span"]
# Joshi et al. 2020, section 3.1
MAX_SPAN = 10


def word_ids_of(encoding: Any, row: int = 0) -> list[int]:
    """The column `word_ids` of one row of a fast tokenizer's output: the word of every token, -1 for special tokens.

    Words are the units of the tokenizer's pre-tokenizer. In byte-level BPE that is a word with the space before it. It
    begins at a token with the prefix "Ġ", at the first token of a line (its end, "Ċ", is a word of its own), or between
    letters, digits and punctuation. Word ids may restart within a row (pairs, packed documents)."""
    return [-1 if word is None else word for word in encoding.word_ids(row)]


class MaskedLMCollator(NoisingCollator):
    """Selects tokens to predict: `labels` are -100 except at selected tokens.

    round(rate * n) tokens of a row are selected, at least one if there is any. Of these, the fraction `replace[0]`
    becomes the mask token, `replace[1]` a random token (never a special one), and the rest does not change (Devlin et
    al. 2019, section 3.1, arXiv:1810.04805). `unit` says how they are selected:

    - token: uniform over all sets of that many tokens;
    - whole_word: words in random order, each with all its tokens, which are replaced independently (BERT's release note
      of May 2019; Cui et al. 2021, arXiv:1906.08101). Rows need the column `word_ids` (see `word_ids_of`);
    - span: runs of words (of tokens in rows without `word_ids`) with a geometric length of mean `mean_span`, at most
      10. All tokens of a run are replaced the same way (Joshi et al. 2020, section 3.1, arXiv:1907.10529, where the
      mean is 3.8). A run ends at special tokens and at another run.

    Words are never split: a word that would exceed the count is selected with the probability that makes the count
    correct on average, and always if it is the first.

    Raises ValueError if a fraction or mean is out of range, if the tokenizer has no mask_token, or if `unit` is
    whole_word and a row has no `word_ids`."""

    def __init__(
        self,
        tokenizer: Any,
        rate: float = 0.15,
        unit: MaskingUnit = "token",
        mean_span: float = 3.0,
        seed: int = 0,
        replace: tuple[float, float] = (0.8, 0.1),
        fixed: bool = False,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        super().__init__(tokenizer, seed=seed, fixed=fixed, pad_to_multiple_of=pad_to_multiple_of)
        if unit not in get_args(MaskingUnit):
            raise ValueError(f"unit ({unit}) must be one of: {', '.join(get_args(MaskingUnit))}.")
        if min(replace) < 0 or sum(replace) > 1:
            raise ValueError(f"replace {replace} must be two fractions (mask, random token) that sum to at most 1.")
        self.mask_id = special_token_id(tokenizer, "mask_token")
        self.rate = check_range("rate", rate, 0, 1)
        self.unit, self.replace = unit, replace
        self.length_edges = geometric_edges(check_range("mean_span", mean_span, 1, (1 + MAX_SPAN) / 2))

    def add_noise(
        self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        inputs, labels = ids.copy(), np.full_like(ids, IGNORE_INDEX)
        positions, starts = self.units(self.maskable_positions(ids, row), row)
        if len(positions) == 0:
            return inputs, labels
        sizes = np.diff(starts, append=len(positions))
        ends = np.arange(1, len(starts) + 1)
        if self.unit == "span":
            lengths = 1 + np.searchsorted(self.length_edges, rng.random(len(starts)), side="right")
            ends = np.minimum(ends - 1 + lengths, run_limits(positions, starts))
        run_of_unit = select_runs(sizes, ends, max(1, round(self.rate * len(positions))), rng)
        run = np.repeat(run_of_unit, sizes)
        selected, run = positions[run >= 0], run[run >= 0]

        uniform = rng.random(len(starts))[run] if self.unit == "span" else rng.random(len(selected))
        mask_fraction, random_fraction = self.replace
        randomized = selected[(uniform >= mask_fraction) & (uniform < mask_fraction + random_fraction)]
        inputs[selected[uniform < mask_fraction]] = self.mask_id
        inputs[randomized] = rng.choice(self.random_token_ids, len(randomized))
        labels[selected] = ids[selected]
        return inputs, labels

    def units(self, positions: np.ndarray, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n,) that may be selected, and the index into them at which each unit (word or token) begins."""
        column = None if self.unit == "token" else row.get("word_ids")
        if column is None:
            if self.unit == "whole_word":
                raise ValueError(
                    'unit="whole_word" needs the column word_ids in every row; make it with word_ids_of(encoding), and '
                    "set remove_unused_columns=False so that Trainer does not drop it."
                )
            return positions, np.arange(len(positions))
        words = np.asarray(column)
        positions = positions[words[positions] >= 0]
        is_start = (np.diff(words[positions], prepend=-1) != 0) | (np.diff(positions, prepend=-2) > 1)
        return positions, np.flatnonzero(is_start)


def run_limits(positions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For every unit, the index after the last unit that a run can reach from it without a gap between positions."""
    gaps = np.flatnonzero(np.diff(positions)[starts[1:] - 1] > 1) + 1
    return np.append(gaps, len(starts))[np.searchsorted(gaps, np.arange(len(starts)), side="right")]


def select_runs(sizes: np.ndarray, ends: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Selects runs of units until they have `count` tokens: per unit the first unit of its run, or -1 if not selected.

    `sizes`: tokens per unit; `ends`: the index after the last unit of a run that begins here. Runs begin at random
    units that are not selected yet, and do not overlap."""
    run: list[int] = [-1] * len(sizes)
    tokens, limits, remaining = sizes.tolist(), ends.tolist(), count
    for start in rng.permutation(len(sizes)).tolist():
        if remaining <= 0:
            break
        for unit in range(start, limits[start]):
            if remaining <= 0 or run[unit] >= 0:
                break
            exceeds = tokens[unit] > remaining and remaining < count
            if exceeds and rng.random() * tokens[unit] >= remaining:
                remaining = 0
                break
            run[unit] = start
            remaining -= tokens[unit]
    return np.array(run)


def geometric_edges(mean: float) -> np.ndarray:
    """Cumulative probabilities (9,) of the lengths 1 .. 9 of a geometric distribution over 1 .. 10 with the given mean.

    Joshi et al. 2020 use p = 0.2, which has the mean 3.8."""
    steps = np.arange(MAX_SPAN)
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        weights = ratio**steps
        low, high = (ratio, high) if 1 + weights @ steps / weights.sum() < mean else (low, ratio)
    return (weights.cumsum() / weights.sum())[:-1]
