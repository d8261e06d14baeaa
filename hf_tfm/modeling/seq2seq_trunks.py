"""The two trunks of the encoder-decoder.

Legend: B batch, S source tokens, T target tokens, C hidden size.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import (
    MoEModelOutput,
    MoEModelOutputWithPastAndCrossAttentions,
)
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention import CrossAttention, own_cache
from .configuration_tfm import TfmSeq2SeqConfig
from .depth import decoder_of_pair, encoder_of_pair
from .modeling_tfm import RECORDED, TfmPreTrainedModel
from .packing import document_mask, refuse_packed_under_mask
from .padding import Rows, find_rows
from .parallel import keep_side
from .stack import MASKS, Stack, count_positions


class TfmSeq2SeqPreTrainedModel(TfmPreTrainedModel):
    """What trunks and heads of the encoder-decoder share."""

    config: TfmSeq2SeqConfig
    _auto_map = {
        "AutoConfig": "configuration_tfm.TfmSeq2SeqConfig",
        "AutoModel": "modeling_tfm_seq2seq.TfmSeq2SeqModel",
        "AutoModelForTextEncoding": "modeling_tfm_seq2seq.TfmSeq2SeqEncoderModel",
        "AutoModelForPreTraining": "modeling_tfm_seq2seq.TfmSeq2SeqForConditionalGeneration",
        "AutoModelForSeq2SeqLM": "modeling_tfm_seq2seq.TfmSeq2SeqForConditionalGeneration",
        "AutoModelForSequenceClassification": "modeling_tfm_seq2seq.TfmSeq2SeqForSequenceClassification",
        "AutoModelForQuestionAnswering": "modeling_tfm_seq2seq.TfmSeq2SeqForQuestionAnswering",
    }

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any) -> Any:
        """As the host's, for both tables. Raises ValueError where source and target vocabularies differ: which of the
        two is meant cannot be told."""
        config = self.config
        if config.decoder_vocab_size != config.vocab_size:
            raise ValueError(
                f"Source ({config.vocab_size}) and target vocabulary ({config.decoder_vocab_size}) differ; "
                "resize_token_embeddings cannot tell which one is meant."
            )
        trunk: Any = self.base_model
        if hasattr(trunk, "decoder") and not config.tie_encoder_decoder_embeddings:
            trunk.decoder._resize_token_embeddings(new_num_tokens, *args, **kwargs)
        table = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        config.decoder_vocab_size = config.vocab_size
        if hasattr(trunk, "decoder"):
            trunk.decoder.embed_tokens.num_embeddings = config.vocab_size
        return table


class TfmSeq2SeqEncoder(Stack, TfmSeq2SeqPreTrainedModel):
    """The encoder's stack: hidden states (B, S, C) of source tokens that all see each other."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        depth = encoder_of_pair(config.num_hidden_layers, config.decoder_layers)
        self.build_stack(config, is_causal=False, deepnorm=depth)
        self.post_init()

    def init_parallel_plans(self) -> None:
        super().init_parallel_plans()
        keep_side(self, "encoder.", "")

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> MoEModelOutput:
        embeds = self.look_up(input_ids, inputs_embeds)
        refuse_packed_under_mask(position_ids, attention_mask)
        rows = find_rows(self.config, Rows(embeds, attention_mask, position_ids))
        masks = self.masks(rows, and_mask_function=document_mask(rows.position_ids, rows.attention_mask))
        position_ids = count_positions(embeds, attention_mask, position_ids, None)
        return MoEModelOutput(last_hidden_state=self.run(rows, embeds, position_ids, masks, **kwargs))


class TfmSeq2SeqDecoder(Stack, TfmSeq2SeqPreTrainedModel):
    """The decoder's stack: hidden states (B, T, C) of target tokens that see themselves, what came before, and the
    whole memory `encoder_hidden_states` (B, S, C) where `encoder_attention_mask` (B, S) is 1."""

    _can_record_outputs = {
        **RECORDED,
        "cross_attentions": OutputRecorder(CrossAttention, index=1),
    }

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        depth = decoder_of_pair(config.decoder_layers)
        self.build_stack(config.decoder_view, is_causal=True, deepnorm=depth, memory_size=config.hidden_size)
        self.post_init()

    def init_parallel_plans(self) -> None:
        super().init_parallel_plans()
        keep_side(self, "decoder.", "")

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> MoEModelOutputWithPastAndCrossAttentions:
        embeds = self.look_up(input_ids, inputs_embeds)
        own = own_cache(past_key_values)
        if past_key_values is None:
            refuse_packed_under_mask(position_ids, attention_mask)
        rows = find_rows(
            self.config,
            Rows(embeds, attention_mask, position_ids, past_key_values, encoder_hidden_states, encoder_attention_mask),
        )
        position_ids = count_positions(embeds, attention_mask, position_ids, own)
        masks = self.masks(rows, position_ids=rows.position_ids)
        memory_mask = MASKS[False]["full_attention"](
            config=self.config,
            inputs_embeds=rows.frame,
            attention_mask=rows.memory_mask,
            encoder_hidden_states=rows.memory_frame,
        )
        cache = past_key_values
        if use_cache and past_key_values is None:
            cache = EncoderDecoderCache(DynamicCache(config=self.config.decoder_view), DynamicCache())
        hidden_states = self.run(
            rows,
            embeds,
            position_ids,
            masks,
            past_key_values=cache,
            memory=encoder_hidden_states,
            memory_context={"attention_mask": memory_mask, **rows.memory_context},
            use_cache=use_cache,
            **kwargs,
        )
        return MoEModelOutputWithPastAndCrossAttentions(last_hidden_state=hidden_states, past_key_values=cache)
