"""The stack: word vectors, positions, N blocks, final norm. The three architectures are made of stacks.

Legend: B batch, T tokens, C hidden size, E embedding size.
"""

from typing import Any

import torch
from torch import nn
from transformers.utils.import_utils import is_tracing

from .block import WIRINGS, TfmBlock
from .caches import self_attention_cache
from .depth_scaling import DeepNorm, set_initial_stds, skip_weight
from .masks import (
    BIDIRECTIONAL_MASKS,
    CAUSAL_MASKS,
    check_mask_values,
    check_packed_rows,
    count_positions,
    document_mask,
)
from .normalization import make_norm
from .position import POSITIONS
from .unpadding import run_unpadded, unpad
from .value_residual import FirstValues


class ScaledEmbedding(nn.Embedding):
    """A word table whose vectors are multiplied by `embed_scale`."""

    def __init__(self, num_embeddings: int, embedding_dim: int, embed_scale: float) -> None:
        super().__init__(num_embeddings, embedding_dim)
        self.embed_scale = embed_scale

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return super().forward(input_ids) * self.embed_scale


class Stack:
    """Mixin of the models without a head, which have the stack's parts as their own attributes."""

    config: Any

    def build_stack(self, config: Any, is_causal: bool, deepnorm: DeepNorm, memory_size: int | None = None) -> None:
        """Make the parts. `config` may be a `DecoderView`; `memory_size` is the width of the memory, None without."""
        width = config.embedding_size
        self.embed_tokens = (
            nn.Embedding(config.vocab_size, width)
            if config.embedding_scale == 1.0
            else ScaledEmbedding(config.vocab_size, width, config.embedding_scale)
        )
        self.embed_tokens_norm = make_norm(config, width) if config.embedding_norm == "before_positions" else None
        self.position = POSITIONS[config.position_type](config, is_causal)
        self.embed_norm = make_norm(config, width) if config.embedding_norm == "after_positions" else None
        self.embed_dropout = nn.Dropout(config.embedding_dropout) if config.embedding_dropout else None
        self.embed_projection = None if width == config.hidden_size else nn.Linear(width, config.hidden_size)

        skip = skip_weight(config, deepnorm)
        self.layers = nn.ModuleList(
            TfmBlock(config, i, is_causal, memory_size, skip) for i in range(config.num_hidden_layers)
        )
        set_initial_stds(self.layers, config, deepnorm)
        # parallel plans of transformers name it, so it is a module even where it does nothing
        self.norm = make_norm(config) if WIRINGS[config.residual_type].final_norm else nn.Identity()
        self.layer_types = config.layer_types
        window = {"full_attention": None, "sliding_attention": config.sliding_window}
        self.windows = [window[kind] for kind in config.layer_types]
        make_mask = CAUSAL_MASKS if is_causal else BIDIRECTIONAL_MASKS
        self.mask_functions = {kind: make_mask[kind] for kind in dict.fromkeys(config.layer_types)}
        self.make_first_values = FirstValues if config.value_residual else None
        self.gradient_checkpointing = False

    def embed_words(self, input_ids: torch.Tensor | None, inputs_embeds: torch.Tensor | None) -> torch.Tensor:
        """Word vectors (B, T, E). Raises ValueError unless exactly one of the two is given, with a token in it."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of (decoder_)input_ids and (decoder_)inputs_embeds.")
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if not is_tracing(embeds) and embeds.numel() == 0:
            raise ValueError(f"The input holds no token: its shape is {tuple(embeds.shape[:2])} (batch, tokens).")
        return embeds

    def create_masks(
        self, embeds: torch.Tensor, attention_mask: Any = None, past_key_values: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """transformers' mask for each layer type; a prepared dictionary is taken as it is."""
        if isinstance(attention_mask, dict):
            return attention_mask
        kwargs |= {
            "config": self.config,
            "inputs_embeds": embeds,
            "attention_mask": attention_mask,
            "past_key_values": self_attention_cache(past_key_values),
        }
        return {kind: create_mask(**kwargs) for kind, create_mask in self.mask_functions.items()}

    def add_positions(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, dict[str, Any]]:
        """Hidden states (B, T, C) of word vectors (B, T, E) at their positions (B or 1, T), and the angles by layer
        type that rotate queries and keys."""
        angles = self.position.angles(embeds, position_ids)
        if self.embed_tokens_norm is not None:
            embeds = self.embed_tokens_norm(embeds)
        embeds = self.position.embed(embeds, position_ids)
        if self.embed_norm is not None:
            embeds = self.embed_norm(embeds)
        if self.embed_dropout is not None:
            embeds = self.embed_dropout(embeds)
        if self.embed_projection is not None:
            embeds = self.embed_projection(embeds)
        return embeds, angles

    def run(
        self,
        embeds: torch.Tensor,
        position_ids: torch.Tensor,
        masks: dict[str, Any],
        biases: dict[str, Any],
        memory: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """norm(layer_N(... layer_1(words + positions))), (B, T, C)."""
        hidden_states, angles = self.add_positions(embeds, position_ids)
        return self.norm(self.run_layers(hidden_states, position_ids, angles, masks, biases, memory, **kwargs))

    def encode(
        self,
        embeds: torch.Tensor,
        attention_mask: Any,
        position_ids: torch.Tensor | None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Hidden states (B, T, C) of a bidirectional stack for word vectors (B, T, E). `past_key_values`: keys and
        values of a prefix (prefix tuning: Li and Liang 2021, arXiv:2101.00190), which every token sees and positions
        count; it is part of the mask, if there is one. Raises ValueError for a prefix of packed documents."""
        unpadded = None
        if attention_mask is not None or position_ids is not None:
            check_mask_values(attention_mask)
            check_packed_rows(position_ids, attention_mask)
            unpadded = unpad(self.config, embeds, attention_mask, position_ids, past_key_values)
        positions = count_positions(embeds, attention_mask, position_ids, past_key_values)
        kwargs["past_key_values"] = past_key_values
        if unpadded is not None:
            return run_unpadded(self, unpadded, embeds, positions, **kwargs)
        documents = document_mask(position_ids, attention_mask)
        if documents is not None and past_key_values is not None:
            raise ValueError("Packed documents take no past_key_values: give each document a row of its own.")
        masks = self.create_masks(embeds, attention_mask, past_key_values, and_mask_function=documents)
        return self.run(embeds, positions, masks, self.position.bias(embeds, past_key_values), **kwargs)

    def run_layers(
        self,
        hidden_states: torch.Tensor,
        position_ids: torch.Tensor,
        angles: dict[str, Any],
        masks: dict[str, Any],
        biases: dict[str, Any],
        memory: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """layer_N(... layer_1(hidden states)). Dictionaries hold one entry per layer type."""
        if self.make_first_values is not None:
            kwargs["first_values"] = self.make_first_values()
        for kind, layer in zip(self.layer_types, self.layers, strict=True):
            hidden_states = layer(
                hidden_states,
                memory,
                biases[kind],
                attention_mask=masks[kind],
                position_embeddings=angles[kind],
                position_ids=position_ids,
                **kwargs,
            )
        return hidden_states
