"""What models return beyond transformers' own outputs. Loss and logits come first, as users and Trainer expect.

Legend: B batch, T tokens, E experts.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers.modeling_outputs import (
    BaseModelOutput,
    BaseModelOutputWithPast,
    BaseModelOutputWithPastAndCrossAttentions,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
    MaskedLMOutput,
)

# what an output holds beside predictions, which Trainer leaves out of them
BESIDE_PREDICTIONS = (
    "past_key_values", "hidden_states", "attentions", "cross_attentions", "aux_loss", "router_logits",
    "decoder_hidden_states", "decoder_attentions", "decoder_aux_loss", "decoder_router_logits",
    "encoder_hidden_states", "encoder_attentions", "encoder_aux_loss", "encoder_router_logits",
    "encoder_last_hidden_state",
)  # fmt: skip


class RouterLogits:
    """Mixin of the outputs of models without a head: router logits (B x T, E) of each layer that has experts."""

    def __setitem__(self, key: str, value: Any) -> None:
        # transformers records an empty tuple where no layer has experts, and its load-balancing loss takes None only
        if key != "router_logits" or value:
            super().__setitem__(key, value)  # pyright: ignore[reportAttributeAccessIssue]


@dataclass
class TfmEncoderOutput(RouterLogits, BaseModelOutputWithPooling):
    """Output of an encoder."""

    router_logits: tuple[torch.Tensor, ...] | None = None


@dataclass
class TfmDecoderOutput(RouterLogits, BaseModelOutputWithPast):
    """Output of a decoder."""

    router_logits: tuple[torch.Tensor, ...] | None = None


@dataclass
class TfmSourceOutput(RouterLogits, BaseModelOutput):
    """Output of the encoder of an encoder-decoder."""

    router_logits: tuple[torch.Tensor, ...] | None = None


@dataclass
class TfmTargetOutput(RouterLogits, BaseModelOutputWithPastAndCrossAttentions):
    """Output of the decoder of an encoder-decoder."""

    router_logits: tuple[torch.Tensor, ...] | None = None


@dataclass
class TfmTextEmbeddingOutput(BaseModelOutputWithPooling):
    """transformers' output with the loss."""

    loss: torch.Tensor | None = None


@dataclass
class TfmMaskedLMOutput(MaskedLMOutput):
    """transformers' output with the experts' load-balancing loss and router logits."""

    aux_loss: torch.Tensor | None = None
    router_logits: tuple[torch.Tensor, ...] | None = None


@dataclass
class TfmCausalLMOutput(CausalLMOutputWithPast):
    """The same for a decoder; transformers' output for experts has the load-balancing loss before the logits."""

    aux_loss: torch.Tensor | None = None
    router_logits: tuple[torch.Tensor, ...] | None = None
