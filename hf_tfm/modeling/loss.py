"""Losses that the host leaves open: classification and multiple choice that count their items, expert balance.

`num_items_in_batch` is the number of labels in all micro-batches of an optimiser step: a loss that divides its sum by
it accumulates to exactly the large batch's loss. Legend: B batch, N tokens, E experts.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from .packing import is_padding_mask

IGNORE_INDEX = -100


def share(summed: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The sum over this micro-batch's labels divided by the step's number of labels, or by its own."""
    items = labels.ne(IGNORE_INDEX).sum() if num_items_in_batch is None else num_items_in_batch
    return summed / torch.as_tensor(items, device=summed.device)


def regression_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Squared error per number; logits (B, n), labels (B, n) or (B,)."""
    labels = labels.to(logits.device, logits.dtype).view_as(logits)
    return share(F.mse_loss(logits, labels, reduction="sum"), labels, num_items_in_batch)


def single_label_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Cross-entropy in nats per label; logits (B, n), labels (B,)."""
    labels = labels.to(logits.device).view(-1)
    summed = F.cross_entropy(logits.float(), labels, ignore_index=IGNORE_INDEX, reduction="sum")
    return share(summed, labels, num_items_in_batch)


def multi_label_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """Binary cross-entropy in nats per yes-or-no; logits and labels (B, n)."""
    labels = labels.to(logits.device, logits.dtype)
    return share(F.binary_cross_entropy_with_logits(logits, labels, reduction="sum"), labels, num_items_in_batch)


# (one output, labels are fractions) -> what the labels mean when `problem_type` does not say
GUESSES: dict[tuple[bool, bool], Callable[..., torch.Tensor]] = {
    (True, True): regression_loss,
    (True, False): regression_loss,
    (False, True): multi_label_loss,
    (False, False): single_label_loss,
}


def guessed_loss(logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
    """The loss that the host would guess from the labels; the configuration is read, never written."""
    guess = GUESSES[logits.shape[-1] == 1, labels.is_floating_point()]
    return guess(logits, labels, num_items_in_batch)


CLASSIFICATION_LOSSES: dict[str | None, Callable[..., torch.Tensor]] = {
    None: guessed_loss,
    "regression": regression_loss,
    "single_label_classification": single_label_loss,
    "multi_label_classification": multi_label_loss,
}


class NoBalance(nn.Module):
    """A model without experts: nothing to record, nothing to add."""

    def request(self, labels: Any) -> dict[str, bool]:
        return {}

    def forward(self, loss: Any, router_logits: Any, attention_mask: Any, labels: Any, items: Any) -> tuple[Any, Any]:
        return loss, None


class ExpertBalance(nn.Module):
    """E sum_e (share of tokens sent to e) (mean probability of e), pooled over layers: 1 where all are equal.
    Fedus et al. 2021, equations 4 to 6, arXiv:2101.03961."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.coefficient = config.router_aux_loss_coef
        self.num_experts, self.top_k = config.num_experts, config.num_experts_per_tok

    def request(self, labels: Any) -> dict[str, bool]:
        """Ask the trunk for router logits where a loss is wanted."""
        return {} if labels is None else {"output_router_logits": True}

    def forward(self, loss: Any, router_logits: Any, attention_mask: Any, labels: Any, items: Any) -> tuple[Any, Any]:
        """The loss with the balance added, and the balance by itself. In an accumulated step each micro-batch adds
        its share by number of labels."""
        if labels is None or not router_logits:
            return loss, None
        mask = attention_mask if is_padding_mask(attention_mask) else None
        balance = load_balancing_loss_func(router_logits, self.num_experts, self.top_k, mask)
        part = share(labels.ne(IGNORE_INDEX).sum().to(loss.dtype), labels, items)
        return loss + self.coefficient * part * balance, balance


def make_balance(config: Any) -> NoBalance | ExpertBalance:
    return ExpertBalance(config) if config.mlp_type == "moe" else NoBalance()
