"""Measures computed from sums that Trainer gathers; in-package, so that no run fetches a metric script."""

from pathlib import Path
from typing import Any

import evaluate
import numpy as np
import torch
from datasets import Features, Value
from torch.nn import functional as F

__all__ = ["Perplexity", "sum_next_token_losses"]

IGNORE_INDEX = -100


def sum_next_token_losses(logits: Any, labels: torch.Tensor) -> torch.Tensor:
    """Per row, the negative log likelihood in nats summed over its scored tokens, and their number: (B, 2).

    `logits` (B, T, V), possibly first of a tuple; `labels` (B, T), -100 where nothing is scored. Token t is predicted
    at t - 1, so the first of a row never counts. Trainer keeps these two numbers per row instead of the logits."""
    logits = logits[0] if isinstance(logits, tuple) else logits
    scores, targets = logits[:, :-1].transpose(1, 2).float(), labels[:, 1:]
    losses = F.cross_entropy(scores, targets, ignore_index=IGNORE_INDEX, reduction="none")
    return torch.stack([losses.sum(-1), targets.ne(IGNORE_INDEX).sum(-1).to(losses.dtype)], dim=-1)


class Perplexity(evaluate.Metric):
    """Nats per token, perplexity and bits per byte from summed losses.

    compute(losses=, tokens=, source_bytes=): nats and tokens per row, and the bytes of the scored text, counted on the
    source (a decoder may add or lose some). Bits per byte compare models whose tokenizers differ."""

    def __init__(self, cache_dir: str | Path) -> None:
        super().__init__(keep_in_memory=True, cache_dir=str(cache_dir))

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Nats per token, perplexity and bits per byte of a language model.",
            citation="",
            inputs_description="losses: nats per row; tokens: scored tokens per row; source_bytes: bytes of the text",
            features=Features({"losses": Value("float64"), "tokens": Value("int64")}),
        )

    def _compute(self, losses: Any, tokens: Any, source_bytes: int) -> dict[str, float]:
        nats, count = float(np.sum(losses)), int(np.sum(tokens))
        return {
            "nats_per_token": nats / count,
            "perplexity": float(np.exp(nats / count)),
            "bits_per_byte": nats / np.log(2).item() / source_bytes,
            "scored_tokens": count,
        }
