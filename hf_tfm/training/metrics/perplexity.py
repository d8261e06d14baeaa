"""Perplexity and bits per byte from the summed losses of rows.

Written by hand: libraries compute perplexity from logits, not from summed losses, and none has bits per byte.

Legend: B batch, T tokens in a row, V vocabulary."""

from typing import Any

import numpy as np
import torch
from datasets import Features, Value
from torch.nn import functional as F

from hf_tfm.modeling.loss import IGNORE_INDEX

from .base import InMemoryMetric

__all__ = ["Perplexity", "sum_losses", "sum_next_token_losses"]


def sum_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Per row, the sum of the negative log likelihood in nats over its scored tokens, and their number: (B, 2).

    `logits` (B, T, V); `labels` (B, T), -100 at tokens that are not scored. Trainer stores these two numbers instead of
    the logits."""
    losses = F.cross_entropy(logits.transpose(1, 2).float(), labels, ignore_index=IGNORE_INDEX, reduction="none")
    return torch.stack([losses.sum(-1), labels.ne(IGNORE_INDEX).sum(-1).to(losses.dtype)], dim=-1)


def sum_next_token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """`sum_losses` for models that predict token t at position t - 1: the first token of a row is never scored."""
    return sum_losses(logits[:, :-1], labels[:, 1:])


class Perplexity(InMemoryMetric):
    """Nats per token, perplexity and, if the size of the text is known, bits per byte from summed losses.

    compute(losses=, tokens=, source_bytes=): nats and tokens per row, and the bytes of the scored text. Bytes are
    counted in the source text, because decoding may add or lose some. Bits per byte compare models with different
    tokenizers."""

    inputs = Features({"losses": Value("float64"), "tokens": Value("int64")})

    def _compute(self, losses: Any, tokens: Any, source_bytes: int | None = None) -> dict[str, float]:
        nats, count = float(np.sum(losses)), int(np.sum(tokens))
        if not count:
            raise ValueError(f"{self.name} got no scored tokens in {len(tokens)} rows; some labels must not be -100.")
        results = {"nats_per_token": nats / count, "perplexity": float(np.exp(nats / count)), "scored_tokens": count}
        if source_bytes is not None:
            results["bits_per_byte"] = nats / np.log(2).item() / source_bytes
        return results
