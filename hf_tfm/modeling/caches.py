"""Caches of transformers: how layers add to them, and which ones a model cannot read.

Legend: B batch, T queries, S keys, K key-value heads, D head size, W window.
"""

from typing import Any

import torch
from transformers.cache_utils import EncoderDecoderCache


def self_attention_cache(cache: Any) -> Any:
    """The self-attention part of an encoder-decoder's cache; any other cache, or None, as it is."""
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache


def update_cache(
    cache: Any, key: torch.Tensor, value: torch.Tensor, layer_idx: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adds new keys and values (B, K, T, D) to a layer's cache; returns those that the mask covers (B, K, S, D)."""
    return cache.update(key, value, layer_idx)


def update_cache_of_one_token(
    cache: Any, key: torch.Tensor, value: torch.Tensor, layer_idx: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for a window of one token. transformers keeps the last W - 1 tokens of a growing layer as `[-W + 1 :]`,
    which for W = 1 is all of them."""
    length, _ = cache.get_mask_sizes(key.shape[2], layer_idx)
    key, value = cache.update(key, value, layer_idx)
    return key[:, :, -length:], value[:, :, -length:]


def check_both_parts(cache: Any) -> None:
    """Raises ValueError for a given cache that an encoder-decoder cannot use."""
    if not isinstance(cache, EncoderDecoderCache):
        raise ValueError(
            f"An encoder-decoder needs an EncoderDecoderCache as past_key_values, got {type(cache).__name__}; PEFT's "
            'prefix tuning makes one for task_type="SEQ_2_SEQ_LM" only.'
        )


def check_cache(cache: Any, windows: list[int | None], num_tokens: int, memory: torch.Tensor | None = None) -> None:
    """Raises ValueError for a given cache that forgets what the layers still read: of `num_tokens` new tokens and those
    before, or of a memory (B, S, C). `windows`: tokens that each layer reads, None for all."""
    own = self_attention_cache(cache)
    for window, layer in zip(windows, own.layers, strict=False):
        if may_forget(layer, window) and layer.get_max_length() < layer.get_seq_length() + num_tokens:
            raise ValueError(
                f"The given cache keeps {layer.get_max_length()} tokens for a layer with sliding_window={window}, "
                "which reads more: make it for this model, DynamicCache(config=model.config), or a StaticCache with a "
                "larger max_cache_len."
            )
    if memory is None or own is cache:
        return
    for layer in cache.cross_attention_cache.layers:
        if may_forget(layer, None) and layer.get_max_length() < memory.shape[1]:
            raise ValueError(
                f"The given cache keeps {layer.get_max_length()} of the {memory.shape[1]} tokens of the source: it was "
                "made with windows, which the cross-attention does not have; give EncoderDecoderCache(..., "
                "DynamicCache())."
            )


def may_forget(layer: Any, window: int | None) -> bool:
    """Whether a layer of a cache keeps fewer tokens than a window (None: no window) covers. Asked before its length,
    which is a tensor where the layer forgets nothing."""
    return getattr(layer, "is_sliding", False) and (window is None or layer.get_max_length() < window)
