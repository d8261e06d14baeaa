"""Attention sequence by sequence inside one long row: what an attention is told, or how its kernel is called.

Legend: N tokens of all queries, M of all keys, H heads, K key-value heads, D head size, Q queries and S keys of one
sequence."""

from collections.abc import Callable
from functools import partial
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from transformers.utils.generic import is_flash_attention_requested

from .banded import BANDED
from .blocks import BLOCKS
from .position import POSITIONS, BiasPosition

try:
    from torch.nn.attention.varlen import varlen_attn
except ImportError:  # torch before 2.10
    varlen_attn = None
VARLEN_OPTIONS = signature(varlen_attn).parameters if varlen_attn else {}
# None also for torch 2.10's, which takes no windows
VARLEN: Any = varlen_attn if "window_size" in VARLEN_OPTIONS else None
# torch 2.11 groups heads without being told
GROUPED = {"enable_gqa": True} if "enable_gqa" in VARLEN_OPTIONS else {}
# what flash attention inside torch is built for: compute capability, and elements of a head; between 192 and 256 most
# cards have no backward pass
FLASH_CAPABILITY, FLASH_HEADS = (8, 0), {*range(8, 193, 8), 256}

# lengths of the queries' and of the keys' sequences, where they lie -> keywords of an attention's forward
Way = Callable[[list[int], list[int], torch.device], dict[str, Any]]


class OneByOne:
    """A kernel called once for each run of neighbours of one length."""

    def __init__(self, query_lengths: list[int], key_lengths: list[int]) -> None:
        runs = [(pair, len(list(run))) for pair, run in groupby(zip(query_lengths, key_lengths, strict=True))]
        self.runs = [(count, queries, keys) for (queries, keys), count in runs]
        self.query_sizes = [count * queries for count, queries, _ in self.runs]
        self.key_sizes = [count * keys for count, _, keys in self.runs]

    def __call__(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        return partial(self.attend, kernel)

    def attend(
        self,
        kernel: Callable[..., Any],
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_bias: torch.Tensor | None = None,
        **context: Any,
    ) -> tuple[torch.Tensor, None]:
        """Query (1, H, N, D), key and value (1, K, M, D); mask and bias (1, . , longest Q, longest S), or None.
        Returns (1, N, H, D)."""
        parts = query.split(self.query_sizes, 2), key.split(self.key_sizes, 2), value.split(self.key_sizes, 2)
        outputs = []
        for (count, queries, keys), *states in zip(self.runs, *parts, strict=True):
            mask, bias = corner(attention_mask, queries, keys), corner(position_bias, queries, keys)
            rows = (side_by_side(part, count) for part in states)
            output, _ = kernel(module, *rows, mask, position_bias=bias, **context)
            outputs.append(output.flatten(0, 1))
        return torch.cat(outputs).unsqueeze(0), None


def side_by_side(states: torch.Tensor, count: int) -> torch.Tensor:
    """`count` sequences one after the other (1, H, count x S, D) as a batch of them (count, H, S, D)."""
    return states.squeeze(0).unflatten(1, (count, -1)).transpose(0, 1)


def corner(scores: torch.Tensor | None, queries: int, keys: int) -> torch.Tensor | None:
    """What is drawn for the longest sequence, cut to a shorter one; nothing stays nothing."""
    return None if scores is None else scores[..., :queries, :keys]


def one_by_one(query_lengths: list[int], key_lengths: list[int], device: torch.device) -> dict[str, Any]:
    return {"apart": OneByOne(query_lengths, key_lengths)}


def flash_lengths(query_lengths: list[int], key_lengths: list[int], device: torch.device) -> dict[str, Any]:
    """The names under which the host's flash attention takes the bounds of sequences."""
    return {
        "cu_seq_lens_q": bounds(query_lengths, device),
        "cu_seq_lens_k": bounds(key_lengths, device),
        "max_length_q": max(query_lengths),
        "max_length_k": max(key_lengths),
    }


def bounds(lengths: list[int], device: torch.device) -> torch.Tensor:
    """0 and the running sums, (n + 1,)."""
    return torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(device)


class VariableLengths:
    """torch's kernel for sequences of all lengths at once, in place of the host's sdpa, in half precision on a GPU."""

    def __init__(self, query_lengths: list[int], key_lengths: list[int], device: torch.device) -> None:
        self.bounds = bounds(query_lengths, device), bounds(key_lengths, device)
        self.longest = max(query_lengths), max(key_lengths)

    def __call__(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        return self.attend

    def attend(
        self,
        module: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attention_mask: Any,
        scaling: float,
        sliding_window: int | None,
        is_causal: bool | None = None,
        **context: Any,
    ) -> tuple[torch.Tensor, None]:
        """As `OneByOne.attend`; windows are the module's own, so the mask is not read."""
        # rotation leaves queries and keys in float32 under autocast
        states = (part.squeeze(0).transpose(0, 1).to(value.dtype) for part in (query, key, value))
        causal = module.is_causal if is_causal is None else is_causal
        before = -1 if sliding_window is None else sliding_window - 1
        output = VARLEN(
            *states,
            *(part.to(query.device) for part in self.bounds),
            *self.longest,
            scale=scaling,
            window_size=(before, before * (not causal)),
            **GROUPED,
        )
        return output.unsqueeze(0), None


def find_way(config: Any, embeds: torch.Tensor) -> Way | None:
    """How this implementation attends sequence by sequence on this device; None where that would gain nothing."""
    if is_flash_attention_requested(config):
        return flash_lengths
    if embeds.device.type == "cpu":
        return one_by_one if config._attn_implementation in ("sdpa", "eager", BANDED, BLOCKS) else None
    own_kernel = config._attn_implementation in ("sdpa", BANDED)
    return variable_lengths if own_kernel and suits_varlen(config, embeds) else None


def variable_lengths(query_lengths: list[int], key_lengths: list[int], device: torch.device) -> dict[str, Any]:
    return {"apart": VariableLengths(query_lengths, key_lengths, device)}


def suits_varlen(config: Any, embeds: torch.Tensor) -> bool:
    """Whether torch's kernel computes what is configured: half precision on CUDA, no score bias, no dropout, heads and
    a GPU that flash attention knows."""
    plain = not issubclass(POSITIONS[config.position_type], BiasPosition) and not config.attention_dropout
    heads = config.head_dim in FLASH_HEADS
    half = dtype_of_products(embeds) in (torch.float16, torch.bfloat16)
    on_gpu = VARLEN is not None and embeds.device.type == "cuda"
    return on_gpu and half and plain and heads and torch.cuda.get_device_capability(embeds.device) >= FLASH_CAPABILITY


def dtype_of_products(states: torch.Tensor) -> torch.dtype:
    """What the maps of a block compute in."""
    device = states.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
