"""Losses that transformers leaves open: classification and choice among embeddings that count their items, and the load
balance of experts.

`num_items_in_batch` is the number of labels in all micro-batches of an optimiser step: a loss that divides its sum by
it accumulates to exactly the loss of the large batch. Legend: B batch, N texts, C embedding size, E experts.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from .masks import is_padding_mask

IGNORE_INDEX = -100


def mean_over_items(summed: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The sum over this micro-batch's labels divided by the step's number of labels, or by its own."""
    items = labels.ne(IGNORE_INDEX).sum() if num_items_in_batch is None else num_items_in_batch
    return summed / torch.as_tensor(items, device=summed.device)


def z_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The mean of logsumexp(logits) squared over scored tokens, which keeps softmax's denominator near 1; logits
    (B, T, V), labels (B, T).   Chowdhery et al. 2022, section 5, arXiv:2204.02311; Wortsman et al. 2023,
    arXiv:2309.14322."""
    squares = logits.float().logsumexp(-1).square().masked_fill(labels.eq(IGNORE_INDEX), 0)
    return mean_over_items(squares.sum(), labels, num_items_in_batch)


def regression_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Squared error per number; logits (B, n), labels (B, n) or (B,)."""
    labels = labels.to(logits.device, logits.dtype).view_as(logits)
    return mean_over_items(F.mse_loss(logits, labels, reduction="sum"), labels, num_items_in_batch)


def single_label_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Cross-entropy in nats per label; logits (B, n), labels (B,)."""
    labels = labels.to(logits.device).view(-1)
    summed = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum")
    return mean_over_items(summed, labels, num_items_in_batch)


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Binary cross-entropy in nats per yes-or-no; logits and labels (B, n)."""
    labels = labels.to(logits.device, logits.dtype)
    summed = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum")
    return mean_over_items(summed, labels, num_items_in_batch)


def contrastive_loss(
    embeddings: torch.Tensor, labels: torch.Tensor, temperature: float, num_items_in_batch: Any = None
) -> torch.Tensor:
    """Nats per anchor of choosing its text among all candidates of the batch by cosine similarity over temperature
    (InfoNCE: van den Oord et al. 2018, arXiv:1807.03748; in-batch negatives: Henderson et al. 2017, arXiv:1705.00652).

    Embeddings (N, C) of unit length: B anchors, then N - B candidates. `labels` (B,): the candidate that is right."""
    anchors, candidates = embeddings[: len(labels)], embeddings[len(labels) :]
    return single_label_loss(anchors @ candidates.T / temperature, labels, num_items_in_batch)


# value of `problem_type` -> loss of (logits, labels, number of items)
CLASSIFICATION_LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "regression": regression_loss,
    "single_label_classification": single_label_loss,
    "multi_label_classification": multi_label_loss,
}


def infer_problem_type(logits: torch.Tensor, labels: torch.Tensor) -> str:
    """What transformers infers from the labels where `problem_type` is None."""
    if logits.shape[-1] == 1:
        return "regression"
    return "multi_label_classification" if labels.is_floating_point() else "single_label_classification"


def classification_loss(
    problem_type: str | None, logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None
) -> torch.Tensor:
    """The loss of a sequence classifier; the configuration is read, never written."""
    loss = CLASSIFICATION_LOSSES[problem_type or infer_problem_type(logits, labels)]
    return loss(logits, labels, num_items_in_batch)


class LoadBalancing(nn.Module):
    """The load-balancing loss of experts: E sum_e (share of tokens sent to e) (mean probability of e), pooled over
    layers, which is 1 where all are equal.   Fedus et al. 2021, equations 4 to 6, arXiv:2101.03961."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.coefficient = config.router_aux_loss_coef
        self.num_experts, self.top_k = config.num_experts, config.num_experts_per_tok

    def forward(
        self, loss: Any, router_logits: Any, attention_mask: Any, labels: torch.Tensor, num_items_in_batch: Any
    ) -> tuple[Any, torch.Tensor | None]:
        """The loss with the load-balancing loss added, and that by itself. In an accumulated step each micro-batch adds
        its share by number of labels."""
        if not router_logits:
            return loss, None
        mask = None
        if is_padding_mask(attention_mask):
            # a mask covers keys that a cache holds, too
            mask = attention_mask[:, -(router_logits[0].shape[0] // attention_mask.shape[0]) :]
        aux_loss: Any = load_balancing_loss_func(router_logits, self.num_experts, self.top_k, mask)
        weight = mean_over_items(labels.ne(IGNORE_INDEX).sum().to(loss.dtype), labels, num_items_in_batch)
        return loss + self.coefficient * weight * aux_loss, aux_loss


def make_load_balancing(config: Any) -> LoadBalancing | None:
    return LoadBalancing(config) if config.mlp_type == "moe" else None
