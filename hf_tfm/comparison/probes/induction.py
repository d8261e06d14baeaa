"""Induction: how much a model gains from text that it has read once before."""

from typing import Any

import torch

from hf_tfm.inspection.head_scores import repeated_tokens
from hf_tfm.modeling.loss import IGNORE_INDEX

from .base import Probe, ProbedRun, ProbeResult, summed_losses

__all__ = ["Induction"]

# sequences, and tokens of a half
ROWS, HALF = 64, 64


class Induction(Probe):
    """Loss of the second half of repeated random tokens minus that of the first, in nats per token, on the trained
    model: 0 for one that does not copy, and the lower, the better it does. The induction heads of Olsson et al. 2022,
    arXiv:2209.11895, do it. The first token of each half is left out: nothing before it tells which it is."""

    name = "induction"
    labels = {"induction": "loss of the second half of repeated random tokens minus that of the first, nats per token"}
    tasks = ("causal-lm", "chat")

    def measure(self, run: ProbedRun) -> ProbeResult:
        half = max(2, min(HALF, run.config.max_position_embeddings // 2))
        ids = repeated_tokens(run.config.vocab_size, half, ROWS, run.seed)
        first, second = torch.full_like(ids, IGNORE_INDEX), torch.full_like(ids, IGNORE_INDEX)
        first[:, 1:half], second[:, half + 1 :] = ids[:, 1:half], ids[:, half + 1 :]
        nats_first, count, nats_second, _ = summed_losses(run.model, ids, first, second)
        return ProbeResult({"induction": (nats_second - nats_first) / count})

    def seconds(self, config: Any, run_args: Any, evaluation_seconds: float) -> float:
        # its text is shorter than a validation split usually is
        return evaluation_seconds
