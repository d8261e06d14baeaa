"""Label smoothing that is exact under gradient accumulation and in several processes.

LabelSmoother of transformers averages over each micro-batch, so that labels of short micro-batches weigh more."""

from typing import Any

import torch
from torch.nn import functional as F

from hf_tfm.modeling.loss import IGNORE_INDEX

from ..objectives.base import Objective

__all__ = ["check_label_smoothing", "smoothing_loss"]


def check_label_smoothing(objective: Objective) -> None:
    """Raises ValueError for a task whose labels are not classes."""
    if not objective.supports_label_smoothing:
        raise ValueError(
            "--label_smoothing_factor needs labels that are one class of several, which this run does not have; leave "
            "it out."
        )


def smoothing_loss(
    logits: torch.Tensor, labels: torch.Tensor, epsilon: float, shift_labels: bool, num_items: Any = None
) -> torch.Tensor:
    """The term that smoothing adds to a cross-entropy: epsilon * (mean over classes of -log p - (-log p of the label)),
    summed over labels and divided by `num_items`, their number in the whole step (default: in this batch).

    Logits (..., classes), labels (...), -100 where there is no label. With `shift_labels` the logits of position t
    belong to label t + 1. Szegedy et al. 2016, section 7, arXiv:1512.00567."""
    if shift_labels:
        logits, labels = logits[:, :-1], labels[:, 1:]
    has_label = labels != IGNORE_INDEX
    logits, labels = logits[has_label].float(), labels[has_label]
    uniform = -F.log_softmax(logits, dim=-1).mean(-1).sum()
    total = epsilon * (uniform - F.cross_entropy(logits, labels, reduction="sum"))
    count = labels.numel() if num_items is None else num_items
    return total / torch.as_tensor(count, device=total.device).clamp(min=1)
