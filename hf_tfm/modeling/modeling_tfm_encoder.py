"""The bidirectional encoder: the model without a head, and its heads.

Legend: B batch, T tokens, c choices, C hidden size, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import MultipleChoiceModelOutput
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .configuration_tfm import TfmEncoderConfig
from .depth_scaling import single_stack
from .head_parts import EmbeddingPooler, LanguageHead, Pooler
from .loss import single_label_loss
from .modeling_tfm import TfmPreTrainedModel, register_with_transformers
from .outputs import TfmEncoderOutput, TfmMaskedLMOutput
from .stack import Stack
from .task_heads import QuestionAnswering, SequenceClassification, TextEmbedding, TokenClassification
from .width_scaling import readout

# as in configuration_tfm.py, whose files transformers copies first
NEEDED_BESIDES = """
    from .blockwise_attention import
    from .distributed_checks import
    from .fused_linear_cross_entropy import
    from .sequence_lengths import
    from .sliding_window_attention import
    from .unpadding import
    from .varlen_attention import"""


class TfmEncoderPreTrainedModel(TfmPreTrainedModel):
    """What the encoder and its heads share."""

    config: TfmEncoderConfig
    _auto_map = {
        "AutoConfig": "configuration_tfm.TfmEncoderConfig",
        "AutoModel": "modeling_tfm_encoder.TfmEncoderModel",
        "AutoModelForTextEncoding": "modeling_tfm_encoder.TfmEncoderModel",
        "AutoModelForPreTraining": "modeling_tfm_encoder.TfmEncoderForMaskedLM",
        "AutoModelForMaskedLM": "modeling_tfm_encoder.TfmEncoderForMaskedLM",
        "AutoModelForSequenceClassification": "modeling_tfm_encoder.TfmEncoderForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_tfm_encoder.TfmEncoderForTokenClassification",
        "AutoModelForQuestionAnswering": "modeling_tfm_encoder.TfmEncoderForQuestionAnswering",
        "AutoModelForMultipleChoice": "modeling_tfm_encoder.TfmEncoderForMultipleChoice",
    }

    def save_pretrained(self, save_directory: Any, *args: Any, **kwargs: Any) -> None:
        """As in transformers. `add_pooling_layer` becomes False where the head has no such layer: AutoModel would open
        the checkpoint with a random one."""
        with torch.device("meta"):
            needed = parameter_names(Pooler(self.config))
        pooler = getattr(self.base_model, "pooler", None)
        self.config.add_pooling_layer &= pooler is not None and needed <= parameter_names(pooler)
        super().save_pretrained(save_directory, *args, **kwargs)


def parameter_names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


class TokenTypes(nn.Module):
    """A learned vector per token type, added to the word; type 0 where none is given.   Devlin et al. 2019."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.type_vocab_size, config.embedding_size)

    def forward(self, embeds: torch.Tensor, token_type_ids: torch.Tensor | None) -> torch.Tensor:
        if token_type_ids is None:
            token_type_ids = torch.zeros(1, dtype=torch.long, device=embeds.device)
        return embeds + self.embedding(token_type_ids)


class TfmEncoderModel(Stack, TfmEncoderPreTrainedModel):
    """Hidden states (B, T, C) of tokens that all see each other.

    `attention_mask`: (B, T) with 1 for real tokens. `position_ids` (B, T): by default
    they count from the row's first real token; ids that start again inside a row (packed documents, no mask) keep
    documents apart."""

    def __init__(self, config: TfmEncoderConfig, add_pooling_layer: bool | None = None) -> None:
        super().__init__(config)
        self.build_stack(config, is_causal=False, deepnorm=single_stack(config.num_hidden_layers))
        self.token_types = TokenTypes(config) if config.type_vocab_size else None
        pools = config.add_pooling_layer if add_pooling_layer is None else add_pooling_layer
        self.pooler = Pooler(config) if pools else None
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TfmEncoderOutput:
        embeds = self.embed_words(input_ids, inputs_embeds)
        if self.token_types is not None:
            embeds = self.token_types(embeds, token_type_ids)
        elif token_type_ids is not None:
            raise ValueError(
                "This model has no token types (type_vocab_size=0); leave token_type_ids out: "
                "tokenizer(..., return_token_type_ids=False)."
            )
        hidden_states = self.encode(embeds, attention_mask, position_ids, **kwargs)
        pooled = None if self.pooler is None else self.pooler(hidden_states, input_ids, attention_mask)
        return TfmEncoderOutput(last_hidden_state=hidden_states, pooler_output=pooled)


class TfmEncoderForMaskedLM(LanguageHead, TfmEncoderPreTrainedModel):
    """Logits (B, T, V) of the token at each position. `labels` (B, T): the true token where masked, -100 elsewhere.
    `fused_loss`: their loss and no logits, computed at the labelled places only."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: TfmEncoderConfig) -> None:
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=False)
        self.build_language_head(config)
        self.loss_type = "ForMaskedLM"
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        fused_loss: bool | None = None,
        **kwargs: Any,
    ) -> TfmMaskedLMOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            token_type_ids=token_type_ids,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **{**kwargs, **self.router_kwargs(labels)},
        )
        logits, loss = self.logits_and_loss(outputs.last_hidden_state, labels, fused_loss, **kwargs)
        items = kwargs.get("num_items_in_batch")
        loss, aux_loss = self.add_load_balancing(loss, outputs.router_logits, attention_mask, labels, items)
        return TfmMaskedLMOutput(
            loss=loss,
            aux_loss=aux_loss,
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_logits=outputs.router_logits,
        )


class TfmEncoderForSequenceClassification(SequenceClassification, TfmEncoderPreTrainedModel):
    def __init__(self, config: TfmEncoderConfig) -> None:
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=True)
        self.build_head(config)
        self.post_init()

    def pool(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        return outputs.pooler_output


class TfmEncoderForTextEmbedding(TextEmbedding, TfmEncoderPreTrainedModel):
    _auto_map = TfmEncoderPreTrainedModel._auto_map | {"AutoModel": "modeling_tfm_encoder.TfmEncoderForTextEmbedding"}

    def __init__(self, config: TfmEncoderConfig) -> None:
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=False)
        self.model.pooler = EmbeddingPooler(config)
        self.post_init()

    def pool(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        return outputs.pooler_output


class TfmEncoderForTokenClassification(TokenClassification, TfmEncoderPreTrainedModel):
    def __init__(self, config: TfmEncoderConfig) -> None:
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=False)
        self.build_head(config)
        self.post_init()


class TfmEncoderForQuestionAnswering(QuestionAnswering, TfmEncoderPreTrainedModel):
    def __init__(self, config: TfmEncoderConfig) -> None:
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=False)
        self.build_head(config)
        self.post_init()


def flatten_choices(choices: torch.Tensor | None) -> torch.Tensor | None:
    """(B, c, T, ...) to (B c, T, ...); None stays None."""
    return None if choices is None else choices.flatten(0, 1)


class TfmEncoderForMultipleChoice(TfmEncoderPreTrainedModel):
    """Logits (B, c), one per choice; every input is (B, c, T) and `labels` (B,) names the right choice."""

    def __init__(self, config: TfmEncoderConfig) -> None:
        super().__init__(config)
        self.model = TfmEncoderModel(config, add_pooling_layer=True)
        self.dropout = nn.Dropout(config.classifier_dropout or 0.0)
        self.classifier = readout(nn.Linear(config.hidden_size, 1, bias=config.classifier_bias))
        self.post_init()

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
    ) -> MultipleChoiceModelOutput:
        given = inputs_embeds if input_ids is None else input_ids
        if given is None:
            raise ValueError("Give exactly one of input_ids and inputs_embeds.")
        outputs = self.model(
            input_ids=flatten_choices(input_ids),
            attention_mask=flatten_choices(attention_mask),
            token_type_ids=flatten_choices(token_type_ids),
            position_ids=flatten_choices(position_ids),
            inputs_embeds=flatten_choices(inputs_embeds),
            return_dict=True,
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.pooler_output)).view(-1, given.shape[1])
        loss = None if labels is None else single_label_loss(logits, labels, num_items_in_batch)
        return MultipleChoiceModelOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


TfmEncoderConfig.register_for_auto_class()
TfmEncoderForTextEmbedding.register_for_auto_class("AutoModel")
register_with_transformers(
    "tfm_encoder",
    {
        "AutoModelForTextEncoding": TfmEncoderModel,
        "AutoModel": TfmEncoderModel,
        "AutoModelForPreTraining": TfmEncoderForMaskedLM,
        "AutoModelForMaskedLM": TfmEncoderForMaskedLM,
        "AutoModelForSequenceClassification": TfmEncoderForSequenceClassification,
        "AutoModelForTokenClassification": TfmEncoderForTokenClassification,
        "AutoModelForQuestionAnswering": TfmEncoderForQuestionAnswering,
        "AutoModelForMultipleChoice": TfmEncoderForMultipleChoice,
    },
)
