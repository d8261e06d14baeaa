"""Batches of rows of similar length, in an order that depends only on seed and epoch.

LengthGroupedSampler of transformers, as Trainer creates it, draws from the global random state, so that a resumed run
gets another order, and it leaves the batches of a group sorted from long to short."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

__all__ = ["SeededLengthGroupedSampler", "row_lengths"]


def row_lengths(table: Any) -> list[int]:
    """Tokens of each row; the column "length" if there is one."""
    if "length" in table.column_names:
        return table["length"][:]
    return [len(ids) for ids in table["input_ids"]]


class SeededLengthGroupedSampler(torch.utils.data.Sampler):
    """Shuffles all rows, sorts each group of 50 batches by length, and shuffles the batches, so that rows of a batch
    have similar lengths and batches of all lengths are mixed."""

    BATCHES_PER_GROUP = 50

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        groups = [
            sorted(group, key=self.lengths.__getitem__)
            for group in chunks(order, self.BATCHES_PER_GROUP * self.batch_size)
        ]
        batches = [batch for group in groups for batch in chunks(group, self.batch_size)]
        # An incomplete batch stays last, because it would shift the boundaries of all batches after it.
        incomplete = [batch for batch in batches if len(batch) < self.batch_size]
        complete = [batch for batch in batches if len(batch) == self.batch_size]
        shuffled = [complete[at] for at in torch.randperm(len(complete), generator=generator).tolist()]
        return chain.from_iterable([*shuffled, *incomplete])


def chunks(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
