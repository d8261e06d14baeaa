"""`attn_implementation="eager_blocks"`: causal attention spelled out for blocks of queries, so that little more than
the half of a row's (T, T) scores that counts is computed.

What `eager` carries, this carries: score biases, capped scores, sinks, dropout. In bf16 under torch.compile on a CPU it
trains faster than sdpa, whose backward pass there is slow. Rows under a mask, cached rows, windows, memories and
encoders are the plain `eager`. Skipping blocks above the diagonal: Dao 2023, arXiv:2307.08691, section 3.1.

Legend: B batch, H heads, T tokens, D head size."""

from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from .attention import eager_attention_forward
from .banded import mask_unless_whole

BLOCKS = "eager_blocks"
# 4 blocks compute 5/8 of all scores and 8 would 9/16, but each block lengthens the graph that is compiled
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


blocked_mask = partial(mask_unless_whole, eager_mask, (False,))


def register_blocked_attention() -> None:
    """Make the name known to the host."""
    AttentionInterface.register(BLOCKS, blocked_attention_forward)
    AttentionMaskInterface.register(BLOCKS, blocked_mask)
