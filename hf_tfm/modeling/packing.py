"""Packed rows: several documents in one row, told apart by position ids that start again at each document."""

from typing import Any

import torch
from transformers.masking_utils import find_packed_sequence_indices, packed_sequence_mask_function
from transformers.utils.import_utils import is_torchdynamo_compiling


def is_padding_mask(attention_mask: Any) -> bool:
    """Whether the mask is (B, S), one entry per token, rather than absent or already prepared by the caller."""
    return isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2


def document_mask(position_ids: torch.Tensor | None, attention_mask: Any) -> Any:
    """For a bidirectional stack: the host's mask function that keeps documents apart, or None where the caller gave no
    position ids, or a mask."""
    if position_ids is None or attention_mask is not None:
        return None
    documents = find_packed_sequence_indices(position_ids)
    return None if documents is None else packed_sequence_mask_function(documents)


def refuse_packed_under_mask(position_ids: torch.Tensor | None, attention_mask: Any) -> None:
    """A padding mask says one sequence per row, restarting position ids say several; served together the documents
    would see each other. Raises ValueError. Not checked while tracing, where values cannot be read."""
    if position_ids is None or not is_padding_mask(attention_mask) or is_torchdynamo_compiling():
        return
    restarts = (position_ids.diff(dim=-1) < 1) & attention_mask[:, 1:].bool() & attention_mask[:, :-1].bool()
    if restarts.any():
        raise ValueError(
            "position_ids start again inside a row although an attention_mask (batch, tokens) is given. For packed "
            "rows leave attention_mask out: documents are told apart by their position_ids."
        )
