"""Attention masks: which function of transformers makes them, and how padding and packed rows are recognised.

A packed row holds several documents; their position ids start again at each document."""

from collections.abc import Callable
from typing import Any

import torch
from transformers.masking_utils import (
    create_bidirectional_mask,
    create_bidirectional_sliding_window_mask,
    create_causal_mask,
    create_sliding_window_causal_mask,
    find_packed_sequence_indices,
    packed_sequence_mask_function,
)
from transformers.utils.import_utils import is_torchdynamo_compiling, is_tracing

# layer type -> function of transformers that makes its mask
CAUSAL_MASKS: dict[str, Callable] = {
    "full_attention": create_causal_mask,
    "sliding_attention": create_sliding_window_causal_mask,
}
BIDIRECTIONAL_MASKS: dict[str, Callable] = {
    "full_attention": create_bidirectional_mask,
    "sliding_attention": create_bidirectional_sliding_window_mask,
}


def is_padding_mask(attention_mask: Any) -> bool:
    """Whether the mask is (B, S), one entry per token, rather than absent or already prepared by the caller."""
    return isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2


def check_mask_values(attention_mask: Any) -> None:
    """Raises ValueError for a mask (B, S) to be added to scores, 0 where others have 1 and negative where they have 0:
    every entry but 0 says that a token is real. Not checked while tracing, where values cannot be read."""
    if not is_padding_mask(attention_mask) or not attention_mask.is_floating_point() or is_tracing(attention_mask):
        return
    if (attention_mask < 0).any():
        raise ValueError(
            "attention_mask (batch, tokens) has negative entries, as masks that are added to scores do; give 1 for "
            "real tokens and 0 for padding, or an additive mask as (batch, 1, queries, keys)."
        )


def document_mask(position_ids: torch.Tensor | None, attention_mask: Any) -> Any:
    """For a bidirectional stack: a mask function of transformers that keeps documents apart, or None where the caller
    gave no position ids, or a mask."""
    if position_ids is None or attention_mask is not None:
        return None
    documents = find_packed_sequence_indices(position_ids)
    return None if documents is None else packed_sequence_mask_function(documents)


def check_packed_rows(position_ids: torch.Tensor | None, attention_mask: Any) -> None:
    """Raises ValueError for position ids that start again inside a row beside a padding mask: the mask says one
    sequence per row, and documents would see each other. Not checked while tracing, where values cannot be read."""
    if position_ids is None or not is_padding_mask(attention_mask) or is_torchdynamo_compiling():
        return
    restarts = (position_ids.diff(dim=-1) < 1) & attention_mask[:, 1:].bool() & attention_mask[:, :-1].bool()
    if restarts.any():
        raise ValueError(
            "position_ids start again inside a row although an attention_mask (batch, tokens) is given. For packed "
            "rows leave attention_mask out: documents are separated by their position_ids."
        )


def count_positions(
    embeds: torch.Tensor, attention_mask: Any, position_ids: torch.Tensor | None, cache: Any
) -> torch.Tensor:
    """Positions (B or 1, T): the caller's, or the distance from the row's first real token, so that padding on either
    side changes nothing. Columns before that token count 0."""
    if position_ids is not None:
        return position_ids
    seen = 0 if cache is None else cache.get_seq_length()
    columns = torch.arange(embeds.shape[1], device=embeds.device) + seen
    if is_padding_mask(attention_mask):
        return (columns - attention_mask.long().argmax(-1, keepdim=True)).clamp(min=0)
    return columns.unsqueeze(0)
