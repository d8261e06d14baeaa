"""Label smoothing that knows each model's loss: the shift of a causal model, the count of items of an accumulated step.

The host's smoother averages over each micro-batch, which an accumulated or distributed step does not undo."""

from typing import Any

import torch
from torch.nn import functional as F

from hf_tfm.modeling.loss import IGNORE_INDEX

__all__ = ["label_position", "smoothing_loss"]

# task -> where the label of a position stands: "next" or "same"
LABEL_POSITIONS = {
    "causal-lm": "next", "chat": "next", "masked-lm": "same", "denoising": "same", "seq2seq": "same",
    "sequence-classification": "same", "token-classification": "same", "multiple-choice": "same",
}  # fmt: skip


def label_position(objective: Any) -> str:
    """Raises ValueError for a task whose labels are not one class of several."""
    labels = getattr(objective, "labels", None)
    if objective.task not in LABEL_POSITIONS or (
        labels is not None and labels.problem_type in ("multi_label", "regression")
    ):
        raise ValueError(
            "--label_smoothing_factor is for labels that are one class of several, which this task has not."
        )
    return LABEL_POSITIONS[objective.task]


def smoothing_loss(
    logits: torch.Tensor, labels: torch.Tensor, share: float, kind: str, items: Any = None
) -> torch.Tensor:
    """What smoothing adds to a cross-entropy: share x (mean over classes of -log p, less -log p of the label), summed
    over labels and divided by `items`, their number in the whole step (default: in this batch).

    Logits (..., n), labels (...), -100 where nothing is scored. Szegedy et al. 2016, section 7, arXiv:1512.00567."""
    if kind == "next":
        logits, labels = logits[:, :-1], labels[:, 1:]
    scored = labels != IGNORE_INDEX
    scores, targets = logits[scored].float(), labels[scored]
    uniform = -F.log_softmax(scores, dim=-1).mean(-1).sum()
    added = share * (uniform - F.cross_entropy(scores, targets, reduction="sum"))
    count = targets.numel() if items is None else items
    return added / torch.as_tensor(count, device=added.device).clamp(min=1)
