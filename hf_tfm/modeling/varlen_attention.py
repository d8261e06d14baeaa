"""Attention over the sequences of one unpadded row: three backends, chosen by `choose_varlen_backend`.

"flash_attention" hands the bounds of the sequences to transformers' flash attention; "torch_varlen" calls torch's
kernel for variable lengths (GPUs, half precision); "loop" calls the padded kernel once for each length (CPUs).

Legend: N tokens of all queries, M of all keys, H heads, K key-value heads, D head size, Q queries and S keys of one
sequence."""

from collections.abc import Callable
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from transformers.utils.generic import is_flash_attention_requested

from .blockwise_attention import EAGER_BLOCKWISE
from .position import POSITIONS, BiasPosition
from .sliding_window_attention import SDPA_SLIDING_WINDOW

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None
VARLEN_PARAMETERS = signature(varlen_attn).parameters if varlen_attn else {}
# None also for torch 2.10's, which takes no windows
VARLEN_ATTN: Any = varlen_attn if "window_size" in VARLEN_PARAMETERS else None
# torch 2.11 shares key-value heads without this argument
GROUPED_HEADS = {"enable_gqa": True} if "enable_gqa" in VARLEN_PARAMETERS else {}
# what flash attention inside torch is built for: compute capability, and elements of a head; between 192 and 256 most
# cards have no backward pass
FLASH_CAPABILITY, FLASH_HEAD_DIMS = (8, 0), {*range(8, 193, 8), 256}


class LoopAttention:
    """A padded kernel called once for each run of neighbouring sequences of the same lengths."""

    def __init__(self, query_lengths: list[int], key_lengths: list[int]) -> None:
        pairs = zip(query_lengths, key_lengths, strict=True)
        self.runs = [(len(list(run)), queries, keys) for (queries, keys), run in groupby(pairs)]
        self.query_sizes = [count * queries for count, queries, _ in self.runs]
        self.key_sizes = [count * keys for count, _, keys in self.runs]

    def attend(
        self,
        kernel: Callable[..., Any],
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_bias: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """Query (1, H, N, D), key and value (1, K, M, D); mask and bias (1, . , longest Q, longest S), or None.
        Returns (1, N, H, D)."""
        parts = query.split(self.query_sizes, 2), key.split(self.key_sizes, 2), value.split(self.key_sizes, 2)
        outputs = []
        for (count, queries, keys), *states in zip(self.runs, *parts, strict=True):
            mask = None if attention_mask is None else attention_mask[..., :queries, :keys]
            bias = None if position_bias is None else position_bias[..., :queries, :keys]
            batch = (split_sequences(part, count) for part in states)
            output, _ = kernel(module, *batch, mask, position_bias=bias, **kwargs)
            outputs.append(output.flatten(0, 1))
        return torch.cat(outputs).unsqueeze(0), None


def split_sequences(states: torch.Tensor, count: int) -> torch.Tensor:
    """`count` sequences one after the other (1, H, count x S, D) as a batch (count, H, S, D)."""
    return states.squeeze(0).unflatten(1, (count, -1)).transpose(0, 1)


class TorchVarlenAttention:
    """torch's kernel for sequences of all lengths at once, in place of sdpa, in half precision on a GPU."""

    def __init__(self, query_lengths: list[int], key_lengths: list[int], device: torch.device) -> None:
        self.bounds = cumulative_lengths(query_lengths, device), cumulative_lengths(key_lengths, device)
        self.longest = max(query_lengths), max(key_lengths)

    def attend(
        self,
        kernel: Callable[..., Any],
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        scaling: float,
        sliding_window: int | None,
        is_causal: bool | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, None]:
        """As `LoopAttention.attend`; windows are the module's own, so neither kernel nor mask is used."""
        # rotation leaves queries and keys in float32 under autocast
        states = (part.squeeze(0).transpose(0, 1).to(value.dtype) for part in (query, key, value))
        causal = module.is_causal if is_causal is None else is_causal
        before = -1 if sliding_window is None else sliding_window - 1
        output = VARLEN_ATTN(
            *states,
            *(bounds.to(query.device) for bounds in self.bounds),
            *self.longest,
            scale=scaling,
            window_size=(before, before * (not causal)),
            **GROUPED_HEADS,
        )
        return output.unsqueeze(0), None


def cumulative_lengths(lengths: list[int], device: torch.device) -> torch.Tensor:
    """0 and the running sums, (n + 1,)."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)


def varlen_kwargs(
    backend: str, query_lengths: list[int], key_lengths: list[int], device: torch.device
) -> dict[str, Any]:
    """Keyword arguments for an attention's forward over the sequences of an unpadded row."""
    if backend == "loop":
        return {"varlen": LoopAttention(query_lengths, key_lengths)}
    if backend == "torch_varlen":
        return {"varlen": TorchVarlenAttention(query_lengths, key_lengths, device)}
    return {
        "cu_seq_lens_q": cumulative_lengths(query_lengths, device),
        "cu_seq_lens_k": cumulative_lengths(key_lengths, device),
        "max_length_q": max(query_lengths),
        "max_length_k": max(key_lengths),
    }


def choose_varlen_backend(config: Any, embeds: torch.Tensor) -> str | None:
    """The backend for the configured attention implementation on this device; None where unpadding saves nothing."""
    if is_flash_attention_requested(config):
        return "flash_attention"
    implementation = config._attn_implementation
    if embeds.device.type == "cpu":
        known = implementation in ("sdpa", "eager", SDPA_SLIDING_WINDOW, EAGER_BLOCKWISE)
        return "loop" if known else None
    if implementation in ("sdpa", SDPA_SLIDING_WINDOW) and supports_torch_varlen(config, embeds):
        return "torch_varlen"
    return None


def supports_torch_varlen(config: Any, embeds: torch.Tensor) -> bool:
    """Whether torch's kernel computes what is configured: half precision on CUDA, no score bias, no dropout, a head
    size and a GPU that flash attention supports."""
    if VARLEN_ATTN is None or embeds.device.type != "cuda":
        return False
    if issubclass(POSITIONS[config.position_type], BiasPosition) or config.attention_dropout:
        return False
    half = compute_dtype(embeds) in (torch.float16, torch.bfloat16)
    capable = torch.cuda.get_device_capability(embeds.device) >= FLASH_CAPABILITY
    return half and capable and config.head_dim in FLASH_HEAD_DIMS


def compute_dtype(states: torch.Tensor) -> torch.dtype:
    """The dtype in which the linear maps of a block compute."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
