"""The stack: words in, positions, N blocks, final norm. A trunk is a stack; what the three trunks share is here.

Legend: B batch, T tokens, C hidden size, E embedding size.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
)

from .absence import make_dropout, unchanged
from .attention import own_cache
from .block import WIRINGS, TfmBlock
from .depth import DEPTH_SCALINGS, DeepNorm
from .normalization import make_norm
from .packing import is_padding_mask
from .padding import Rows
from .position import POSITIONS

# whether the stack is causal -> mask maker of the host per layer type
MASKS: dict[bool, dict[str, Callable]] = {
    True: {"full_attention": create_causal_mask, "sliding_attention": create_sliding_window_causal_mask},
    False: {
        "full_attention": create_bidirectional_mask,
        "sliding_attention": create_bidirectional_sliding_window_mask,
    },
}


class ScaledEmbedding(nn.Embedding):
    """A word table whose vectors are multiplied by `embed_scale` on the way out."""

    def __init__(self, num_embeddings: int, embedding_dim: int, embed_scale: float) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.embed_scale = embed_scale

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids) * self.embed_scale


def make_word_table(config: Any) -> nn.Embedding:
    """The table (vocabulary, E); a plain one where nothing is scaled."""
    size = (config.vocab_size, config.embedding_size)
    return nn.Embedding(*size) if config.embedding_scale == 1.0 else ScaledEmbedding(*size, config.embedding_scale)


class Stack:
    """Mixin of the trunks, which are PreTrainedModels with the stack's parts as their own attributes."""

    config: Any

    def build_stack(self, config: Any, is_causal: bool, deepnorm: DeepNorm, memory_size: int | None = None) -> None:
        """Make the parts. `config` may be a view; `memory_size` is the width of the memory, None without one."""
        wiring, width = WIRINGS[config.residual_type], config.embedding_size
        self.embed_tokens = make_word_table(config)
        self.embed_tokens_norm = make_norm(config, config.embedding_norm == "before_positions", width)
        self.position = POSITIONS[config.position_type](config, is_causal)
        self.embed_norm = make_norm(config, config.embedding_norm == "after_positions", width)
        self.embed_dropout = make_dropout(config.embedding_dropout)
        self.embed_projection = unchanged if width == config.hidden_size else nn.Linear(width, config.hidden_size)

        weighted_skip, set_init = DEPTH_SCALINGS[config.depth_scaling]
        skip = deepnorm.alpha if weighted_skip else 1.0
        self.layers = nn.ModuleList(
            TfmBlock(config, i, is_causal, memory_size, skip) for i in range(config.num_hidden_layers)
        )
        set_init(self.layers, config, deepnorm)
        # the plans of the host name it, so it is a module even where it does nothing
        self.norm = make_norm(config) if wiring.final_norm else nn.Identity()
        self.layer_types = config.layer_types
        self.mask_makers = {kind: MASKS[is_causal][kind] for kind in dict.fromkeys(config.layer_types)}
        self.gradient_checkpointing = False

    def look_up(self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
        """Word vectors (B, T, E). Raises ValueError unless exactly one of the two is given."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of (decoder_)input_ids and (decoder_)inputs_embeds.")
        return self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds

    def masks(self, rows: Rows, **more: Any) -> dict[str, Any]:
        """The host's mask for each layer type; a ready dictionary is taken as it is."""
        if isinstance(rows.attention_mask, dict):
            return rows.attention_mask
        return {
            kind: make(
                config=self.config,
                inputs_embeds=rows.frame,
                attention_mask=rows.attention_mask,
                past_key_values=own_cache(rows.seen),
                **more,
            )
            for kind, make in self.mask_makers.items()
        }

    def run(
        self,
        rows: Rows,
        embeds: torch.Tensor,
        position_ids: torch.Tensor,
        masks: dict[str, Any],
        past_key_values: Any = None,
        memory: torch.Tensor | None = None,
        **context: Any,
    ) -> torch.Tensor:
        """norm(block_N(... block_1(words + positions))), (B, T, C)."""
        biases = self.position.bias(rows.frame, own_cache(rows.seen))
        embeds, position_ids, memory = rows.enter(embeds), rows.enter(position_ids), rows.enter_memory(memory)
        cache = rows.fill(past_key_values)
        angles = self.position.angles(embeds, position_ids)
        embeds = self.position.embed(self.embed_tokens_norm(embeds), position_ids)
        hidden_states = self.embed_projection(self.embed_dropout(self.embed_norm(embeds)))
        blocks = partial(self.run_blocks, memory, biases, masks, past_key_values=cache, **context)
        return rows.leave(self.norm(rows.through(blocks, hidden_states, position_ids, angles)))

    def run_blocks(
        self,
        memory: torch.Tensor | None,
        biases: dict[str, Any],
        masks: dict[str, Any],
        hidden_states: torch.Tensor,
        position_ids: torch.Tensor,
        angles: dict[str, Any],
        **context: Any,
    ) -> torch.Tensor:
        """block_N(... block_1(hidden states))."""
        for kind, layer in zip(self.layer_types, self.layers, strict=True):
            hidden_states = layer(
                hidden_states,
                memory,
                biases[kind],
                attention_mask=masks[kind],
                position_embeddings=angles[kind],
                position_ids=position_ids,
                **context,
            )
        return hidden_states


def count_positions(
    embeds: torch.Tensor, attention_mask: Any, position_ids: torch.Tensor | None, cache: Any
) -> torch.Tensor:
    """Positions (B or 1, T): the caller's, or the distance from the row's first real token, so that padding on either
    side changes nothing. Slots before that token count 0."""
    if position_ids is not None:
        return position_ids
    seen = 0 if cache is None else cache.get_seq_length()
    slots = torch.arange(embeds.shape[1], device=embeds.device) + seen
    if is_padding_mask(attention_mask):
        return (slots - attention_mask.long().argmax(-1, keepdim=True)).clamp(min=0)
    return slots.unsqueeze(0)
