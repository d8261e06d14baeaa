"""Random batches with the length distribution of sentences and documents, which is log-normal.

Legend: B rows, T tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hf_tfm.modeling.loss import IGNORE_INDEX

__all__ = [
    "Batch",
    "SentencePair",
    "chunks",
    "lognormal_lengths",
    "mask_tokens",
    "move_batch",
    "pack_sequences",
    "pad_sentence_pairs",
    "pad_sequences",
    "random_sentence_pairs",
    "random_sequences",
    "with_causal_labels",
]  # fmt: skip

# standard deviation of the logarithm of lengths: the longest of 32 is about 3.5 times the median
LOG_LENGTH_STD = 0.6
MIN_LENGTH = 4
# smaller ids stand for special tokens
FIRST_TOKEN_ID = 10
MASKED_FRACTION = 0.15

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class SentencePair:
    """A sentence and its translation, ids (T,)."""

    source: Tensor
    target: Tensor


def lognormal_lengths(count: int, max_length: int, mean_length_fraction: float, seed: int = 0) -> list[int]:
    """`count` lengths in tokens from 4 to `max_length`, with a mean of mean_length_fraction x max_length."""
    normal = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = 0.0, 100.0 * max_length
    # bisection for the median: clamping changes the mean, so no formula gives it
    for _ in range(60):
        median = (low + high) / 2
        lengths = (median * (LOG_LENGTH_STD * normal).exp()).clamp(min(MIN_LENGTH, max_length), max_length)
        if lengths.mean() < mean_length_fraction * max_length:
            low = median
        else:
            high = median
    return [round(length) for length in lengths.tolist()]


def random_sequences(lengths: Sequence[int], vocab_size: int, seed: int = 0) -> list[Tensor]:
    """Sequences of random ids (T,) of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    first = min(FIRST_TOKEN_ID, vocab_size - 1)
    return [torch.randint(first, vocab_size, (length,), generator=generator) for length in lengths]


def random_sentence_pairs(
    lengths: Sequence[int], max_length: int, vocab_size: int, seed: int = 0
) -> list[SentencePair]:
    """Sentences of the given lengths, and translations that are longer or shorter by about a sixth."""
    generator = torch.Generator().manual_seed(seed)
    factors = (torch.randn(len(lengths), generator=generator) / 6).exp().tolist()
    target_lengths = [
        min(max_length, max(2, round(length * factor))) for length, factor in zip(lengths, factors, strict=True)
    ]
    sources = random_sequences(lengths, vocab_size, seed)
    targets = random_sequences(target_lengths, vocab_size, seed + 1)
    return [SentencePair(source, target) for source, target in zip(sources, targets, strict=True)]


def chunks(items: Sequence, size: int) -> list[list]:
    return [list(items[start : start + size]) for start in range(0, len(items), size)]


def pad_right(sequences: Sequence[Tensor], value: int) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True, padding_value=value)


def pad_sequences(sequences: Sequence[Tensor], pad_token_id: int) -> Batch:
    """Sequences padded on the right to the longest: input_ids and attention_mask (B, T)."""
    mask = [torch.ones_like(sequence) for sequence in sequences]
    return {"input_ids": pad_right(sequences, pad_token_id), "attention_mask": pad_right(mask, 0)}


def pad_sentence_pairs(pairs: Sequence[SentencePair], pad_token_id: int) -> Batch:
    """A batch like that of DataCollatorForSeq2Seq: padded sources, and labels that are -100 on padding."""
    batch = pad_sequences([pair.source for pair in pairs], pad_token_id)
    return {**batch, "labels": pad_right([pair.target for pair in pairs], IGNORE_INDEX)}


def move_batch(batch: Batch, device: str) -> Batch:
    return {name: values.to(device) for name, values in batch.items()}


def with_causal_labels(batch: Batch) -> Batch:
    """The batch with its input ids as labels, -100 on padding."""
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORE_INDEX)
    return {**batch, "labels": labels}


def mask_tokens(batch: Batch, mask_token_id: int, seed: int = 0) -> Batch:
    """The batch with 15 % of its tokens replaced by `mask_token_id`. Their ids are the labels, -100 elsewhere."""
    ids, is_real = batch["input_ids"], batch["attention_mask"] == 1
    masked = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)) < MASKED_FRACTION) & is_real
    # the mean loss needs at least one label
    masked[0, 0] = True
    return {
        **batch, "input_ids": ids.masked_fill(masked, mask_token_id), "labels": ids.masked_fill(~masked, IGNORE_INDEX),
    }  # fmt: skip


def pack_sequences(sequences: Sequence[Tensor], length: int, pad_token_id: int) -> Batch:
    """Several documents per row of `length` tokens: first-fit, the longest document first.

    Position ids start at 0 for each document. Labels are -100 on its first token and on the padding of a row."""
    rows: list[list[Tensor]] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        row = next((row for row in rows if sum(map(len, row)) + len(sequence) <= length), None)
        if row is None:
            rows.append([sequence])
        else:
            row.append(sequence)
    packed = [pack_row(row, length, pad_token_id) for row in rows]
    return {name: torch.stack([row[name] for row in packed]) for name in packed[0]}


def pack_row(documents: Sequence[Tensor], length: int, pad_token_id: int) -> Batch:
    """One row: input_ids, position_ids and labels (T,)."""
    missing = length - sum(map(len, documents))
    padding = [torch.full((missing,), pad_token_id)] if missing else []
    labels = [torch.cat([torch.tensor([IGNORE_INDEX]), document[1:]]) for document in documents]
    return {
        "input_ids": torch.cat([*documents, *padding]),
        "position_ids": torch.cat([torch.arange(len(part)) for part in [*documents, *padding]]),
        "labels": torch.cat([*labels, torch.full((missing,), IGNORE_INDEX)]),
    }
