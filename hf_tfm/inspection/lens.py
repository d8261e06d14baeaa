"""The logit lens: what the head would say after every half block, through the model's own final norm and head.

nostalgebraist 2020, "interpreting GPT: the logit lens". Legend: P taps, n predictions, T tokens, C hidden size, V
labels, k most probable labels.
"""

from dataclasses import dataclass
from typing import Any

import torch

from .model_state import inspected
from .predicting_heads import require_head
from .recording import Recording

__all__ = ["LensTap", "log_probabilities", "logit_lens"]


@dataclass
class LensTap:
    """One tap: the most probable labels (n, k) with their probabilities (n, k), the entropy (n,), and
    `divergence` (n,) = KL(final || tap), both in nats."""

    tap: str
    labels: torch.Tensor
    probabilities: torch.Tensor
    entropy: torch.Tensor
    divergence: torch.Tensor


def logit_lens(recording: Recording, positions: Any = None, top: int = 10) -> tuple[list[LensTap], float]:
    """One entry per tap of the stack that the head reads, and the largest difference between the last tap's logits and
    the model's. `positions`: which predictions (default: all)."""
    head, stack = require_head(recording.model, recording.inputs), recording.predicting
    chosen = slice(None) if positions is None else positions
    final = head.logits_of(recording.output)[0]
    taps = []
    with inspected(recording.model):
        final_log = log_probabilities(final[chosen])
        for name, states in zip(stack.taps, stack.stream, strict=True):
            logits = head.logits(stack.stack.norm(states[None]))[0]
            taps.append(lens_tap(name, log_probabilities(logits[chosen]), final_log, top))
    return taps, (logits - final).abs().max().item()


def lens_tap(name: str, log: torch.Tensor, final_log: torch.Tensor, top: int) -> LensTap:
    best = log.topk(min(top, log.shape[-1]))
    # 0 log 0 = 0, where a logit is -inf: its product is NaN
    entropy = -(log.exp() * log).nansum(-1)
    divergence = (final_log.exp() * (final_log - log)).nansum(-1).clamp(min=0)
    return LensTap(name, best.indices, best.values.exp(), entropy, divergence)


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """In float32 at least."""
    return logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
