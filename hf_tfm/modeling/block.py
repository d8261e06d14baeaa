"""The block: self-attention, cross-attention where there is a memory, feed-forward, each in a residual.

A wiring is a row of seats; an empty seat is the identity. One equation serves all rows:
after(skip x + dropout(inside(f(before(x))))).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .absence import make_dropout, unchanged
from .attention import CrossAttention, SelfAttention
from .feed_forward import make_feed_forward
from .normalization import make_norm

Source = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def latest(original: torch.Tensor, normed: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    """Later branches read what the earlier ones have made of x."""
    return current


def shared_norm(original: torch.Tensor, normed: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    """All branches read the first branch's norm of x."""
    return normed


def own_norm(original: torch.Tensor, normed: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    """Every branch reads x through a norm of its own."""
    return original


@dataclass(frozen=True)
class Wiring:
    """Which seats hold a norm, what later branches read, and whether the stack ends with a norm."""

    before: bool = False
    later_before: bool = False
    inside: bool = False
    after: bool = False
    source: Source = latest
    final_norm: bool = True


WIRINGS: dict[str, Wiring] = {
    "pre": Wiring(before=True, later_before=True),  # GPT-2, Llama, T5; Xiong et al. 2020, arXiv:2002.04745
    "post": Wiring(after=True, final_norm=False),  # the original, BERT, BART; Vaswani et al. 2017
    "inner": Wiring(inside=True),  # OLMo-2; arXiv:2501.00656
    "sandwich": Wiring(before=True, later_before=True, inside=True),  # Gemma-2; Ding et al. 2021, arXiv:2105.13290
    "parallel": Wiring(before=True, source=shared_norm),  # GPT-J, Phi, Cohere
    "parallel_two_norms": Wiring(before=True, later_before=True, source=own_norm),  # GPT-NeoX, arXiv:2204.06745
}


class Scale(nn.Module):
    """x times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.factor


class Residual(nn.Module):
    """after(skip x + dropout(inside(branch))); `before` is what the branch reads x through."""

    def __init__(self, config: Any, before: bool, skip: float) -> None:
        super().__init__()
        wiring = WIRINGS[config.residual_type]
        self.before = make_norm(config, before)
        self.inside = make_norm(config, wiring.inside)
        self.after = make_norm(config, wiring.after)
        self.dropout = make_dropout(config.hidden_dropout)
        self.scale = unchanged if config.residual_scale == 1.0 else Scale(config.residual_scale)
        self.skip = skip

    def forward(self, hidden_states: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        return self.after(torch.add(self.scale(self.dropout(self.inside(branch))), hidden_states, alpha=self.skip))


class TfmBlock(GradientCheckpointingLayer):
    """One layer of any stack. What may need a gradient travels by position (reentrant checkpointing drops keywords'
    gradients): hidden states (B, T, C), memory (B, S, C') or None, position bias (B, H, T, S) or None."""

    def __init__(self, config: Any, layer_idx: int, is_causal: bool, memory_size: int | None, skip: float) -> None:
        super().__init__()
        wiring = WIRINGS[config.residual_type]
        self.source = wiring.source
        first_norm = wiring.before and (config.first_layer_norm or layer_idx > 0)
        self.self_attn = SelfAttention(config, layer_idx, is_causal)
        self.self_attn_residual = Residual(config, first_norm, skip)
        self.recall = forget
        if memory_size is not None:
            self.cross_attn = CrossAttention(config, layer_idx, memory_size)
            self.cross_attn_residual = Residual(config, wiring.later_before, skip)
            self.recall = recall
        self.mlp = make_feed_forward(config, layer_idx)
        self.mlp_residual = Residual(config, wiring.later_before, skip)

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        memory_context: Any = None,
        **context: Any,
    ) -> torch.Tensor:
        normed = self.self_attn_residual.before(hidden_states)
        attended, _ = self.self_attn(normed, memory, position_bias, **context)
        current = self.self_attn_residual(hidden_states, attended)
        current = self.recall(self, hidden_states, normed, current, memory, memory_context, context)
        read = self.mlp_residual.before(self.source(hidden_states, normed, current))
        return self.mlp_residual(current, self.mlp(read))


def forget(block: TfmBlock, original: Any, normed: Any, current: torch.Tensor, *memory: Any) -> torch.Tensor:
    """A block without a memory to look back at."""
    return current


def recall(
    block: TfmBlock,
    original: torch.Tensor,
    normed: torch.Tensor,
    current: torch.Tensor,
    memory: torch.Tensor | None,
    memory_context: dict[str, Any],
    context: dict[str, Any],
) -> torch.Tensor:
    """The memory's part, added to `current`. `memory_context` is what the context differs in there."""
    read = block.cross_attn_residual.before(block.source(original, normed, current))
    recalled, _ = block.cross_attn(read, memory, **{**context, **memory_context})
    return block.cross_attn_residual(current, recalled)
