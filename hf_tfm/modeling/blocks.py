"""`attn_implementation="eager_blocks"`: causal attention spelled out for blocks of queries, so that little more than
the half of a row's (T, T) scores that counts is computed.

What `eager` carries, this carries: score biases, capped scores, sinks, dropout. In bf16 under torch.compile on a CPU it
trains faster than sdpa, whose backward pass there is slow. Rows under a mask, cached rows, windows, memories and
encoders are the plain `eager`. Skipping blocks above the diagonal: Dao 2023, arXiv:2307.08691, section 3.1.

Legend: B batch, H heads, T tokens, D head size."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from .attention import eager_attention_forward

BLOCKS = "eager_blocks"
# 4 blocks compute 5/8 of all scores, 8 would 9/16 and compile for twice as long
COUNT = 4


def blocked_attention_forward(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_bias: torch.Tensor | None = None,
    **context: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `eager_attention_forward`, without the weights where `blocked_mask` left the mask out."""
    length = query.shape[2]
    if attention_mask is not None or not module.is_causal or length != key.shape[2]:
        return eager_attention_forward(
            module, query, key, value, attention_mask, position_bias=position_bias, **context
        )
    outputs = []
    for number in range(COUNT):
        start, end = length * number // COUNT, length * (number + 1) // COUNT
        bias = None if position_bias is None else position_bias[..., start:end, :end]
        parts = query[:, :, start:end], key[:, :, :end], value[:, :, :end]
        outputs.append(
            eager_attention_forward(module, *parts, later(query, start, end), position_bias=bias, **context)[0]
        )
    return torch.cat(outputs, dim=1), None


def later(query: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """What hides the keys after each query of a block (end - start, end)."""
    return query.new_full((end - start, end), torch.finfo(query.dtype).min).triu(start + 1)


def blocked_mask(
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **more: Any,
) -> torch.Tensor | None:
    """The host's mask for eager attention; none for whole causal rows, where the blocks make their own."""
    whole_row = attention_mask is None and local_size is None and q_length == kv_length
    if whole_row and allow_is_causal_skip and not torch.is_tensor(q_offset) and q_offset == 0:
        return None
    return eager_mask(
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,  # pyright: ignore[reportArgumentType] - a tensor from static caches
        attention_mask=attention_mask,
        local_size=local_size,
        **more,
    )


def register_blocked_attention() -> None:
    """Make the name known to the host."""
    AttentionInterface.register(BLOCKS, blocked_attention_forward)
    AttentionMaskInterface.register(BLOCKS, blocked_mask)
