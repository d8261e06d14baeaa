"""Masked language modelling: which tokens of a row are masked.

Legend: L tokens in a row, n of them open to noise."""

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

    A word is what the tokenizer's first splitting leaves whole. In byte-level BPE that is a word with the space before
    it, so it begins at a piece with the prefix "Ġ", at the first piece of a line ("Ċ" is a line's end, a word by
    itself), or where letters, digits and punctuation meet. Numbers may start anew within a row (pairs, packed
    documents)."""
    return [-1 if word is None else word for word in encoding.word_ids(row)]


class MaskedLMCollator(NoisingCollator):
    """Hide tokens and ask for them: `labels` are -100 but where a token was chosen.

    Chosen are round(rate * n) tokens of a row, at least one where there is one; of these the share `replace[0]` becomes
    the mask token, `replace[1]` a random word, never a special token, and the rest stays as it is (Devlin et al. 2019,
    section 3.1, arXiv:1810.04805). They are chosen as

    - token: every set of that many tokens with equal chance;
    - whole_word: words in random order, each with all its tokens, which are replaced one by one (BERT's release note of
      May 2019; Cui et al. 2021, arXiv:1906.08101). Rows need the column `word_ids` (see `word_ids_of`);
    - span: runs of words (of tokens in rows without `word_ids`) whose number is geometric with the mean `mean_span`, at
      most 10, all tokens of a run replaced the same way (Joshi et al. 2020, section 3.1, arXiv:1907.10529, where the
      mean is 3.8). A run ends at special tokens and at another run.

    No word is split: the one that would exceed the count is taken with the chance that makes the count right on
    average, and always if it is the first.

    Raises ValueError if a share or mean is out of range, if the tokenizer has no mask_token, or if words are asked for
    and a row does not tell them."""

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
            raise ValueError(f"replace {replace} must be two shares (mask, random word) that sum to at most 1.")
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
        run_of_unit = choose_runs(sizes, ends, max(1, round(self.rate * len(positions))), rng)
        run = np.repeat(run_of_unit, sizes)
        chosen, run = positions[run >= 0], run[run >= 0]

        draw = rng.random(len(starts))[run] if self.unit == "span" else rng.random(len(chosen))
        mask_share, random_share = self.replace
        swapped = chosen[(draw >= mask_share) & (draw < mask_share + random_share)]
        inputs[chosen[draw < mask_share]] = self.mask_id
        inputs[swapped] = rng.choice(self.random_token_ids, len(swapped))
        labels[chosen] = ids[chosen]
        return inputs, labels

    def units(self, positions: np.ndarray, row: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        """Positions (n,) that may be chosen, and the index into them at which each unit begins: a word or a token."""
        column = None if self.unit == "token" else row.get("word_ids")
        if column is None:
            if self.unit == "whole_word":
                raise ValueError(
                    'unit="whole_word" needs the column word_ids in every row; make it with word_ids_of(encoding), and '
                    "keep Trainer from dropping it: remove_unused_columns=False."
                )
            return positions, np.arange(len(positions))
        words = np.asarray(column)
        positions = positions[words[positions] >= 0]
        is_start = (np.diff(words[positions], prepend=-1) != 0) | (np.diff(positions, prepend=-2) > 1)
        return positions, np.flatnonzero(is_start)


def run_limits(positions: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """For every unit, the number of the first unit behind it that does not follow without a gap between positions."""
    gaps = np.flatnonzero(np.diff(positions)[starts[1:] - 1] > 1) + 1
    return np.append(gaps, len(starts))[np.searchsorted(gaps, np.arange(len(starts)), side="right")]


def choose_runs(sizes: np.ndarray, ends: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Runs of units until `count` tokens are taken: for every unit the unit at which its run begins, -1 where free.

    `sizes`: tokens of every unit; `ends`: behind which unit a run that begins at this one ends at the latest. Runs
    begin at free units, all with equal chance, and do not overlap."""
    run: list[int] = [-1] * len(sizes)
    tokens, limits, missing = sizes.tolist(), ends.tolist(), count
    for start in rng.permutation(len(sizes)).tolist():
        if missing <= 0:
            break
        for unit in range(start, limits[start]):
            if missing <= 0 or run[unit] >= 0:
                break
            excessive = tokens[unit] > missing and missing < count
            if excessive and rng.random() * tokens[unit] >= missing:
                missing = 0
                break
            run[unit] = start
            missing -= tokens[unit]
    return np.array(run)


def geometric_edges(mean: float) -> np.ndarray:
    """Cumulative chances (9,) of the lengths 1 .. 9 out of 1 .. 10, geometric with the given mean after the cut at 10.

    Joshi et al. 2020 have p = 0.2 and so the mean 3.8."""
    steps = np.arange(MAX_SPAN)
    low, high = 0.0, 1.0
    for _ in range(60):
        ratio = (low + high) / 2
        weights = ratio**steps
        low, high = (ratio, high) if 1 + weights @ steps / weights.sum() < mean else (low, ratio)
    return (weights.cumsum() / weights.sum())[:-1]
