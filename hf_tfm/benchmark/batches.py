"""Batches with real lengths: log-normal, as sentences and documents are. Legend: B rows, T tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "IGNORED",
    "Batch",
    "Pair",
    "causal_labels",
    "chunks",
    "masked_labels",
    "packed",
    "padded",
    "padded_pairs",
    "placed",
    "real_lengths",
    "sentence_pairs",
    "sentences",
]  # fmt: skip

IGNORED = -100
# spread of log lengths: the longest of 32 is about 3.5 times the median
SIGMA = 0.6
SHORTEST = 4
# ids below are left to special tokens
FIRST_WORD = 10
MASKED_SHARE = 0.15

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Pair:
    """A sentence and its translation, ids (T,)."""

    source: Tensor
    target: Tensor


def real_lengths(count: int, longest: int, fill: float, seed: int = 0) -> list[int]:
    """`count` log-normal lengths, tokens, at most `longest` and at least 4, with a mean of fill x longest."""
    normal = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = 0.0, 100.0 * longest
    for _ in range(60):
        middle = (low + high) / 2
        drawn = (middle * (SIGMA * normal).exp()).clamp(min(SHORTEST, longest), longest)
        low, high = (middle, high) if drawn.mean() < fill * longest else (low, middle)
    return [round(length) for length in drawn.tolist()]


def sentences(lengths: Sequence[int], vocab_size: int, seed: int = 0) -> list[Tensor]:
    """Random words, ids (T,), of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(min(FIRST_WORD, vocab_size - 1), vocab_size, (n,), generator=generator) for n in lengths]


def sentence_pairs(lengths: Sequence[int], longest: int, vocab_size: int, seed: int = 0) -> list[Pair]:
    """Sentences and translations that are longer or shorter by about a sixth."""
    generator = torch.Generator().manual_seed(seed)
    factors = (torch.randn(len(lengths), generator=generator) / 6).exp().tolist()
    others = [min(longest, max(2, round(n * factor))) for n, factor in zip(lengths, factors, strict=True)]
    sides = sentences(lengths, vocab_size, seed), sentences(others, vocab_size, seed + 1)
    return [Pair(source, target) for source, target in zip(*sides, strict=True)]


def chunks(rows: Sequence, size: int) -> list[list]:
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


def filled(rows: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=value)


def padded(rows: Sequence[Tensor], pad: int) -> Batch:
    """Rows padded on the right to the longest: input_ids and attention_mask (B, T)."""
    return {"input_ids": filled(rows, pad), "attention_mask": filled([torch.ones_like(row) for row in rows], 0)}


def placed(batch: Batch, device: str) -> Batch:
    return {name: values.to(device) for name, values in batch.items()}


def causal_labels(batch: Batch) -> Batch:
    """The batch with its words as labels, -100 on padding."""
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORED)
    return {**batch, "labels": labels}


def masked_labels(batch: Batch, mask_id: int, seed: int = 0) -> Batch:
    """The batch with 15 % of its words hidden under `mask_id`; they are the labels, -100 elsewhere."""
    ids, real = batch["input_ids"], batch["attention_mask"] == 1
    hidden = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < MASKED_SHARE) & real
    # a batch without labels has no mean
    hidden[0, 0] = True
    return {**batch, "input_ids": ids.masked_fill(hidden, mask_id), "labels": ids.masked_fill(~hidden, IGNORED)}


def padded_pairs(pairs: Sequence[Pair], pad: int) -> Batch:
    """What DataCollatorForSeq2Seq makes: sources padded on the right, labels with -100 there."""
    return {**padded([pair.source for pair in pairs], pad), "labels": filled([pair.target for pair in pairs], IGNORED)}


def packed(rows: Sequence[Tensor], length: int, pad: int) -> Batch:
    """Documents side by side in rows of `length` tokens, the longest first into the first row with room. Position ids
    start again at each document, and its first word is no label; neither is what fills the end of a row."""
    bins: list[list[Tensor]] = []
    for row in sorted(rows, key=len, reverse=True):
        room = next((held for held in bins if sum(map(len, held)) + len(row) <= length), None)
        if room is None:
            bins.append([row])
        else:
            room.append(row)
    made = {"input_ids": [], "position_ids": [], "labels": []}
    for held in bins:
        rest = length - sum(map(len, held))
        end = [torch.full((rest,), pad)] if rest else []
        made["input_ids"].append(torch.cat([*held, *end]))
        made["position_ids"].append(torch.cat([torch.arange(len(row)) for row in [*held, *end]]))
        labels = [torch.cat([torch.tensor([IGNORED]), row[1:]]) for row in held]
        made["labels"].append(torch.cat([*labels, *[torch.full((rest,), IGNORED)] * bool(rest)]))
    return {name: torch.stack(rows) for name, rows in made.items()}
