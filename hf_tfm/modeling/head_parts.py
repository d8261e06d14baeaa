"""Parts of heads: logits and loss of a language model, and the dense layer before a classifier.

Legend: B batch, T tokens, C hidden size, E embedding size, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.loss.loss_utils import ForCausalLMLoss, ForMaskedLMLoss

from .activations import make_activation
from .attention import soft_cap
from .block import Scale
from .fused_linear_cross_entropy import LinearCrossEntropy, select_scored
from .loss import IGNORE_INDEX, make_load_balancing, mean_over_items, z_loss
from .normalization import make_norm
from .pooling import POOLINGS
from .width_scaling import make_width_scaling


class HeadDense(nn.Module):
    """norm(act(dense(x))): BERT's transform before the vocabulary, and its pooler."""

    def __init__(self, config: Any, act: str, has_norm: bool, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, width, bias=config.head_dense_bias)
        self.act_fn = make_activation(act)
        self.norm = make_norm(config, width) if has_norm else None

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = self.act_fn(self.dense(hidden_states))
        return hidden_states if self.norm is None else self.norm(hidden_states)


def make_lm_transform(config: Any) -> nn.Module | None:
    """What stands before the map to the vocabulary: BERT's transform, the projection to the width of a factorised
    table, or None."""
    if config.lm_head_type == "transform":
        return HeadDense(config, config.lm_head_act, has_norm=True, width=config.embedding_size)
    if config.embedding_size != config.hidden_size:
        return nn.Linear(config.hidden_size, config.embedding_size, bias=False)
    return None


class LMHead(nn.Linear):
    """The map from the embedding's width to the vocabulary. Given labels (N,), it returns their summed loss instead of
    logits, in its own forward, since sharded weights are whole only there (FSDP2, ZeRO-3)."""

    # its rows may be the word table, so what it reads is scaled instead of its weights
    width_role = "fixed"

    def forward(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None = None,
        cap: float | None = None,
        scale: float = 1.0,
        smoothing: float = 0.0,
        z_loss: float = 0.0,
    ) -> torch.Tensor:
        if labels is None:
            return super().forward(hidden_states)
        options = (cap, scale, smoothing, z_loss, torch.is_grad_enabled())
        return LinearCrossEntropy.apply(hidden_states, self.weight, self.bias, labels, *options)  # pyright: ignore[reportReturnType]


class LanguageHead:
    """Mixin of the heads that predict tokens."""

    config: Any
    loss_function: Any
    training: bool

    def build_language_head(self, config: Any) -> None:
        self.lm_transform = make_lm_transform(config)
        output_scale = make_width_scaling(config).output_scale
        self.scale_states = None if output_scale == 1.0 else Scale(output_scale)
        self.lm_head = LMHead(config.embedding_size, config.vocab_size, bias=config.lm_head_bias)
        self.logit_scale = config.logit_scale
        self.scale_logits = None if config.logit_scale == 1.0 else Scale(config.logit_scale)
        self.logit_cap = config.final_logit_softcapping
        self.z_loss_coef = config.z_loss_coef
        self.load_balancing = make_load_balancing(config)

    def transform(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Hidden states (..., C) to what `lm_head` reads (..., E)."""
        if self.lm_transform is not None:
            hidden_states = self.lm_transform(hidden_states)
        return hidden_states if self.scale_states is None else self.scale_states(hidden_states)

    def compute_logits(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of hidden states (..., C)."""
        logits = self.lm_head(self.transform(hidden_states))
        if self.scale_logits is not None:
            logits = self.scale_logits(logits)
        return logits if self.logit_cap is None else soft_cap(logits, self.logit_cap)

    def target_labels(self, labels: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """The label that each position (B, T) is scored by; a causal model's are those of the next position."""
        return labels

    def uses_fused_loss(self, fused_loss: bool | None) -> bool:
        """Whether a call asks for the fused loss; None: as configured."""
        return self.config.fused_loss if fused_loss is None else fused_loss

    def logits_and_loss(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None,
        fused_loss: bool | None,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Logits (B, T, V) of hidden states (B, T, C), and with labels their loss in nats per scored token, in training
        with the z-loss; with the fused loss (None: as configured) no logits. Raises ValueError for smoothing without
        the fused loss.

        Smoothing is a keyword argument of the heads without a place in their signatures: Trainer takes every argument
        of a forward with "label" in its name for one that evaluation needs."""
        if labels is None:
            return self.compute_logits(hidden_states), None
        if self.uses_fused_loss(fused_loss):
            return None, self.compute_fused_loss(hidden_states, labels, label_smoothing, **kwargs)
        if label_smoothing:
            raise ValueError(
                f"label_smoothing={label_smoothing} is for the fused loss: pass fused_loss=True with it, or smooth the "
                "logits yourself."
            )
        logits = self.compute_logits(hidden_states)
        loss = self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **kwargs)
        return logits, self.add_z_loss(loss, logits, labels, self.z_loss_weight, **kwargs)

    @property
    def z_loss_weight(self) -> float:
        """The weight of the z-loss now: like dropout it is part of training, and an evaluated loss is in nats."""
        return self.z_loss_coef * self.training

    def add_z_loss(
        self,
        loss: Any,
        logits: torch.Tensor,
        labels: torch.Tensor,
        weight: float,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The loss with `weight` times the z-loss added."""
        if not weight:
            return loss
        return loss + weight * z_loss(logits, self.scored_labels(labels, logits, **kwargs), num_items_in_batch)

    def scored_labels(
        self, labels: torch.Tensor, predictions: torch.Tensor, ignore_index: int = IGNORE_INDEX, **kwargs: Any
    ) -> torch.Tensor:
        """`target_labels` (B, T) beside the predictions, -100 where nothing is scored."""
        labels = self.target_labels(labels, **kwargs).to(predictions.device)
        return labels.masked_fill(labels == ignore_index, IGNORE_INDEX)

    def compute_fused_loss(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor,
        smoothing: float,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """The loss without logits. Raises ValueError where it would ignore something; see `fused_loss_obstacle`."""
        obstacle = fused_loss_obstacle(self)
        if obstacle is not None:
            raise ValueError(f"fused_loss=True is not possible: {obstacle}. Pass fused_loss=False.")
        if not 0.0 <= smoothing <= 1.0:
            raise ValueError(f"label_smoothing must lie between 0 and 1, got {smoothing}.")
        labels = self.scored_labels(labels, hidden_states, **kwargs)
        tokens, scored = select_scored(hidden_states, labels)
        options = (self.logit_cap, self.logit_scale, smoothing, self.z_loss_weight)
        summed = self.lm_head(self.transform(tokens), scored, *options)
        return mean_over_items(summed, labels, num_items_in_batch)

    def router_kwargs(self, labels: torch.Tensor | None) -> dict[str, bool]:
        """Asks the model below for the router logits that the load-balancing loss needs."""
        return {} if self.load_balancing is None or labels is None else {"output_router_logits": True}

    def add_load_balancing(
        self, loss: Any, router_logits: Any, attention_mask: Any, labels: torch.Tensor | None, num_items_in_batch: Any
    ) -> tuple[Any, torch.Tensor | None]:
        """The loss with the load-balancing loss of the experts added, and that by itself, None without experts."""
        if self.load_balancing is None or labels is None:
            return loss, None
        return self.load_balancing(loss, router_logits, attention_mask, labels, num_items_in_batch)

    def _get_resized_lm_head(self, *args: Any, **kwargs: Any) -> nn.Module:
        # a private step of transformers, which makes a plain linear map; once hooks wrap its forward it is too late
        resized = super()._get_resized_lm_head(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if type(resized) is nn.Linear:
            resized.__class__ = LMHead
        return resized


def fused_loss_obstacle(model: Any) -> str | None:
    """Why this language head cannot compute the fused loss now; None if it can."""
    kind = type(model.lm_head)
    if not issubclass(kind, LMHead):
        return (
            f"lm_head is a {kind.__module__}.{kind.__name__}, an adapter or a quantised map, say, which it would ignore"
        )
    if model.tp_size not in (None, 1):
        return f"tp_size={model.tp_size} splits the vocabulary over processes"
    if model.loss_function not in (ForCausalLMLoss, ForMaskedLMLoss):
        return "the model was given a loss function of its own"
    if type(model).compute_logits is not LanguageHead.compute_logits:
        return f"{type(model).__name__} computes logits in its own way, `compute_logits`"
    return None


def make_classifier_dense(config: Any) -> HeadDense:
    """The dense layer before a classifier."""
    return HeadDense(config, config.classifier_act, config.classifier_norm, config.hidden_size)


class Pooler(nn.Module):
    """One vector (B, C) for the sequence, for a classifier: pool, then the dense layer if there is one; with late
    pooling that layer on every token first (EuroBERT: Boizard et al. 2025, arXiv:2503.05500)."""

    # values of `classifier_dense` with a dense layer here
    dense_values = ("pooled", "all", "embedding")

    def __init__(self, config: Any) -> None:
        super().__init__()
        dense = make_classifier_dense(config) if config.classifier_dense in self.dense_values else None
        late = config.pooling == "late"
        self.token_transform, self.transform = (dense, None) if late else (None, dense)
        self.pool = POOLINGS[config.pooling](config)

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        if self.token_transform is not None:
            hidden_states = self.token_transform(hidden_states)
        pooled = self.pool(hidden_states, input_ids, attention_mask)
        return pooled if self.transform is None else self.transform(pooled)


class EmbeddingPooler(Pooler):
    """The same for a text embedding. What a classifier reads is random where the checkpoint has no classifier, and BERT
    trained its own to compare two sentences, so the vector has a dense layer only by `classifier_dense="embedding"`."""

    dense_values = ("embedding",)


def unit_length(vectors: torch.Tensor) -> torch.Tensor:
    """Vectors (..., C) divided by their Euclidean norms."""
    return F.normalize(vectors, dim=-1)
