"""Whole training steps on random batches: `bench train` times them, `bench memory` measures their memory."""

from dataclasses import dataclass
from typing import Any

import torch

from hf_tfm.modeling.loss import IGNORE_INDEX

from ...inspection.flops import attention_flops, count_matmul_parameters
from .batches import (
    Batch,
    lognormal_lengths,
    mask_tokens,
    move_batch,
    pack_sequences,
    pad_sentence_pairs,
    pad_sequences,
    random_sentence_pairs,
    random_sequences,
    with_causal_labels,
)
from .options import autocast

__all__ = ["FUSED_LOSS", "TASK_HEADS", "StepBatches", "compute_loss", "create_optimizer", "make_step_batches",
           "training_flops", "training_step"]  # fmt: skip

# the option of our configuration that computes the loss without the logits of all tokens
FUSED_LOSS = {"fused_loss": True}
# small, so that many steps on random tokens stay finite
LEARNING_RATE = 1e-4
# an id that no random sequence contains
MASK_TOKEN_ID = 4
PAD_TOKEN_ID = 0
# training task -> head of the model
TASK_HEADS = {"causal-lm": "causal-lm", "packed-lm": "causal-lm", "masked-lm": "masked-lm", "seq2seq": "seq2seq-lm"}


@dataclass
class StepBatches:
    """The same documents as a batch for ours and one for the peers. Lengths without padding, tokens; `target_lengths`
    is None for encoders and decoders alone."""

    ours: Batch
    peer: Batch
    source_lengths: list[int]
    target_lengths: list[int] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of source and target, without padding."""
        return sum(self.source_lengths) + sum(self.target_lengths or [])

    def to(self, device: str) -> "StepBatches":
        ours, peer = move_batch(self.ours, device), move_batch(self.peer, device)
        return StepBatches(ours, peer, self.source_lengths, self.target_lengths)

    def of_model(self, name: str) -> Batch:
        return self.ours if name.startswith("ours") else self.peer


def full_rows(batch_size: int, length: int, vocab_size: int, seed: int) -> StepBatches:
    """Rows of running text without padding and mask, as in language-model training on concatenated documents."""
    ids = torch.stack(random_sequences([length] * batch_size, vocab_size, seed))
    batch = {"input_ids": ids, "labels": ids}
    return StepBatches(batch, batch, [length] * batch_size)


def masked_sentences(lengths: list[int], vocab_size: int, seed: int) -> StepBatches:
    batch = pad_sequences(random_sequences(lengths, vocab_size, seed), PAD_TOKEN_ID)
    batch = mask_tokens(batch, MASK_TOKEN_ID, seed)
    return StepBatches(batch, batch, lengths)


def short_documents(lengths: list[int], row_length: int, vocab_size: int, seed: int) -> StepBatches:
    """Ours packs the documents into rows of `row_length` tokens; peers pad them to the longest document."""
    documents = random_sequences(lengths, vocab_size, seed)
    packed = pack_sequences(documents, row_length, PAD_TOKEN_ID)
    return StepBatches(packed, with_causal_labels(pad_sequences(documents, PAD_TOKEN_ID)), lengths)


def translations(lengths: list[int], max_length: int, vocab_size: int, seed: int) -> StepBatches:
    pairs = random_sentence_pairs(lengths, max_length, vocab_size, seed)
    batch = pad_sentence_pairs(pairs, PAD_TOKEN_ID)
    return StepBatches(batch, batch, [len(pair.source) for pair in pairs], [len(pair.target) for pair in pairs])


def one_step_batches(
    task: str, batch_size: int, length: int, mean_length_fraction: float, vocab_size: int, seed: int
) -> StepBatches:
    if task == "causal-lm":
        return full_rows(batch_size, length, vocab_size, seed)
    if task == "packed-lm":
        # as many documents as fill the rows
        lengths = lognormal_lengths(round(batch_size / mean_length_fraction), length, mean_length_fraction, seed)
        return short_documents(lengths, length, vocab_size, seed)
    lengths = lognormal_lengths(batch_size, length, mean_length_fraction, seed)
    if task == "masked-lm":
        return masked_sentences(lengths, vocab_size, seed)
    return translations(lengths, length, vocab_size, seed)


def make_step_batches(args: Any, vocab_size: int) -> list[StepBatches]:
    """The batches of every step of a round, on the device. `args` has the values of --task, --steps, --batch_size,
    --length, --mean_length_fraction, --seed and --device."""
    return [
        one_step_batches(
            args.task, args.batch_size, args.length, args.mean_length_fraction, vocab_size, args.seed + 1000 * step
        ).to(args.device)
        for step in range(args.steps)
    ]


def compute_loss(model: Any, batch: Batch, dtype: str = "fp32") -> torch.Tensor:
    """Nats per label. Training needs no cache of keys and values."""
    config = getattr(model, "config", None)
    options = {"use_cache": False} if hasattr(config, "use_cache") and hasattr(model, "generate") else {}
    with autocast(dtype, batch["input_ids"].device):
        return model(**batch, **options)["loss"]


def create_optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)


def training_step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch, dtype: str) -> None:
    compute_loss(model, batch, dtype).backward()
    optimizer.step()
    optimizer.zero_grad()


def training_flops(model: Any, batches: StepBatches) -> float:
    """Useful operations of one step: three times those of a forward pass without padding. The head counts for labels
    only."""
    predicted = int((batches.ours["labels"] != IGNORE_INDEX).sum())
    targets = sum(batches.target_lengths or [])
    products = count_matmul_parameters(model).forward_flops(sum(batches.source_lengths), targets, predicted)
    return 3 * (products + attention_flops(model.config, batches.source_lengths, batches.target_lengths))
