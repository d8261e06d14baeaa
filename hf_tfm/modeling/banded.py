"""`attn_implementation="sdpa_banded"`: causal sliding attention in memory that grows with T x window, not T x T.

The host gives sdpa a (T, T) mask for every sliding layer, and torch makes a float of each of its entries. Here a row is
cut into blocks of W queries, each of which reads its own W keys and the W before: the same kernel, called on blocks.
Beltagy et al. 2020, arXiv:2004.05150, section 3.2. Full causal layers are the host's sdpa, but whole rows come to it
without a mask in every graph, where the host gives one under torch 2.11's compiler and in exports: torch's flash
kernels take no mask. Padded, packed and cached rows and both-sided windows are the host's sdpa either way.

Legend: B batch, H heads, T tokens, D head size, W window, N = ceil(T / W) blocks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

BANDED = "sdpa_banded"


def in_blocks(states: torch.Tensor, window: int) -> torch.Tensor:
    """(B, H, T, D) -> (B, H, N, W, D), with zeros behind the last token."""
    return F.pad(states, (0, 0, 0, -states.shape[2] % window)).unflatten(2, (-1, window))


def with_block_before(blocks: torch.Tensor) -> torch.Tensor:
    """(B, H, N, W, D) -> (B, H, N, 2 W, D); before the first block there are zeros."""
    return torch.cat((F.pad(blocks, (0, 0, 0, 0, 1, 0))[:, :, :-1], blocks), dim=3)


def as_batch(blocks: torch.Tensor) -> torch.Tensor:
    """(B, H, N, ., D) -> (B N, H, ., D)."""
    return blocks.transpose(1, 2).flatten(0, 1)


def band(batch: int, blocks: int, window: int, device: Any) -> torch.Tensor:
    """Who sees whom, (B N, 1, W, 2 W): the W last keys, the query's own included; nothing before the first token."""
    query = torch.arange(window, device=device)[:, None] + window
    key = torch.arange(2 * window, device=device)
    seen = ((key <= query) & (key > query - window)).repeat(blocks, 1, 1)
    seen[0, :, :window] = False
    return seen.repeat(batch, 1, 1).unsqueeze(1)


def banded_attention_forward(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **context: Any
) -> tuple[torch.Tensor, None]:
    """As the host's sdpa. In blocks where a causal sliding layer reads a whole row, longer than its window, that no
    mask cuts; `banded_mask` leaves the mask out there."""
    window, length = module.sliding_window, query.shape[2]
    whole = attention_mask is None and module.is_causal and length == key.shape[2]
    if window is None or not whole or length <= window:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **context)
    query, key, value = (in_blocks(states, window) for states in (query, key, value))
    batch, blocks = query.shape[0], query.shape[2]
    parts = as_batch(query), as_batch(with_block_before(key)), as_batch(with_block_before(value))
    output, _ = sdpa_attention_forward(module, *parts, band(batch, blocks, window, query.device), **context)
    return output.unflatten(0, (batch, blocks)).flatten(1, 2)[:, :length], None


def mask_unless_whole(
    host_mask: Callable[..., Any],
    windows: tuple[bool, ...],
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    attention_mask: torch.Tensor | None = None,
    local_size: int | None = None,
    allow_is_causal_skip: bool = True,
    **more: Any,
) -> torch.Tensor | None:
    """The host's mask; none for whole causal rows where a kernel makes its own: of layers with windows (True in
    `windows`), of those without (False), or of both. Padding and packed rows keep it."""
    whole_row = q_length == kv_length and attention_mask is None and (local_size is not None) in windows
    # a tensor from static caches
    if whole_row and allow_is_causal_skip and not torch.is_tensor(q_offset) and q_offset == 0:
        return None
    return host_mask(
        q_length=q_length,
        kv_length=kv_length,
        q_offset=q_offset,
        attention_mask=attention_mask,
        local_size=local_size,
        allow_is_causal_skip=allow_is_causal_skip,
        **more,
    )


banded_mask = partial(mask_unless_whole, sdpa_mask, (True, False))


def register_banded_attention() -> None:
    """Make the name known to the host."""
    AttentionInterface.register(BANDED, banded_attention_forward)
    AttentionMaskInterface.register(BANDED, banded_mask)
