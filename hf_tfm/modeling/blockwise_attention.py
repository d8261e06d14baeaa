"""`attn_implementation="eager_blockwise"`: causal eager attention for one block of queries at a time, so that little
more than the lower half of a row's (T, T) scores is computed.

It supports what `eager` supports: score biases, capped scores, sinks, dropout. In bf16 under torch.compile on a CPU it
trains faster than sdpa, whose backward pass there is slow. Masked rows, cached rows, windows, cross-attention and
encoders are the plain `eager`. Skipping blocks above the diagonal: Dao 2023, arXiv:2307.08691, section 3.1.

Legend: B batch, H heads, T tokens, D head size."""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from .attention import eager_attention_forward
from .sliding_window_attention import is_whole_causal_row

EAGER_BLOCKWISE = "eager_blockwise"
# 4 blocks compute 5/8 of all scores and 8 would 9/16, but each block lengthens the compiled graph
NUM_BLOCKS = 4


def blockwise_attention_forward(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    position_bias: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """As `eager_attention_forward`, but without weights where `blockwise_mask` makes no mask."""
    length = query.shape[2]
    if attention_mask is not None or not module.is_causal or length != key.shape[2]:
        return eager_attention_forward(module, query, key, value, attention_mask, position_bias=position_bias, **kwargs)
    outputs = []
    for block in range(NUM_BLOCKS):
        start, end = length * block // NUM_BLOCKS, length * (block + 1) // NUM_BLOCKS
        bias = None if position_bias is None else position_bias[..., start:end, :end]
        parts = query[:, :, start:end], key[:, :, :end], value[:, :, :end]
        mask = causal_block_mask(query, start, end)
        outputs.append(eager_attention_forward(module, *parts, mask, position_bias=bias, **kwargs)[0])
    return torch.cat(outputs, dim=1), None


def causal_block_mask(query: torch.Tensor, start: int, end: int) -> torch.Tensor:
    """The additive mask (end - start, end) that hides the keys after each query of a block."""
    return query.new_full((end - start, end), torch.finfo(query.dtype).min).triu(start + 1)


def blockwise_mask(local_size: int | None = None, **kwargs: Any) -> torch.Tensor | None:
    """The mask of `eager_mask`; none for whole causal rows of layers without a window."""
    if local_size is None and is_whole_causal_row(**kwargs):
        return None
    return eager_mask(local_size=local_size, **kwargs)


def register_blockwise_attention() -> None:
    """Register the implementation and its mask with transformers."""
    AttentionInterface.register(EAGER_BLOCKWISE, blockwise_attention_forward)
    AttentionMaskInterface.register(EAGER_BLOCKWISE, blockwise_mask)
