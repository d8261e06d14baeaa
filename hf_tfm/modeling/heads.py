"""Parts of heads: the way to the vocabulary, pooling, and the dense layer before a classifier.

Legend: B batch, T tokens, C hidden size, E embedding size, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.utils.import_utils import torch_compilable_check

from .attention import SoftCap
from .block import Scale
from .lean import LABELS, WordHead, lean_obstacle, make_cap, scored_tokens
from .loss import IGNORE_INDEX, share
from .normalization import make_norm
from .packing import is_padding_mask


class HeadDense(nn.Module):
    """norm(act(dense(x))): BERT's transform before the vocabulary, and its pooler."""

    def __init__(self, config: Any, act: str, norm: bool, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, width, bias=config.head_dense_bias)
        self.act_fn = ACT2FN[act]
        self.norm = make_norm(config, norm, width)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.norm(self.act_fn(self.dense(hidden_states)))


def plain_way_out(config: Any) -> nn.Module:
    """Nothing, or the projection back to a factorised table's width."""
    same = config.embedding_size == config.hidden_size
    return nn.Identity() if same else nn.Linear(config.hidden_size, config.embedding_size, bias=False)


def transformed_way_out(config: Any) -> nn.Module:
    return HeadDense(config, config.lm_head_act, norm=True, width=config.embedding_size)


LM_HEADS = {"linear": plain_way_out, "transform": transformed_way_out}


class LanguageHead:
    """Mixin of the heads that predict words."""

    config: Any
    loss_function: Any

    def build_language_head(self, config: Any) -> None:
        self.lm_transform = LM_HEADS[config.lm_head_type](config)
        self.lm_head = WordHead(config.embedding_size, config.vocab_size, bias=config.lm_head_bias)
        self.scale_logits = nn.Identity() if config.logit_scale == 1.0 else Scale(config.logit_scale)
        cap = config.final_logit_softcapping
        self.cap_logits = nn.Identity() if cap is None else SoftCap(cap)
        self.lean_cap, self.lean_scale = make_cap(cap), config.logit_scale
        # a subclass may have another way to logits, which a lean loss would pass over
        self.own_predict = type(self).predict is not LanguageHead.predict

    def predict(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Logits (..., V) of hidden states (..., C)."""
        return self.cap_logits(self.scale_logits(self.lm_head(self.lm_transform(hidden_states))))

    def is_lean(self, lean_loss: bool | None) -> bool:
        """What is asked for, by default what is configured."""
        return self.config.lean_loss if lean_loss is None else lean_loss

    def score(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor | None,
        lean_loss: bool | None,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Logits (B, T, V) of hidden states (B, T, C), and with labels their loss in nats per scored token; where the
        loss is to be lean (None: as configured), no logits. Raises ValueError for smoothing without a lean loss.

        Smoothing travels in the heads' keywords: the host's Trainer takes every argument of a forward with "label" in
        its name for one that evaluation needs."""
        if self.is_lean(lean_loss) and labels is not None:
            return None, self.lean_loss(hidden_states, labels, label_smoothing, **kwargs)
        logits, loss = self.predict(hidden_states), None
        if labels is not None:
            refuse_smoothing(label_smoothing)
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=logits.shape[-1], **kwargs)
        return logits, loss

    def lean_loss(
        self,
        hidden_states: torch.Tensor,
        labels: torch.Tensor,
        smoothing: float,
        num_items_in_batch: Any = None,
        ignore_index: int = IGNORE_INDEX,
        **kwargs: Any,
    ) -> torch.Tensor:
        """The loss without logits. Raises ValueError where something would be passed over; see `lean_obstacle`."""
        obstacle = lean_obstacle(self)
        if obstacle is not None:
            raise ValueError(f"lean_loss=True is not possible: {obstacle}. Pass lean_loss=False.")
        if not 0.0 <= smoothing <= 1.0:
            raise ValueError(f"label_smoothing must lie between 0 and 1, got {smoothing}.")
        labels = LABELS[self.loss_function](labels, **kwargs).to(hidden_states.device)
        labels = labels.masked_fill(labels == ignore_index, IGNORE_INDEX)
        tokens, scored = scored_tokens(hidden_states, labels)
        summed = self.lm_head(self.lm_transform(tokens), scored, self.lean_cap, self.lean_scale, smoothing)
        return share(summed, labels, num_items_in_batch)

    def _get_resized_lm_head(self, *args: Any, **kwargs: Any) -> nn.Module:
        # a private step of the host, which makes a plain linear map; once hooks stand around its forward it is too late
        resized = super()._get_resized_lm_head(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if type(resized) is nn.Linear:
            resized.__class__ = WordHead
        return resized


def refuse_smoothing(label_smoothing: float) -> None:
    """Raises ValueError if smoothing is asked of the host's loss, which would drop it."""
    if label_smoothing:
        raise ValueError(
            f"label_smoothing={label_smoothing} is for the lean loss: pass lean_loss=True with it, or smooth the "
            "logits yourself."
        )


def take(hidden_states: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """One token of each row: (B, T, C) and (B,) to (B, C)."""
    return hidden_states[torch.arange(hidden_states.shape[0], device=hidden_states.device), index]


def last_true(flags: torch.Tensor) -> torch.Tensor:
    """Index (B,) of the last true entry of each row (B, T); 0 where there is none."""
    return (torch.arange(flags.shape[1], device=flags.device) * flags).argmax(-1)


class FirstToken(nn.Module):
    """The first real token (BERT's [CLS]): under left padding that is not column 0."""

    def __init__(self, config: Any) -> None:
        super().__init__()

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        if is_padding_mask(attention_mask):
            return take(hidden_states, attention_mask.long().argmax(-1))
        return hidden_states[:, 0]


class MeanOfTokens(FirstToken):
    """The mean of the real tokens."""

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        if is_padding_mask(attention_mask):
            weights = attention_mask.to(hidden_states.dtype)
            return (hidden_states * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
        return hidden_states.mean(1)


class LastToken(nn.Module):
    """The last token whose id is not padding, as GPT-2's and Llama's classifiers have it; by the mask where ids or a
    padding id are missing; the last column where both are."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.is_real = {True: self.by_mask, False: self.by_ids}[config.pad_token_id is None]
        self.pad_token_id = config.pad_token_id

    def by_mask(self, input_ids: Any, attention_mask: Any) -> Any:
        return attention_mask.bool() if is_padding_mask(attention_mask) else None

    def by_ids(self, input_ids: Any, attention_mask: Any) -> Any:
        return self.by_mask(None, attention_mask) if input_ids is None else input_ids != self.pad_token_id

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        real = self.is_real(input_ids, attention_mask)
        return hidden_states[:, -1] if real is None else take(hidden_states, last_true(real))


class LastEos(nn.Module):
    """The last end-of-sequence token (T5, BART). Raises ValueError for a row without one, or without input ids."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        eos = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        if None in eos:
            raise ValueError('pooling="last_eos" needs eos_token_id in the configuration.')
        self.eos_token_ids = eos

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        if input_ids is None:
            raise ValueError('pooling="last_eos" finds the token by its id: give input_ids, not inputs_embeds.')
        torch_compilable_check(
            input_ids.shape == hidden_states.shape[:2],
            f"The end-of-sequence token is sought in input_ids {tuple(input_ids.shape)}, but there are hidden states "
            f"for {tuple(hidden_states.shape[:2])} tokens: give no decoder_input_ids, or ones as long as the source.",
        )
        is_eos = torch.stack([input_ids == eos for eos in self.eos_token_ids]).any(0)
        torch_compilable_check(
            is_eos.any(-1).all(), f"Every row needs an end-of-sequence token {self.eos_token_ids} to pool at."
        )
        return take(hidden_states, last_true(is_eos))


POOLINGS: dict[str, type[nn.Module]] = {
    "first": FirstToken,
    "mean": MeanOfTokens,
    "last_token": LastToken,
    "last_eos": LastEos,
    "late": MeanOfTokens,
}

# word of `classifier_dense` -> whether the pooled vector, and whether every token, goes through the dense layer
CLASSIFIER_DENSE: dict[str, tuple[bool, bool]] = {"none": (False, False), "pooled": (True, False), "all": (True, True)}


def make_classifier_dense(config: Any, for_tokens: bool) -> nn.Module:
    """The dense layer before a sequence classifier, or before a token classifier; the identity where there is none."""
    present = CLASSIFIER_DENSE[config.classifier_dense][for_tokens]
    return (
        HeadDense(config, config.classifier_act, config.classifier_norm, config.hidden_size)
        if present
        else nn.Identity()
    )


class Pooler(nn.Module):
    """One vector (B, C) for the sequence: pool, then the dense layer if there is one; or that layer on every token
    before it (late pooling, EuroBERT: Boizard et al. 2025, arXiv:2503.05500)."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        dense = make_classifier_dense(config, for_tokens=False)
        late = config.pooling == "late"
        self.before, self.transform = (dense, nn.Identity()) if late else (nn.Identity(), dense)
        self.pool = POOLINGS[config.pooling](config)

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        return self.transform(self.pool(self.before(hidden_states), input_ids, attention_mask))


class NoPooler(nn.Module):
    """A trunk that leaves pooling to its users."""

    def forward(self, hidden_states: torch.Tensor, input_ids: Any, attention_mask: Any) -> None:
        return None
