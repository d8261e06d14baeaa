"""Heads that encoder and decoder share: one class, one vector or one span per sequence, one class per token.

Mixins; the architecture's file adds the model below them. Legend: B batch, T tokens, C hidden size, n labels.
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

from .head_parts import make_classifier_dense, unit_length
from .loss import classification_loss, contrastive_loss
from .outputs import TfmTextEmbeddingOutput
from .width_scaling import readout


class SequenceClassification:
    """Logits (B, n) of the pooled sequence. `labels`: (B,) class or number, (B, n) several numbers or yes-or-no."""

    config: Any
    model: Any

    def build_head(self, config: Any) -> None:
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.num_labels = config.num_labels
        self.classifier = readout(nn.Linear(config.hidden_size, config.num_labels, bias=config.classifier_bias))

    def pool(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        """One vector (B, C) for the sequence."""
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
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutputWithPast:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            return_dict=True,
            **kwargs,
        )
        logits = self.classifier(self.dropout(self.pool(outputs, input_ids, attention_mask)))
        loss = None
        if labels is not None:
            loss = classification_loss(self.config.problem_type, logits, labels, num_items_in_batch)
        return SequenceClassifierOutputWithPast(
            loss=loss,
            logits=logits,
            past_key_values=outputs.get("past_key_values"),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class TextEmbedding:
    """One vector of unit length per text: pool (`pooling`), a dense layer with `classifier_dense="embedding"`, and
    divide by the norm, so that a dot product is the cosine similarity.   Reimers and Gurevych 2019, arXiv:1908.10084

    The embedding (B, C) is `pooler_output`; `last_hidden_state` (B, T, C) is that of the model without the head.
    `labels`: see `contrastive_loss`; the batch holds anchors first, then candidates."""

    config: Any
    model: Any

    def pool(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        """One vector (B, C) for the sequence."""
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
        temperature: float = 0.05,
        num_items_in_batch: torch.Tensor | int | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> TfmTextEmbeddingOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            return_dict=True,
            **kwargs,
        )
        embeddings = unit_length(self.pool(outputs, input_ids, attention_mask))
        loss = None if labels is None else contrastive_loss(embeddings, labels, temperature, num_items_in_batch)
        return TfmTextEmbeddingOutput(
            loss=loss,
            last_hidden_state=outputs.last_hidden_state,
            pooler_output=embeddings,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


class TokenHead:
    """What the two heads on single tokens share: the dense layer before the last projection, if there is one."""

    config: Any
    model: Any
    loss_function: Any

    def build_token_head(self, config: Any) -> None:
        self.transform = make_classifier_dense(config) if config.classifier_dense == "all" else None

    def transform_tokens(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states if self.transform is None else self.transform(hidden_states)


class TokenClassification(TokenHead):
    """Logits (B, T, n), one class per token; `labels` (B, T), -100 where nothing is scored."""

    def build_head(self, config: Any) -> None:
        self.loss_type = "ForTokenClassification"
        self.build_token_head(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.num_labels = config.num_labels
        self.classifier = readout(nn.Linear(config.hidden_size, config.num_labels, bias=config.classifier_bias))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            return_dict=True,
            **kwargs,
        )
        logits = self.classifier(self.dropout(self.transform_tokens(outputs.last_hidden_state)))
        loss = None if labels is None else self.loss_function(logits, labels, self.config, **kwargs)
        return TokenClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


class QuestionAnswering(TokenHead):
    """Logits (B, T) of the answer's first and last token; `start_positions`, `end_positions` (B,) in tokens. The loss
    is a mean over the micro-batch: accumulated steps equal the large batch where micro-batches are equally large."""

    def build_head(self, config: Any) -> None:
        self.loss_type = "ForQuestionAnswering"
        self.build_token_head(config)
        self.qa_outputs = readout(nn.Linear(config.hidden_size, 2))

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
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> QuestionAnsweringModelOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            past_key_values=past_key_values,
            return_dict=True,
            **kwargs,
        )
        start, end = self.qa_outputs(self.transform_tokens(outputs.last_hidden_state)).unbind(-1)
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
