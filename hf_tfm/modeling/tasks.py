"""Heads that encoder and decoder share: one class or span per sequence, one class per token.

Mixins; the architecture's file names the trunk. Legend: B batch, T tokens, C hidden size, n labels.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import (
    QuestionAnsweringModelOutput,
    SequenceClassifierOutputWithPast,
    TokenClassifierOutput,
)
from transformers.utils.generic import can_return_tuple

from .heads import make_classifier_dense
from .loss import CLASSIFICATION_LOSSES


class SequenceClassification:
    """Logits (B, n) of the pooled sequence. `labels`: (B,) class or number, (B, n) several numbers or yes-or-no."""

    config: Any
    model: Any

    def build_head(self, config: Any) -> None:
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels, bias=config.classifier_bias)

    def pooled(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        """The vector (B, C) that speaks for the sequence."""
        raise NotImplementedError

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutputWithPast:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.classifier(self.dropout(self.pooled(outputs, input_ids, attention_mask)))
        loss = None
        if labels is not None:
            loss = CLASSIFICATION_LOSSES[self.config.problem_type](logits, labels, num_items_in_batch)
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.get("past_key_values"),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class TokenTask:
    """What the two heads on single tokens share: the dense layer before the last projection, if there is one."""

    config: Any
    model: Any
    loss_function: Any

    def build_token_head(self, config: Any) -> None:
        self.transform = make_classifier_dense(config, for_tokens=True)


class TokenClassification(TokenTask):
    """Logits (B, T, n), one class per token; `labels` (B, T), -100 where nothing is scored."""

    def build_head(self, config: Any) -> None:
        self.loss_type = "ForTokenClassification"
        self.build_token_head(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels, bias=config.classifier_bias)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.classifier(self.dropout(self.transform(outputs.last_hidden_state)))
        loss = None if labels is None else self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class QuestionAnswering(TokenTask):
    """Logits (B, T) of the answer's first and last token; `start_positions`, `end_positions` (B,) in tokens. The loss
    is a mean over the micro-batch: accumulated steps equal the large batch where micro-batches are equally large."""

    def build_head(self, config: Any) -> None:
        self.loss_type = "ForQuestionAnswering"
        self.build_token_head(config)
        self.qa_outputs = nn.Linear(config.hidden_size, 2)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        start, end = self.qa_outputs(self.transform(outputs.last_hidden_state)).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start, end, start_positions, end_positions, **kwargs)
        return QuestionAnsweringModelOutput(
            loss=loss,
            start_logits=start,
            end_logits=end,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )
