"""What the heads that generate text add to `GenerationMixin`, and refuse.

Legend: B batch, T tokens.
"""

from typing import Any

import torch
from transformers import GenerationMixin
from transformers.generation.configuration_utils import GenerationMode

from .caches import self_attention_cache
from .modeling_tfm import has_score_bias


class TfmGenerationMixin(GenerationMixin):
    """Where rotary frequencies change with the length of the batch (longrope, dynamic), the cache is emptied and filled
    again with the keys of the new ones, as Phi-3 does, so that text is the same with and without a cache."""

    config: Any

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.Tensor,
        next_sequence_length: int | None = None,
        past_key_values: Any = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """As in transformers, with all tokens (B, T) instead of the last `next_sequence_length` where keys in the cache
        no longer fit. Raises ValueError where these are not keys of `input_ids`."""
        position = self.decoder_position()
        if position.has_changing_keys and past_key_values is not None and next_sequence_length is not None:
            cache = self_attention_cache(past_key_values)
            seen, length = int(cache.get_seq_length()), self.batch_length(input_ids, kwargs)
            reason = position.outdated_keys(length - next_sequence_length, length) if seen else None
            if reason is not None:
                if seen + next_sequence_length != input_ids.shape[1] or inputs_embeds is not None:
                    raise ValueError(
                        f"The keys in the cache no longer fit: {reason}. They cannot be computed again, since "
                        "input_ids do not hold all tokens: give the prompt as input_ids, not as vectors or a prefix."
                    )
                cache.reset()
                next_sequence_length = None
        return super().prepare_inputs_for_generation(  # pyright: ignore[reportAttributeAccessIssue]
            input_ids,
            next_sequence_length=next_sequence_length,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )

    def decoder_position(self) -> Any:
        """The positional encoding of the stack that generates."""
        return self.get_decoder().position  # pyright: ignore[reportAttributeAccessIssue]

    def batch_length(self, input_ids: torch.Tensor, kwargs: dict[str, Any]) -> int:
        """Tokens of the longest row (B, T), padding not counted, from what `generate` hands to the model."""
        prefix = "decoder_" if self.config.is_encoder_decoder else ""
        positions, mask = kwargs.get(f"{prefix}position_ids"), kwargs.get(f"{prefix}attention_mask")
        if positions is not None:
            return int(positions.max()) + 1
        return input_ids.shape[1] if mask is None else int(mask.sum(-1).max())

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], generation_mode: Any, *args: Any, **kwargs: Any
    ) -> None:
        # a private step of transformers: there is no public one between choosing the mode and generating
        if generation_mode == GenerationMode.ASSISTED_GENERATION:
            positions = model_kwargs.get("position_ids")
            prompt = 1 if positions is None else int(positions.max()) + 1
            reason = self.decoder_position().outdated_keys(prompt, generation_config.max_length)
            if reason is not None:
                raise ValueError(
                    f"Assisted decoding would give other text up to {generation_config.max_length} tokens: it reads "
                    f"several tokens at once, and {reason}. Generate fewer tokens, or without an assistant."
                )
        super()._prepare_cache_for_generation(  # pyright: ignore[reportAttributeAccessIssue]
            generation_config, model_kwargs, generation_mode, *args, **kwargs
        )

    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> Any:
        """As in transformers. Raises ValueError where it would drop what is configured."""
        # generate_batch and cache_implementation="paged" come through here too
        self.check_continuous_batching()
        return super().init_continuous_batching(*args, **kwargs)

    def check_continuous_batching(self) -> None:
        """Raises ValueError naming what continuous batching would drop. It packs all requests into one row and keeps
        their keys in pages, where a score bias has no distances and a request no length of its own, and reads a window
        of one token as no window."""
        config = self.config
        dropped = {
            f'position_type="{config.position_type}", a score bias': has_score_bias(config),
            "rope_parameters with frequencies that change with the length": self.decoder_position().has_changing_keys,
            "sliding_window=1": config.sliding_window == 1 and "sliding_attention" in config.layer_types,
            f'the encoder of model_type="{config.model_type}"': config.is_encoder_decoder,
        }
        for feature in [feature for feature, configured in dropped.items() if configured]:
            raise ValueError(
                f"Continuous batching does not support {feature}, and would give wrong text. Use model.generate, "
                "padded on the left."
            )
