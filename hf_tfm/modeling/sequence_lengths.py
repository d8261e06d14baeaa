"""Where sequences lie in a batch: one for each row of a mask, or one for each document of a packed row.

Legend: B batch, T tokens, n sequences, N tokens of all sequences."""

from typing import Any, NamedTuple

import torch

from .masks import is_padding_mask


class SequenceLengths(NamedTuple):
    """First token and length (n,) of each sequence in a batch (B, T), counted row after row."""

    batch_shape: tuple[int, int]
    starts: torch.Tensor
    lengths: torch.Tensor

    @property
    def longest(self) -> int:
        return int(self.lengths.max())

    @property
    def has_shorter(self) -> bool:
        """Whether any sequence is shorter than a row: then there is padding, or a row holds several documents."""
        return bool(self.lengths.lt(self.batch_shape[1]).any())

    def reorder(self, order: torch.Tensor) -> "SequenceLengths":
        return SequenceLengths(self.batch_shape, self.starts[order], self.lengths[order])

    def sort(self) -> "SequenceLengths":
        """From short to long."""
        return self.reorder(self.lengths.argsort(stable=True))

    def split(self, num_tokens: int) -> list["SequenceLengths"]:
        """Consecutive groups of about `num_tokens` tokens."""
        ends = self.lengths.cumsum(0)
        # a sequence belongs to the group that its middle falls into
        group = (2 * ends - self.lengths) * max(1, round(int(ends[-1]) / num_tokens)) // (2 * ends[-1])
        counts = group.unique_consecutive(return_counts=True)[1].tolist()
        parts = zip(self.starts.split(counts), self.lengths.split(counts), strict=True)
        return [SequenceLengths(self.batch_shape, *part) for part in parts]

    def token_indices(self) -> torch.Tensor:
        """Indices (N,) of the tokens of all sequences, one sequence after the other, in the flattened batch."""
        before = self.lengths.cumsum(0) - self.lengths
        shifts = torch.repeat_interleave(self.starts - before, self.lengths)
        return shifts + torch.arange(shifts.shape[0], device=shifts.device)


def sort_pairs(target: SequenceLengths, source: SequenceLengths) -> tuple[SequenceLengths, SequenceLengths]:
    """Both from short to long, each pair kept together; pairs of the same two lengths are neighbours."""
    order = (target.lengths * (source.batch_shape[1] + 1) + source.lengths).argsort(stable=True)
    return target.reorder(order), source.reorder(order)


def lengths_from_mask(states: torch.Tensor, attention_mask: Any) -> SequenceLengths | None:
    """The real tokens of each row of states (B, T, ...); whole rows where there is no mask. None for a mask of another
    kind or size, for a row without a real token, and for one whose real tokens are not contiguous: distances between
    them would change."""
    rows, length = states.shape[:2]
    starts = torch.arange(rows, device=states.device) * length
    if attention_mask is None:
        return SequenceLengths((rows, length), starts, torch.full_like(starts, length))
    if not is_padding_mask(attention_mask) or attention_mask.shape != (rows, length):
        return None
    real = attention_mask.to(states.device).bool()
    runs = (real[:, 1:] & ~real[:, :-1]).sum(-1) + real[:, 0]
    if (runs != 1).any():
        return None
    return SequenceLengths((rows, length), starts + real.int().argmax(-1), real.sum(-1))


def lengths_from_positions(states: torch.Tensor, position_ids: torch.Tensor) -> SequenceLengths | None:
    """The documents of packed rows (B, T, ...), which begin where position ids do not continue, as in the masks of
    transformers. None where they jump ahead: then these are not whole rows."""
    rows, length = states.shape[:2]
    steps = position_ids.expand(rows, length).diff(dim=-1)
    if (steps > 1).any():
        return None
    first = torch.ones(rows, 1, dtype=torch.bool, device=steps.device)
    starts = torch.cat((first, steps != 1), dim=-1).flatten().nonzero().squeeze(-1)
    ends = torch.cat((starts[1:], starts.new_tensor([rows * length])))
    return SequenceLengths((rows, length), starts, ends - starts)
