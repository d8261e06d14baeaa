"""The encoder-decoder: the model that joins its two stacks, and the heads.

Legend: B batch, S source tokens, T target tokens, C hidden size, V vocabulary.
"""

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache, StaticCache
from transformers.masking_utils import create_masks_for_generate
from transformers.modeling_outputs import BaseModelOutput, MoEModelOutput, Seq2SeqMoEModelOutput, Seq2SeqMoEOutput
from transformers.modeling_utils import slice_logits_to_keep
from transformers.utils.generic import can_return_tuple

from .caches import check_both_parts
from .configuration_tfm import TfmSeq2SeqConfig
from .decoder_inputs import DECODER_SHIFTS, mask_after_last_label
from .distributed_checks import keep_plans_below
from .generation import TfmGenerationMixin
from .head_parts import LanguageHead
from .modeling_tfm import register_with_transformers
from .seq2seq_heads import Seq2SeqClassification, Seq2SeqQuestionAnswering
from .seq2seq_stacks import TfmSeq2SeqDecoder, TfmSeq2SeqEncoder, TfmSeq2SeqPreTrainedModel

# as in configuration_tfm.py, whose files transformers copies first
NEEDED_BESIDES = """
    from .blockwise_attention import
    from .fused_linear_cross_entropy import
    from .sequence_lengths import
    from .sliding_window_attention import
    from .stack import
    from .task_heads import
    from .unpadding import
    from .varlen_attention import"""


class TfmSeq2SeqModel(TfmSeq2SeqPreTrainedModel):
    """Encoder and decoder joined: hidden states (B, T, C) of the decoder for given decoder ids."""

    _tied_weights_keys = {"decoder.embed_tokens.weight": "encoder.embed_tokens.weight"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = TfmSeq2SeqEncoder(config)
        self.decoder = TfmSeq2SeqDecoder(config)
        self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        return dict(self._tied_weights_keys) if self.config.tie_encoder_decoder_embeddings else {}

    def get_input_embeddings(self) -> torch.nn.Module:
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: Any) -> None:
        self.encoder.embed_tokens = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Seq2SeqMoEModelOutput:
        if past_key_values is not None:
            check_both_parts(past_key_values)
        if encoder_outputs is None:
            encoder_outputs = self.encoder(
                input_ids=input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                inputs_embeds=inputs_embeds,
                return_dict=True,
                **kwargs,
            )
        elif not isinstance(encoder_outputs, BaseModelOutput | MoEModelOutput):
            encoder_outputs = BaseModelOutput(*encoder_outputs)
        outputs = self.decoder(
            input_ids=decoder_input_ids,
            attention_mask=decoder_attention_mask,
            position_ids=decoder_position_ids,
            encoder_hidden_states=encoder_outputs.last_hidden_state,
            encoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        return Seq2SeqMoEModelOutput(
            last_hidden_state=outputs.last_hidden_state,
            past_key_values=outputs.past_key_values,
            decoder_hidden_states=outputs.hidden_states,
            decoder_attentions=outputs.attentions,
            decoder_router_logits=outputs.get("router_logits"),
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=encoder_outputs.last_hidden_state,
            encoder_hidden_states=encoder_outputs.hidden_states,
            encoder_attentions=encoder_outputs.attentions,
            encoder_router_logits=encoder_outputs.get("router_logits"),
        )


class TfmSeq2SeqEncoderModel(TfmSeq2SeqPreTrainedModel):
    """The encoder alone (AutoModelForTextEncoding), loading the same keys. AutoModel opens its checkpoints with this
    class, and those of other heads with `TfmSeq2SeqModel`."""

    _auto_map = TfmSeq2SeqPreTrainedModel._auto_map | {"AutoModel": "modeling_tfm_seq2seq.TfmSeq2SeqEncoderModel"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.encoder = TfmSeq2SeqEncoder(config)
        self.post_init()

    def init_parallel_plans(self) -> None:
        super().init_parallel_plans()
        keep_plans_below(self, "encoder.", "encoder.")

    def get_input_embeddings(self) -> nn.Module:
        return self.encoder.embed_tokens

    def set_input_embeddings(self, value: Any) -> None:
        self.encoder.embed_tokens = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        return self.encoder(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            return_dict=True,
            **kwargs,
        )


class TfmSeq2SeqForConditionalGeneration(LanguageHead, TfmSeq2SeqPreTrainedModel, TfmGenerationMixin):
    """Logits (B, T, V) of the next target token. `labels` (B, T) become decoder inputs by the configured shift where
    none are given; -100 is not scored; the loss is in nats per scored token. `fused_loss`: the loss and no logits."""

    _tied_weights_keys = {"lm_head.weight": "model.decoder.embed_tokens.weight"}
    _tp_plan = {"lm_head": "colwise_gather_output"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = TfmSeq2SeqModel(config)
        self.build_language_head(config.decoder_view)
        self.decoder_inputs = DECODER_SHIFTS[config.decoder_shift](config)
        # labels are shifted into the decoder's inputs: transformers' loss for this class name would shift again
        self.loss_type = "ForMaskedLM"
        self.post_init()

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        # each tie acts alone: Marian ties the head without the tables, T5 v1.1 the tables without the head
        tied = {f"model.{k}": f"model.{v}" for k, v in self.model.get_expanded_tied_weights_keys().items()}
        table = "model.decoder.embed_tokens.weight"
        return {**tied, "lm_head.weight": tied.get(table, table)} if self.config.tie_word_embeddings else tied

    def prepare_decoder_input_ids_from_labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Decoder inputs (B, T) for labels (B, T), for collators."""
        return self.decoder_inputs.from_labels(labels)

    def target_mask(self, mask: Any, position_ids: Any, labels: torch.Tensor | None, fused_loss: bool | None) -> Any:
        """The given mask of target tokens (B, T). Where there is none, one that hides what comes after the last label,
        which the fused loss does not read. The load-balancing loss does, and given positions may separate documents,
        which a mask would join."""
        if mask is not None or position_ids is not None or labels is None or self.load_balancing is not None:
            return mask
        return mask_after_last_label(labels) if self.uses_fused_loss(fused_loss) else None

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        decoder_inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        decoder_position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        fused_loss: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqMoEOutput:
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.decoder_inputs.from_labels(labels)
        target_mask = self.target_mask(decoder_attention_mask, decoder_position_ids, labels, fused_loss)
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            decoder_input_ids=decoder_input_ids,
            decoder_attention_mask=target_mask,
            decoder_position_ids=decoder_position_ids,
            encoder_outputs=encoder_outputs,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            decoder_inputs_embeds=decoder_inputs_embeds,
            use_cache=use_cache,
            return_dict=True,
            **{**kwargs, **self.router_kwargs(labels)},
        )
        kept = slice_logits_to_keep(outputs.last_hidden_state, logits_to_keep)
        logits, loss = self.logits_and_loss(kept, labels, fused_loss, **kwargs)
        items = kwargs.get("num_items_in_batch")
        loss, source_aux = self.add_load_balancing(loss, outputs.encoder_router_logits, attention_mask, labels, items)
        loss, target_aux = self.add_load_balancing(
            loss, outputs.decoder_router_logits, decoder_attention_mask, labels, items
        )
        return Seq2SeqMoEOutput(
            loss=loss,
            logits=logits,
            encoder_aux_loss=source_aux,
            decoder_aux_loss=target_aux,
            past_key_values=outputs.past_key_values,
            decoder_hidden_states=outputs.decoder_hidden_states,
            decoder_attentions=outputs.decoder_attentions,
            decoder_router_logits=outputs.decoder_router_logits,
            cross_attentions=outputs.cross_attentions,
            encoder_last_hidden_state=outputs.encoder_last_hidden_state,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
            encoder_router_logits=outputs.encoder_router_logits,
        )

    def create_masks_for_generate(self, config: Any, **kwargs: Any) -> Any:
        # transformers would read the encoder's layer types
        return create_masks_for_generate(config=config.decoder_view, **kwargs)

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        # a private step of transformers: there is no public one between making the cache and using it
        super()._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)
        cache = model_kwargs.get("past_key_values")
        # transformers gives the memory's cache the decoder's windows, which would forget the beginning of the source
        if isinstance(cache, EncoderDecoderCache) and not any(cache.is_updated.values()):
            memory_cache = cache.cross_attention_cache
            if isinstance(memory_cache, StaticCache):
                full = self.config.get_text_config(decoder=True)
                full.layer_types, full.sliding_window = ["full_attention"] * full.num_hidden_layers, None
                length = model_kwargs["encoder_outputs"][0].shape[1]
                cache.cross_attention_cache = StaticCache(config=full, max_cache_len=length)
            elif isinstance(memory_cache, DynamicCache):
                cache.cross_attention_cache = DynamicCache()


class TfmSeq2SeqForSequenceClassification(Seq2SeqClassification, TfmSeq2SeqPreTrainedModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = TfmSeq2SeqModel(config)
        self.build_head(config)
        self.post_init()


class TfmSeq2SeqForQuestionAnswering(Seq2SeqQuestionAnswering, TfmSeq2SeqPreTrainedModel):
    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = TfmSeq2SeqModel(config)
        self.build_head(config)
        self.post_init()


TfmSeq2SeqConfig.register_for_auto_class()
register_with_transformers(
    "tfm_seq2seq",
    {
        "AutoModelForTextEncoding": TfmSeq2SeqEncoderModel,
        "AutoModel": TfmSeq2SeqModel,
        "AutoModelForPreTraining": TfmSeq2SeqForConditionalGeneration,
        "AutoModelForSeq2SeqLM": TfmSeq2SeqForConditionalGeneration,
        "AutoModelForSequenceClassification": TfmSeq2SeqForSequenceClassification,
        "AutoModelForQuestionAnswering": TfmSeq2SeqForQuestionAnswering,
    },
)
