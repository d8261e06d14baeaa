"""The base class of collators that add noise. The noise of a row depends only on seed, epoch and content of the row.

It is the same in one process or several, in any batch, with any number of loader workers and any prefetching, and after
resuming a run. It changes with the epoch. Equal rows get equal noise in one epoch.

Legend: L tokens in a row, n of them maskable, B rows in a batch, T the longest of them."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from hf_tfm.modeling.loss import IGNORE_INDEX

__all__ = ["NoisingCollator", "row_generator"]

# the epoch of fixed noise; no training epoch has this number
FIXED_EPOCH = -1


def row_generator(seed: int, epoch: int, ids: Sequence[int] | np.ndarray) -> np.random.Generator:
    """The random generator of one row, which depends only on (seed, epoch, token ids)."""
    content = blake2b(np.asarray([seed, epoch], dtype="<i8").tobytes(), digest_size=16)
    content.update(np.asarray(ids, dtype="<i8").tobytes())
    return np.random.Generator(np.random.PCG64(int.from_bytes(content.digest(), "little")))


def special_token_id(tokenizer: Any, name: str) -> int:
    """The id of a special token. Raises ValueError if the tokenizer does not have it."""
    if (found := getattr(tokenizer, f"{name}_id")) is None:
        raise ValueError(
            f"The tokenizer has no {name}, which this noise needs; add one before building the model: "
            f'tokenizer.add_special_tokens({{"{name}": "<|{name.removesuffix("_token")}|>"}}).'
        )
    return found


def check_range(name: str, value: float, low: float, high: float) -> float:
    """`value`, if it lies in [low, high]. Raises ValueError otherwise."""
    if not low <= value <= high:
        raise ValueError(f"{name} ({value}) must be between {low} and {high}.")
    return value


class NoisingCollator:
    """Turns unpadded rows {"input_ids", ...} into a batch of `input_ids`, `attention_mask` and `labels`, each (B, T).
    Subclasses implement `add_noise`.

    Special tokens (of the tokenizer, and of a row's `special_tokens_mask`) never change. Rows are padded on the right,
    to the longest of the batch or the next multiple of `pad_to_multiple_of` tokens; labels are padded with -100.

    The epoch is in shared memory, so that `set_epoch` also reaches running loader workers; call it before the first
    batch of an epoch is requested. With `fixed` (for evaluation), the noise is the same in every epoch.

    Raises ValueError if the tokenizer has no pad_token."""

    def __init__(self, tokenizer: Any, *, seed: int, fixed: bool, pad_to_multiple_of: int | None) -> None:
        self.pad_id = special_token_id(tokenizer, "pad_token")
        self.seed, self.fixed, self.multiple = seed, fixed, pad_to_multiple_of or 1
        self.epoch = torch.zeros(1, dtype=torch.long).share_memory_()
        vocabulary = np.array(sorted(tokenizer.get_vocab().values()))
        added = [number for number, token in tokenizer.added_tokens_decoder.items() if token.special]
        self.is_special = np.zeros(vocabulary[-1] + 1, dtype=bool)
        self.is_special[[*tokenizer.all_special_ids, *added]] = True
        self.random_token_ids = vocabulary[~self.is_special[vocabulary]]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # Unpickling copies the epoch out of shared memory, but loader workers of the copy must see its set_epoch.
        self.epoch.share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the noise in this process and in its loader workers."""
        self.epoch.fill_(epoch)

    def row_rng(self, ids: np.ndarray) -> np.random.Generator:
        return row_generator(self.seed, FIXED_EPOCH if self.fixed else int(self.epoch), ids)

    def maskable_positions(self, ids: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
        """Positions (n,) of the tokens that noise may change, in order."""
        is_maskable = ~self.is_special[ids]
        if (special := row.get("special_tokens_mask")) is not None:
            is_maskable &= np.asarray(special) == 0
        return np.flatnonzero(is_maskable)

    def add_noise(
        self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Input ids and labels of one row, from its clean ids (L,), which must not be changed in place."""
        raise NotImplementedError

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        clean = [np.asarray(row["input_ids"], dtype=np.int64) for row in rows]
        noised = [self.add_noise(ids, row, self.row_rng(ids)) for ids, row in zip(clean, rows, strict=True)]
        inputs, labels = zip(*noised, strict=True)
        return {
            "input_ids": self.pad(inputs, self.pad_id),
            "attention_mask": self.pad([np.ones_like(ids) for ids in inputs], 0),
            "labels": self.pad(labels, IGNORE_INDEX),
        }

    def pad(self, rows: Sequence[np.ndarray], value: int) -> torch.Tensor:
        """(B, T) from rows of different lengths. T is at least 1, so that a batch of empty rows is valid."""
        longest = max(1, *map(len, rows))
        batch = np.full((len(rows), -(-longest // self.multiple) * self.multiple), value, dtype=np.int64)
        for target, row in zip(batch, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(batch)
