"""The two stacks of the encoder-decoder.

Legend: B batch, S source tokens, T target tokens, C hidden size.
"""

from typing import Any

import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.output_capturing import OutputRecorder, capture_outputs

from .attention import CrossAttention
from .caches import check_cache, self_attention_cache
from .configuration_tfm import TfmSeq2SeqConfig
from .depth_scaling import decoder_of_seq2seq, encoder_of_seq2seq
from .distributed_checks import keep_plans_below
from .masks import BIDIRECTIONAL_MASKS, check_mask_values, check_packed_rows, count_positions
from .modeling_tfm import RECORDED, TfmPreTrainedModel
from .outputs import TfmSourceOutput, TfmTargetOutput
from .stack import Stack
from .unpadding import run_unpadded, unpad_with_memory


class TfmSeq2SeqPreTrainedModel(TfmPreTrainedModel):
    """What stacks and heads of the encoder-decoder share."""

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
        """As in transformers, for both tables. Raises ValueError where source and target vocabularies differ: it is
        not clear which of the two is meant."""
        config = self.config
        if config.decoder_vocab_size != config.vocab_size:
            raise ValueError(
                f"vocab_size={config.vocab_size} and decoder_vocab_size={config.decoder_vocab_size} differ; "
                "resize_token_embeddings cannot tell which one is meant."
            )
        model: Any = self.base_model
        if hasattr(model, "decoder") and not config.tie_encoder_decoder_embeddings:
            model.decoder._resize_token_embeddings(new_num_tokens, *args, **kwargs)
        table = super().resize_token_embeddings(new_num_tokens, *args, **kwargs)
        config.decoder_vocab_size = config.vocab_size
        if hasattr(model, "decoder"):
            model.decoder.embed_tokens.num_embeddings = config.vocab_size
        return table


class TfmSeq2SeqEncoder(Stack, TfmSeq2SeqPreTrainedModel):
    """The encoder's stack: hidden states (B, S, C) of source tokens that all see each other."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        deepnorm = encoder_of_seq2seq(config.num_hidden_layers, config.decoder_layers)
        self.build_stack(config, is_causal=False, deepnorm=deepnorm)
        self.post_init()

    def init_parallel_plans(self) -> None:
        super().init_parallel_plans()
        keep_plans_below(self, "encoder.", "")

    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TfmSourceOutput:
        embeds = self.embed_words(input_ids, inputs_embeds)
        return TfmSourceOutput(last_hidden_state=self.encode(embeds, attention_mask, position_ids, **kwargs))


class TfmSeq2SeqDecoder(Stack, TfmSeq2SeqPreTrainedModel):
    """The decoder's stack: hidden states (B, T, C) of target tokens that see themselves, what came before, and the
    whole memory `encoder_hidden_states` (B, S, C) where `encoder_attention_mask` (B, S) is 1."""

    _can_record_outputs = {
        **RECORDED,
        "cross_attentions": OutputRecorder(CrossAttention, index=1),
    }

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        deepnorm = decoder_of_seq2seq(config.decoder_layers)
        self.build_stack(config.decoder_view, is_causal=True, deepnorm=deepnorm, memory_size=config.hidden_size)
        self.post_init()

    def init_parallel_plans(self) -> None:
        super().init_parallel_plans()
        keep_plans_below(self, "decoder.", "")

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        past_key_values: EncoderDecoderCache | None = None,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> TfmTargetOutput:
        embeds = self.embed_words(input_ids, inputs_embeds)
        memory = encoder_hidden_states
        check_mask_values(attention_mask)
        check_mask_values(encoder_attention_mask)
        if past_key_values is None:
            check_packed_rows(position_ids, attention_mask)
        else:
            check_cache(past_key_values, self.windows, embeds.shape[1], memory)
        unpadded = None
        if memory is not None and (attention_mask is not None or encoder_attention_mask is not None):
            unpadded = unpad_with_memory(
                self.config, embeds, attention_mask, position_ids, past_key_values, memory, encoder_attention_mask
            )
        positions = count_positions(embeds, attention_mask, position_ids, self_attention_cache(past_key_values))
        if past_key_values is not None:
            self.position.check_cached_keys(positions, self_attention_cache(past_key_values))
        cache = past_key_values
        if use_cache and past_key_values is None:
            cache = EncoderDecoderCache(DynamicCache(config=self.config.decoder_view), DynamicCache())
        kwargs |= {"memory": memory, "past_key_values": cache, "use_cache": use_cache}
        if unpadded is not None:
            memory_mask = self.create_memory_mask(unpadded.frame, unpadded.memory_frame, None)
            memory_kwargs = {"attention_mask": memory_mask}
            hidden_states = run_unpadded(self, unpadded, embeds, positions, memory_kwargs=memory_kwargs, **kwargs)
        else:
            # made for the given cache: beside a new one, even empty, transformers would overlook packed rows
            masks = self.create_masks(embeds, attention_mask, past_key_values, position_ids=position_ids)
            biases = self.position.bias(embeds, self_attention_cache(past_key_values))
            memory_kwargs = {"attention_mask": self.create_memory_mask(embeds, memory, encoder_attention_mask)}
            hidden_states = self.run(embeds, positions, masks, biases, memory_kwargs=memory_kwargs, **kwargs)
        return TfmTargetOutput(last_hidden_state=hidden_states, past_key_values=cache)

    def create_memory_mask(self, embeds: torch.Tensor, memory: Any, memory_mask: Any) -> Any:
        """transformers' mask of the cross-attention."""
        return BIDIRECTIONAL_MASKS["full_attention"](
            config=self.config, inputs_embeds=embeds, attention_mask=memory_mask, encoder_hidden_states=memory
        )
