"""Where sequences lie in a batch: one for each row of a mask, or one for each document of a packed row.

Legend: B batch, T tokens, n sequences, N tokens of all sequences."""

from typing import Any, NamedTuple

import torch

from .packing import is_padding_mask


class Sequences(NamedTuple):
    """First token and length (n,) of each sequence in a batch (B, T) that is read row by row."""

    batch: tuple[int, int]
    starts: torch.Tensor
    lengths: torch.Tensor

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def gains(self) -> bool:
        """Whether there is anything to leave out: padding, or attention from one document to another."""
        return bool(self.lengths.lt(self.batch[1]).any())

    def reordered(self, order: torch.Tensor) -> "Sequences":
        return Sequences(self.batch, self.starts[order], self.lengths[order])

    def by_length(self) -> "Sequences":
        """From short to long."""
        return self.reordered(self.lengths.argsort(stable=True))

    def groups(self, size: int) -> list["Sequences"]:
        """Neighbours together, about `size` tokens in each group."""
        ends = self.lengths.cumsum(0)
        # a sequence belongs where its middle lies
        number = (2 * ends - self.lengths) * max(1, round(int(ends[-1]) / size)) // (2 * ends[-1])
        counts = number.unique_consecutive(return_counts=True)[1].tolist()
        parts = zip(self.starts.split(counts), self.lengths.split(counts), strict=True)
        return [Sequences(self.batch, *part) for part in parts]

    def places(self) -> torch.Tensor:
        """Where the tokens (N,) of all sequences lie in the batch, one sequence after the other."""
        before = self.lengths.cumsum(0) - self.lengths
        shifts = torch.repeat_interleave(self.starts - before, self.lengths)
        return shifts + torch.arange(shifts.shape[0], device=shifts.device)


def pairs_by_length(own: Sequences, source: Sequences) -> tuple[Sequences, Sequences]:
    """Both from short to long, each pair kept together; pairs of the same two lengths are neighbours."""
    order = (own.lengths * (source.batch[1] + 1) + source.lengths).argsort(stable=True)
    return own.reordered(order), source.reordered(order)


def find_sequences(states: torch.Tensor, attention_mask: Any) -> Sequences | None:
    """The real tokens of each row of states (B, T, ...); whole rows where there is no mask. None for a mask of another
    kind or size, for a row without a real token, and for one whose real tokens do not stand together: distances
    between them would change."""
    rows, length = states.shape[:2]
    starts = torch.arange(rows, device=states.device) * length
    if attention_mask is None:
        return Sequences((rows, length), starts, torch.full_like(starts, length))
    if not is_padding_mask(attention_mask) or attention_mask.shape != (rows, length):
        return None
    real = attention_mask.to(states.device).bool()
    beginnings = (real[:, 1:] & ~real[:, :-1]).sum(-1) + real[:, 0]
    if (beginnings != 1).any():
        return None
    return Sequences((rows, length), starts + real.int().argmax(-1), real.sum(-1))


def find_documents(states: torch.Tensor, position_ids: torch.Tensor | None) -> Sequences | None:
    """The documents of packed rows (B, T, ...), which begin where position ids do not count on, as in the host's masks.
    None where they jump ahead: then these are not whole rows."""
    rows, length = states.shape[:2]
    if position_ids is None:
        return None
    steps = position_ids.expand(rows, length).diff(dim=-1)
    if (steps > 1).any():
        return None
    first = torch.ones(rows, 1, dtype=torch.bool, device=steps.device)
    starts = torch.cat((first, steps != 1), dim=-1).flatten().nonzero().squeeze(-1)
    ends = torch.cat((starts[1:], starts.new_tensor([rows * length])))
    return Sequences((rows, length), starts, ends - starts)
