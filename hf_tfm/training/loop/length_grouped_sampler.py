"""The host's Trainer with the blanks filled: our optimisers, a schedule in shares, checkpoints that are whole or named
as not, and randomness that depends on the seed, the pass over the data and the row alone."""

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
    """All rows in an order, drawn from seed and epoch, in which each batch of `rows` has rows of like length, and
    batches of all lengths follow one another. Among fifty batches of rows drawn at random the likes are put
    together."""

    BATCHES = 50

    def __init__(self, lengths: list[int], rows: int, seed: int) -> None:
        self.lengths, self.rows, self.seed, self.epoch = lengths, rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        dice = torch.Generator().manual_seed(self.seed + self.epoch)
        order = torch.randperm(len(self.lengths), generator=dice).tolist()
        pools = [sorted(pool, key=self.lengths.__getitem__) for pool in chunks(order, self.BATCHES * self.rows)]
        batches = [batch for pool in pools for batch in chunks(pool, self.rows)]
        # A batch that is not full stays last, or all batches after it would be cut elsewhere.
        short = [batch for batch in batches if len(batch) < self.rows]
        full = [batch for batch in batches if len(batch) == self.rows]
        mixed = [full[at] for at in torch.randperm(len(full), generator=dice).tolist()]
        return chain.from_iterable([*mixed, *short])


def chunks(rows: list[int], size: int) -> list[list[int]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
