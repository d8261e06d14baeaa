"""`attn_implementation="sdpa_sliding_window"`: causal sliding attention in memory that grows with T x W, not T x T.

transformers gives sdpa a (T, T) mask for every sliding layer, and torch makes a float of each of its entries. Here a
row is cut into chunks of W queries, each of which reads its own W keys and the W before: the same kernel, called on
chunks.   Beltagy et al. 2020, arXiv:2004.05150, section 3.2.

Full causal layers are transformers' sdpa, but whole rows get no mask in any graph, where transformers makes one under
torch 2.11's compiler and in exports: torch's flash kernels take no mask. Padded, packed and cached rows and two-sided
windows are transformers' sdpa too.

Legend: B batch, H heads, T tokens, D head size, W window, N = ceil(T / W) chunks."""

from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

SDPA_SLIDING_WINDOW = "sdpa_sliding_window"


def split_chunks(states: torch.Tensor, window: int) -> torch.Tensor:
    """(B, H, T, D) -> (B, H, N, W, D), with zeros after the last token."""
    return F.pad(states, (0, 0, 0, -states.shape[2] % window)).unflatten(2, (-1, window))


def with_previous_chunk(chunks: torch.Tensor) -> torch.Tensor:
    """(B, H, N, W, D) -> (B, H, N, 2 W, D); before the first chunk there are zeros."""
    return torch.cat((F.pad(chunks, (0, 0, 0, 0, 1, 0))[:, :, :-1], chunks), dim=3)


def chunks_as_batch(chunks: torch.Tensor) -> torch.Tensor:
    """(B, H, N, ., D) -> (B N, H, ., D)."""
    return chunks.transpose(1, 2).flatten(0, 1)


def chunk_mask(batch: int, chunks: int, window: int, device: Any) -> torch.Tensor:
    """Which keys each query sees, (B N, 1, W, 2 W): the W last ones, its own included; nothing before the first."""
    query = torch.arange(window, device=device)[:, None] + window
    key = torch.arange(2 * window, device=device)
    seen = ((key <= query) & (key > query - window)).repeat(chunks, 1, 1)
    seen[0, :, :window] = False
    return seen.repeat(batch, 1, 1).unsqueeze(1)


def sliding_window_attention_forward(
    module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
) -> tuple[torch.Tensor, None]:
    """As `sdpa_attention_forward`; in chunks where a causal sliding layer reads whole rows longer than its window that
    have no mask, since `sliding_window_mask` makes none there."""
    window, length = module.sliding_window, query.shape[2]
    whole = attention_mask is None and module.is_causal and length == key.shape[2]
    if window is None or not whole or length <= window:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    query, key, value = (split_chunks(states, window) for states in (query, key, value))
    batch, chunks = query.shape[0], query.shape[2]
    parts = (
        chunks_as_batch(query),
        chunks_as_batch(with_previous_chunk(key)),
        chunks_as_batch(with_previous_chunk(value)),
    )
    output, _ = sdpa_attention_forward(module, *parts, chunk_mask(batch, chunks, window, query.device), **kwargs)
    return output.unflatten(0, (batch, chunks)).flatten(1, 2)[:, :length], None


def is_whole_causal_row(
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    attention_mask: torch.Tensor | None = None,
    allow_is_causal_skip: bool = True,
    **kwargs: Any,
) -> bool:
    """Whether the arguments of a mask function ask for whole rows, neither padded nor packed nor cached, so that a
    kernel may make the causal mask itself."""
    # the offset of a static cache is a tensor
    from_start = not torch.is_tensor(q_offset) and q_offset == 0
    return q_length == kv_length and attention_mask is None and allow_is_causal_skip and from_start


def sliding_window_mask(**kwargs: Any) -> torch.Tensor | None:
    """The mask of `sdpa_mask`; none for whole causal rows, of full and of sliding layers."""
    return None if is_whole_causal_row(**kwargs) else sdpa_mask(**kwargs)


def register_sliding_window_attention() -> None:
    """Register the implementation and its mask with transformers."""
    AttentionInterface.register(SDPA_SLIDING_WINDOW, sliding_window_attention_forward)
    AttentionMaskInterface.register(SDPA_SLIDING_WINDOW, sliding_window_mask)
