"""Batches of rows of similar length, in an order that depends on seed and epoch alone."""

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch

__all__ = ["SeededLengthGroupedSampler", "row_lengths"]


def row_lengths(table: Any) -> list[int]:
    """Tokens of each row: its column "length" where it has one."""
    if "length" in table.column_names:
        return table["length"][:]
    return [len(ids) for ids in table["input_ids"]]


class SeededLengthGroupedSampler(torch.utils.data.Sampler):
    """All rows in an order, drawn from seed and epoch, in which the rows of each batch have similar length, and
    batches of all lengths follow one another. Among fifty batches of rows drawn at random the likes are put
    together."""

    POOL_BATCHES = 50

    def __init__(self, lengths: list[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        pools = [
            sorted(pool, key=self.lengths.__getitem__) for pool in chunks(order, self.POOL_BATCHES * self.batch_size)
        ]
        batches = [batch for pool in pools for batch in chunks(pool, self.batch_size)]
        # A batch that is not full stays last, or all batches after it would be cut elsewhere.
        short = [batch for batch in batches if len(batch) < self.batch_size]
        full = [batch for batch in batches if len(batch) == self.batch_size]
        mixed = [full[at] for at in torch.randperm(len(full), generator=generator).tolist()]
        return chain.from_iterable([*mixed, *short])


def chunks(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
