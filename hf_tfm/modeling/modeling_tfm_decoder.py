"""The causal decoder: the model without a head, and its heads.

Legend: B batch, T tokens, S tokens seen, C hidden size, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .caches import check_cache
from .configuration_tfm import TfmDecoderConfig
from .depth_scaling import single_stack
from .distributed_checks import refuse_staged_cache
from .generation import TfmGenerationMixin
from .head_parts import EmbeddingPooler, LanguageHead, Pooler
from .loss import IGNORE_INDEX
from .masks import check_mask_values, check_packed_rows, count_positions
from .modeling_tfm import TfmPreTrainedModel, register_with_transformers
from .outputs import TfmCausalLMOutput, TfmDecoderOutput
from .stack import Stack
from .task_heads import QuestionAnswering, SequenceClassification, TextEmbedding, TokenClassification
from .unpadding import run_unpadded, unpad

# as in configuration_tfm.py, whose files transformers copies first
NEEDED_BESIDES = """
    from .blockwise_attention import
    from .fused_linear_cross_entropy import
    from .sequence_lengths import
    from .sliding_window_attention import
    from .varlen_attention import"""


class TfmDecoderPreTrainedModel(TfmPreTrainedModel):
    """What the decoder and its heads share."""

    config: TfmDecoderConfig
    _supports_context_parallel = True
    _auto_map = {
        "AutoConfig": "configuration_tfm.TfmDecoderConfig",
        "AutoModel": "modeling_tfm_decoder.TfmDecoderModel",
        "AutoModelForPreTraining": "modeling_tfm_decoder.TfmDecoderForCausalLM",
        "AutoModelForCausalLM": "modeling_tfm_decoder.TfmDecoderForCausalLM",
        "AutoModelForSequenceClassification": "modeling_tfm_decoder.TfmDecoderForSequenceClassification",
        "AutoModelForTokenClassification": "modeling_tfm_decoder.TfmDecoderForTokenClassification",
        "AutoModelForQuestionAnswering": "modeling_tfm_decoder.TfmDecoderForQuestionAnswering",
    }


class TfmDecoderModel(Stack, TfmDecoderPreTrainedModel):
    """Hidden states (B, T, C) of tokens that see themselves and what came before.

    `attention_mask`: (B, S) with 1 for real tokens, or a ready mask per layer type. `position_ids` (B, T): by default
    they count from the row's first real token; ids that start again inside a row (packed documents, no mask) keep
    documents apart."""

    def __init__(self, config: TfmDecoderConfig) -> None:
        super().__init__(config)
        self.build_stack(config, is_causal=True, deepnorm=single_stack(config.num_hidden_layers))
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        token_type_ids: None = None,
        **kwargs: Any,
    ) -> TfmDecoderOutput:
        if token_type_ids is not None:
            raise ValueError("Decoders have no token types; leave token_type_ids out.")
        embeds = self.embed_words(input_ids, inputs_embeds)
        if past_key_values is not None:
            check_cache(past_key_values, self.windows, embeds.shape[1])
        unpadded = None
        if attention_mask is not None or position_ids is not None:
            check_mask_values(attention_mask)
            if past_key_values is None:
                check_packed_rows(position_ids, attention_mask)
            unpadded = unpad(self.config, embeds, attention_mask, position_ids, past_key_values, use_cache)
        positions = count_positions(embeds, attention_mask, position_ids, past_key_values)
        if past_key_values is not None:
            self.position.check_cached_keys(positions, past_key_values)
        cache = past_key_values
        if use_cache and past_key_values is None:
            cache = DynamicCache(config=self.config)
        kwargs |= {"past_key_values": cache, "use_cache": use_cache}
        if unpadded is not None:
            hidden_states = run_unpadded(self, unpadded, embeds, positions, **kwargs)
        else:
            # made for the given cache: beside a new one, even empty, transformers would overlook packed rows
            masks = self.create_masks(embeds, attention_mask, past_key_values, position_ids=position_ids)
            biases = self.position.bias(embeds, past_key_values)
            hidden_states = self.run(embeds, positions, masks, biases, **kwargs)
        return TfmDecoderOutput(last_hidden_state=hidden_states, past_key_values=cache)


class TfmDecoderForCausalLM(LanguageHead, TfmDecoderPreTrainedModel, TfmGenerationMixin):
    """Next-token logits (B, T, V). With `labels` (B, T), equal to the input ids and -100 where nothing is scored, the
    loss in nats per scored token; the shift happens inside. `fused_loss`: that loss and no logits, with less memory."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}
    _pp_plan: Any = {"lm_head": (["hidden_states"], ["logits"])}
    _fsdp_plan = {"lm_head": "keep_full_weight"}

    def __init__(self, config: TfmDecoderConfig) -> None:
        super().__init__(config)
        self.model = TfmDecoderModel(config)
        self.build_language_head(config)
        self.loss_type = "ForCausalLM"
        self.post_init()

    def target_labels(self, labels: torch.Tensor, shift_labels: torch.Tensor | None = None, **kwargs: Any) -> Any:
        """The label of the next position, or the given `shift_labels`, (B, T)."""
        if shift_labels is not None:
            return shift_labels
        return nn.functional.pad(labels, (0, 1), value=IGNORE_INDEX)[..., 1:]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        fused_loss: bool | None = None,
        **kwargs: Any,
    ) -> TfmCausalLMOutput:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            **{**kwargs, **self.router_kwargs(labels)},
        )
        kept = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits, loss = self.logits_and_loss(kept, labels, fused_loss, **kwargs)
        scored = None if labels is None else labels[..., 1:]  # the shift leaves the first label out
        items = kwargs.get("num_items_in_batch")
        loss, aux_loss = self.add_load_balancing(loss, outputs.router_logits, attention_mask, scored, items)
        return TfmCausalLMOutput(
            loss=loss,
            aux_loss=aux_loss,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            router_logits=outputs.router_logits,
        )

    def _prepare_cache_for_generation(self, generation_config: Any, *args: Any, **kwargs: Any) -> None:
        # a private step of transformers: there is no public one between choosing a cache and using it
        refuse_staged_cache(self, generation_config.use_cache)
        super()._prepare_cache_for_generation(generation_config, *args, **kwargs)


class LabelledHead:
    """Mixin of heads with `labels`: their arguments in the order of Llama's heads."""

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        return super().forward(  # pyright: ignore[reportAttributeAccessIssue]
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            **kwargs,
        )


class TfmDecoderForSequenceClassification(LabelledHead, SequenceClassification, TfmDecoderPreTrainedModel):
    def __init__(self, config: TfmDecoderConfig) -> None:
        super().__init__(config)
        self.model = TfmDecoderModel(config)
        self.pooler = Pooler(config)
        self.build_head(config)
        self.post_init()

    def pool(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        return self.pooler(outputs.last_hidden_state, input_ids, attention_mask)


class TfmDecoderForTokenClassification(LabelledHead, TokenClassification, TfmDecoderPreTrainedModel):
    def __init__(self, config: TfmDecoderConfig) -> None:
        super().__init__(config)
        self.model = TfmDecoderModel(config)
        self.build_head(config)
        self.post_init()


class TfmDecoderForQuestionAnswering(QuestionAnswering, TfmDecoderPreTrainedModel):
    def __init__(self, config: TfmDecoderConfig) -> None:
        super().__init__(config)
        self.model = TfmDecoderModel(config)
        self.build_head(config)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        start_positions: torch.Tensor | None = None,
        end_positions: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As for an encoder; the arguments have the order of Llama's head."""
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            start_positions=start_positions,
            end_positions=end_positions,
            **kwargs,
        )


class TfmDecoderForTextEmbedding(TextEmbedding, TfmDecoderPreTrainedModel):
    _auto_map = TfmDecoderPreTrainedModel._auto_map | {"AutoModel": "modeling_tfm_decoder.TfmDecoderForTextEmbedding"}

    def __init__(self, config: TfmDecoderConfig) -> None:
        super().__init__(config)
        self.model = TfmDecoderModel(config)
        self.pooler = EmbeddingPooler(config)
        self.post_init()

    def pool(self, outputs: Any, input_ids: Any, attention_mask: Any) -> torch.Tensor:
        return self.pooler(outputs.last_hidden_state, input_ids, attention_mask)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """As for an encoder; the arguments have the order of `TfmDecoderModel`."""
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            labels=labels,
            **kwargs,
        )


TfmDecoderConfig.register_for_auto_class()
TfmDecoderForTextEmbedding.register_for_auto_class("AutoModel")
register_with_transformers(
    "tfm_decoder",
    {
        "AutoModel": TfmDecoderModel,
        "AutoModelForPreTraining": TfmDecoderForCausalLM,
        "AutoModelForCausalLM": TfmDecoderForCausalLM,
        "AutoModelForSequenceClassification": TfmDecoderForSequenceClassification,
        "AutoModelForTokenClassification": TfmDecoderForTokenClassification,
        "AutoModelForQuestionAnswering": TfmDecoderForQuestionAnswering,
    },
)
