"""Heads of the encoder-decoder that need no target: the decoder reads the source, shifted by one.

Mixins; the architecture's file adds the model below them. Legend: B batch, T tokens, n labels.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import Seq2SeqQuestionAnsweringModelOutput, Seq2SeqSequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from .decoder_inputs import DECODER_SHIFTS
from .head_parts import Pooler
from .loss import classification_loss
from .task_heads import TokenHead
from .width_scaling import readout


class Seq2SeqHead:
    """Mixin: the decoder reads what the caller gives, else the shifted source (BART)."""

    config: Any
    model: Any
    decoder_inputs: Any

    def run_model(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: Any,
        decoder_input_ids: torch.Tensor | None,
        decoder_attention_mask: Any,
        decoder_inputs_embeds: torch.Tensor | None,
        **kwargs: Any,
    ) -> tuple[Any, torch.Tensor | None, Any]:
        """The model's output, with ids and mask of the tokens that its hidden states (B, T, C) stand for: of the given
        decoder inputs, or of the source, each of whose tokens is read one place later and predicted at its own."""
        ids, mask = decoder_input_ids, decoder_attention_mask
        if decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids, source_mask = self.decoder_inputs.from_source(input_ids, attention_mask)
            ids, mask = input_ids, source_mask if decoder_attention_mask is None else decoder_attention_mask
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=mask,
            decoder_inputs_embeds=decoder_inputs_embeds,
            return_dict=True,
            **kwargs,
        )
        return outputs, ids, mask


class Seq2SeqClassification(Seq2SeqHead):
    """Logits (B, n) of the decoder's states, pooled by the ids and the mask of `Seq2SeqHead.run_model`."""

    def build_head(self, config: Any) -> None:
        self.decoder_inputs = DECODER_SHIFTS[config.decoder_shift](config)
        self.pooler = Pooler(config.decoder_view)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.num_labels = config.num_labels
        self.classifier = readout(nn.Linear(config.decoder_hidden_size, config.num_labels, bias=config.classifier_bias))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
        **kwargs: Any,
    ) -> Seq2SeqSequenceClassifierOutput:
        outputs, ids, mask = self.run_model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            decoder_inputs_embeds,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        pooled = self.pooler(outputs.last_hidden_state, ids, mask)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            loss = classification_loss(self.config.problem_type, logits, labels, num_items_in_batch)
        return Seq2SeqSequenceClassifierOutput(loss=loss, logits=logits, **model_outputs(outputs))


class Seq2SeqQuestionAnswering(Seq2SeqHead, TokenHead):
    """Logits (B, T) of the answer's first and last token, from the decoder run on the shifted source (BART)."""

    def build_head(self, config: Any) -> None:
        self.decoder_inputs = DECODER_SHIFTS[config.decoder_shift](config)
        self.build_token_head(config.decoder_view)
        self.loss_type = "ForQuestionAnswering"
        self.qa_outputs = readout(nn.Linear(config.decoder_hidden_size, 2))

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqQuestionAnsweringModelOutput:
        outputs, _, _ = self.run_model(
            input_ids,
            attention_mask,
            decoder_input_ids,
            decoder_attention_mask,
            decoder_inputs_embeds,
            encoder_outputs=encoder_outputs,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        start, end = self.qa_outputs(self.transform_tokens(outputs.last_hidden_state)).unbind(-1)
        loss = None
        if start_positions is not None and end_positions is not None:
            loss = self.loss_function(start, end, start_positions, end_positions, **kwargs)
        return Seq2SeqQuestionAnsweringModelOutput(
            loss=loss, start_logits=start, end_logits=end, **model_outputs(outputs)
        )


def model_outputs(outputs: Any) -> dict[str, Any]:
    """The cache and what was recorded, for the output of a head."""
    names = (
        "past_key_values",
        "decoder_hidden_states",
        "decoder_attentions",
        "cross_attentions",
        "encoder_last_hidden_state",
        "encoder_hidden_states",
        "encoder_attentions",
    )
    return {name: outputs.get(name) for name in names}
