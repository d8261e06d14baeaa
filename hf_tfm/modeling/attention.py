"""Multi-head attention with one blank, `heads`: where queries, keys and values come from.

`SelfAttention` takes all three from the hidden states, `CrossAttention` takes keys and values from the memory. The
kernel is the host's, named by `attn_implementation`; `eager_attention_forward` is the reference that can do everything.

Legend: B batch, T queries, S keys, H heads, K key-value heads, D head size, C hidden size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import EncoderDecoderCache
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .absence import unchanged
from .normalization import QK_NORMS
from .position import make_rotation


class SoftCap(nn.Module):
    """cap tanh(x / cap): values bounded by `cap`.   Gemma Team 2024, arXiv:2408.00118."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.cap * torch.tanh(values / self.cap)


class Softmax(nn.Module):
    """Attention weights from scores (B, H, T, S). fp32: bf16 softmax loses weights below 2**-8 of the largest."""

    def forward(self, scores: torch.Tensor, sinks: None) -> torch.Tensor:
        return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


class SoftmaxWithSinks(Softmax):
    """The same with one more column, a learned logit per head whose value is zero.   Xiao et al. 2023,
    arXiv:2309.17453; gpt-oss."""

    def forward(self, scores: torch.Tensor, sinks: torch.Tensor) -> torch.Tensor:
        column = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        return super().forward(torch.cat((scores, column), dim=-1), None)[..., :-1]


def no_sinks(attention: "Attention") -> None:
    """Attention without sinks."""


def own_sinks(attention: "Attention") -> torch.Tensor:
    """One learned logit per head (H,)."""
    return attention.sinks


def eager_attention_forward(
    module: "Attention",
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(cap(q k^T scaling) + bias + mask) v, spelled out; returns (B, T, H, D) and weights (B, H, T, S)."""
    key, value = (repeat_kv(states, module.num_key_value_groups) for states in (key, value))
    scores = module.cap(torch.matmul(query, key.transpose(2, 3)) * scaling)
    for addition in (position_bias, attention_mask):
        scores = scores if addition is None else scores + addition
    weights = nn.functional.dropout(module.softmax(scores, s_aux), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class Attention(nn.Module):
    """o_proj(kernel(q, k, v)).   Vaswani et al. 2017, section 3.2; grouped: Ainslie et al. 2023, arXiv:2305.13245.

    `forward` returns the output (B, T, C) and the weights (B, H, T, S), None where the kernel does not keep them."""

    # there only where configured: the host's paged kernel takes the mere attribute for sinks
    sinks: nn.Parameter

    def __init__(self, config: Any, layer_idx: int, is_causal: bool, source_size: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, is_causal
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5 if config.attention_scale is None else float(config.attention_scale)
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.sliding_window: int | None = None
        self.softcap = config.attn_logit_softcapping
        self.cap = nn.Identity() if self.softcap is None else SoftCap(self.softcap)
        self.softmax, self.find_sinks = Softmax(), no_sinks
        if config.attention_sinks:
            self.softmax, self.find_sinks = SoftmaxWithSinks(), own_sinks
            self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))

        width, kv_width = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(source_size, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(source_size, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=config.out_bias)
        self.q_norm = QK_NORMS[config.qk_norm](config.num_attention_heads, self.head_dim, config)
        self.k_norm = QK_NORMS[config.qk_norm](config.num_key_value_heads, self.head_dim, config)

    def split(self, projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (-1, self.head_dim))  # (B, T, H, D)

    def heads(
        self, hidden_states: torch.Tensor, memory: Any, position_embeddings: Any, past_key_values: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (B, H, T, D), keys and values (B, K, S, D)."""
        raise NotImplementedError

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        attention_mask: Any = None,
        position_embeddings: Any = None,
        past_key_values: Any = None,
        apart: Callable[[Callable], Callable] = unchanged,
        **context: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        query, key, value = self.heads(hidden_states, memory, position_embeddings, past_key_values)
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        output, weights = apart(kernel)(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout.p * self.training,
            scaling=self.scaling,
            sliding_window=self.sliding_window,
            softcap=self.softcap,
            s_aux=self.find_sinks(self),
            position_bias=position_bias,
            **context,
        )
        return self.o_proj(output.flatten(2)), weights


class SelfAttention(Attention):
    """Queries, keys and values from the hidden states; keys and values go through the cache where there is one."""

    def __init__(self, config: Any, layer_idx: int, is_causal: bool) -> None:
        super().__init__(config, layer_idx, is_causal, config.hidden_size)
        self.rotate = make_rotation(config, layer_idx)
        if config.layer_types[layer_idx] == "sliding_attention":
            # flash attention counts W keys on either side with the query among them; our two-sided window is a radius
            self.sliding_window = config.sliding_window + (not is_causal)

    def heads(
        self, hidden_states: torch.Tensor, memory: Any, position_embeddings: Any, past_key_values: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query = self.q_norm(self.split(self.q_proj(hidden_states))).transpose(1, 2)
        key = self.k_norm(self.split(self.k_proj(hidden_states))).transpose(1, 2)
        value = self.split(self.v_proj(hidden_states)).transpose(1, 2)
        query, key = self.rotate(query, key, position_embeddings)
        return query, *remember(own_cache(past_key_values), key, value, self.layer_idx)


class CrossAttention(Attention):
    """Queries from the hidden states, keys and values from the memory: no positions, no window, not causal. The cache
    keeps the memory's keys and values from the first step on."""

    def __init__(self, config: Any, layer_idx: int, memory_size: int) -> None:
        super().__init__(config, layer_idx, is_causal=False, source_size=memory_size)

    def heads(
        self, hidden_states: torch.Tensor, memory: Any, position_embeddings: Any, past_key_values: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query = self.q_norm(self.split(self.q_proj(hidden_states))).transpose(1, 2)
        if is_stored(past_key_values, self.layer_idx):
            stored = past_key_values.cross_attention_cache.layers[self.layer_idx]
            return query, stored.keys, stored.values
        key = self.k_norm(self.split(self.k_proj(memory))).transpose(1, 2)
        value = self.split(self.v_proj(memory)).transpose(1, 2)
        return query, *remember_memory(past_key_values, key, value, self.layer_idx)


def own_cache(cache: Any) -> Any:
    """The self-attention side of a cache that has two sides."""
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache


def remember(cache: Any, key: torch.Tensor, value: torch.Tensor, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
    """All keys and values so far: the cache's with these appended, or these where there is no cache."""
    return (key, value) if cache is None else cache.update(key, value, layer_idx)


def is_stored(cache: Any, layer_idx: int) -> bool:
    """Whether the cache already holds this layer's memory."""
    return cache is not None and cache.is_updated.get(layer_idx, False)


def remember_memory(
    cache: Any, key: torch.Tensor, value: torch.Tensor, layer_idx: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `remember`, on the memory's side of the cache, which is filled once."""
    if cache is None:
        return key, value
    cache.is_updated[layer_idx] = True
    return cache.cross_attention_cache.update(key, value, layer_idx)
