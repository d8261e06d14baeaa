"""Whole training steps on batches of real lengths: what `bench train` times and `bench memory` weighs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .batches import (
    IGNORED,
    Batch,
    causal_labels,
    masked_labels,
    packed,
    padded,
    padded_pairs,
    placed,
    real_lengths,
    sentence_pairs,
    sentences,
)
from .ceilings import attention_flops, matmul_parameters
from .options import autocast

__all__ = ["LEAN", "TASKS", "Feed", "feeds_of", "loss_of", "optimizer_of", "training_step"]

# what a user asks for by one word: the loss without logits
LEAN = {"lean_loss": True}
# small, so that many steps on random words stay finite
LEARNING_RATE = 1e-4
# where a masked word stands: an id that no sentence has
MASK_ID = 4


@dataclass
class Feed:
    """The same documents for either side, a batch each. `tokens`: real ones, of source and target. Lengths in tokens,
    `targets` None without a decoder beside an encoder."""

    ours: Batch
    theirs: Batch
    sources: list[int]
    targets: list[int] | None = None

    @property
    def tokens(self) -> int:
        return sum(self.sources) + sum(self.targets or [])

    def to(self, device: str) -> "Feed":
        return Feed(placed(self.ours, device), placed(self.theirs, device), self.sources, self.targets)

    def batch(self, name: str) -> Batch:
        return self.ours if name.startswith("ours") else self.theirs


def full_rows(count: int, length: int, fill: float, vocab_size: int, seed: int) -> Feed:
    """Rows of running text without padding: no mask, as a training loop on packed blocks has it."""
    ids = torch.stack(sentences([length] * count, vocab_size, seed))
    batch = {"input_ids": ids, "labels": ids}
    return Feed(batch, batch, [length] * count)


def hidden_words(count: int, length: int, fill: float, vocab_size: int, seed: int) -> Feed:
    lengths = real_lengths(count, length, fill, seed)
    batch = masked_labels(padded(sentences(lengths, vocab_size, seed), pad=0), MASK_ID, seed)
    return Feed(batch, batch, lengths)


def short_documents(count: int, length: int, fill: float, vocab_size: int, seed: int) -> Feed:
    """As many documents as fill `count` rows: packed side by side for us, padded to the longest for the others."""
    lengths = real_lengths(round(count / fill), length, fill, seed)
    rows = sentences(lengths, vocab_size, seed)
    return Feed(packed(rows, length, pad=0), causal_labels(padded(rows, pad=0)), lengths)


def translations(count: int, length: int, fill: float, vocab_size: int, seed: int) -> Feed:
    pairs = sentence_pairs(real_lengths(count, length, fill, seed), length, vocab_size, seed)
    batch = padded_pairs(pairs, pad=0)
    return Feed(batch, batch, [len(pair.source) for pair in pairs], [len(pair.target) for pair in pairs])


# word -> head, documents of a step, usual peers
TASKS: dict[str, tuple[str, Callable[..., Feed], list[str]]] = {
    "causal-lm": ("causal-lm", full_rows, ["llama"]),
    "packed-lm": ("causal-lm", short_documents, ["llama"]),
    "masked-lm": ("masked-lm", hidden_words, ["bert"]),
    "seq2seq": ("seq2seq-lm", translations, ["t5", "bart"]),
}


def feeds_of(
    task: str, steps: int, count: int, length: int, fill: float, vocab_size: int, seed: int, device: str = "cpu"
) -> list[Feed]:
    """What every step of a round reads."""
    make = TASKS[task][1]
    return [make(count, length, fill, vocab_size, seed + 1000 * step).to(device) for step in range(steps)]


def loss_of(model: Any, batch: Batch, dtype: str = "fp32") -> torch.Tensor:
    """Nats per label. Caches are for generation: none is asked to fill one."""
    config = getattr(model, "config", None)
    caching = {"use_cache": False} if hasattr(config, "use_cache") and hasattr(model, "generate") else {}
    with autocast(dtype, batch["input_ids"].device):
        return model(**batch, **caching)["loss"]


def optimizer_of(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, fused=True)


def training_step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch, dtype: str) -> None:
    loss_of(model, batch, dtype).backward()
    optimizer.step()
    optimizer.zero_grad()


def training_flops(model: Any, feed: Feed) -> float:
    """Useful operations of one step, three times those of a forward pass over real tokens; the head's for words that
    are labels."""
    predicted = int((feed.ours["labels"] != IGNORED).sum())
    products = matmul_parameters(model).flops(sum(feed.sources), sum(feed.targets or []), predicted)
    return 3 * (products + attention_flops(model.config, feed.sources, feed.targets))
