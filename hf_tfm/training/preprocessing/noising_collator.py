"""Noise that depends on nothing but seed, epoch and content of the row.

A row meets the same noise in one process or in many, in any batch, under any number of loader workers and any
prefetching, in an unbroken run and in a resumed one; another epoch brings other noise. Equal rows of one epoch meet
equal noise.

Legend: L tokens in a row, n of them open to noise, B rows in a batch, T the longest of them."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
import torch

from hf_tfm.modeling.loss import IGNORE_INDEX

__all__ = ["NoisingCollator", "row_generator"]

# no epoch of training has this number, so a fixed row shares its noise with none of them
FIXED_EPOCH = -1


def row_generator(seed: int, epoch: int, ids: Sequence[int] | np.ndarray) -> np.random.Generator:
    """The random numbers of one row: the same for the same (seed, epoch, token ids), on every machine and process."""
    content = blake2b(np.asarray([seed, epoch], dtype="<i8").tobytes(), digest_size=16)
    content.update(np.asarray(ids, dtype="<i8").tobytes())
    return np.random.Generator(np.random.PCG64(int.from_bytes(content.digest(), "little")))


def special_token_id(tokenizer: Any, name: str) -> int:
    """The id of a special token. Raises ValueError if the tokenizer has none of that name."""
    if (found := getattr(tokenizer, f"{name}_id")) is None:
        raise ValueError(
            f"The tokenizer has no {name}, which this noise needs; add one before the model is built: "
            f'tokenizer.add_special_tokens({{"{name}": "<|{name.removesuffix("_token")}|>"}}).'
        )
    return found


def check_range(name: str, value: float, low: float, high: float) -> float:
    """`value`, if it lies in [low, high]. Raises ValueError otherwise."""
    if not low <= value <= high:
        raise ValueError(f"{name} ({value}) must lie between {low} and {high}.")
    return value


class NoisingCollator:
    """Rows {"input_ids", ...}, unpadded, to a batch of `input_ids`, `attention_mask` and `labels`, each (B, T).

    Special tokens (the tokenizer's, and those of a row's `special_tokens_mask`) never change. Padding stands at the
    right, to the longest row of the batch or up to a multiple of `pad_to_multiple_of` tokens, and is -100 in the
    labels. A subclass says what noise does to one row.

    `set_epoch` reaches loader workers at once, those that already live included, since the epoch lies in shared memory;
    call it before the epoch's first batch is asked for. `fixed` rows (evaluation) meet the same noise in every epoch.

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
        # a plain pickle copies the epoch out of shared memory; workers of the copy must see its set_epoch, too
        self.epoch.share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose noise follows, in this process and in its loader workers."""
        self.epoch.fill_(epoch)

    def row_rng(self, ids: np.ndarray) -> np.random.Generator:
        return row_generator(self.seed, FIXED_EPOCH if self.fixed else int(self.epoch), ids)

    def maskable_positions(self, ids: np.ndarray, row: Mapping[str, Any]) -> np.ndarray:
        """Positions (n,) of the tokens that noise may touch, in order."""
        is_open = ~self.is_special[ids]
        if (special := row.get("special_tokens_mask")) is not None:
            is_open &= np.asarray(special) == 0
        return np.flatnonzero(is_open)

    def add_noise(
        self, ids: np.ndarray, row: Mapping[str, Any], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Input ids and labels of one row, from its clean ids (L,), which must not be changed."""
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

    def pad(self, rows: Sequence[np.ndarray], filling: int) -> torch.Tensor:
        """(B, T) of rows of different lengths; T is at least 1, so that a batch of empty rows is still a batch."""
        longest = max(1, *map(len, rows))
        batch = np.full((len(rows), -(-longest // self.multiple) * self.multiple), filling, dtype=np.int64)
        for target, row in zip(batch, rows, strict=True):
            target[: len(row)] = row
        return torch.from_numpy(batch)
