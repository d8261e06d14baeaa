"""The block: self-attention, cross-attention where there is a memory, feed-forward, each in a residual connection.

One equation serves every value of `residual_type`; a norm that a wiring does not have is None:
post_norm(skip_weight x + dropout(layer_scale(branch_norm(f(pre_norm(x)))))).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer

from .attention import CrossAttention, SelfAttention
from .feed_forward import feed_forward_class
from .normalization import make_norm


@dataclass(frozen=True)
class Wiring:
    """Which norms a residual connection has, whether branches run in parallel, and whether the stack ends with a norm.

    `pre_norm`: on the input of the first branch; `later_pre_norm`: of the other branches; `branch_norm`: on what a
    branch gives; `post_norm`: on the sum. `parallel`: all branches read the input of the block."""

    pre_norm: bool = False
    later_pre_norm: bool = False
    branch_norm: bool = False
    post_norm: bool = False
    parallel: bool = False
    final_norm: bool = True


# value of `residual_type` -> wiring
WIRINGS: dict[str, Wiring] = {
    # GPT-2, Llama, T5; Xiong et al. 2020, arXiv:2002.04745
    "pre": Wiring(pre_norm=True, later_pre_norm=True),
    # the original, BERT, BART; Vaswani et al. 2017, arXiv:1706.03762
    "post": Wiring(post_norm=True, final_norm=False),
    # OLMo-2; arXiv:2501.00656
    "inner": Wiring(branch_norm=True),
    # Gemma-2; Ding et al. 2021, arXiv:2105.13290
    "sandwich": Wiring(pre_norm=True, later_pre_norm=True, branch_norm=True),
    # GPT-J, Phi, Cohere
    "parallel": Wiring(pre_norm=True, parallel=True),
    # GPT-NeoX; Black et al. 2022, arXiv:2204.06745
    "parallel_two_norms": Wiring(pre_norm=True, later_pre_norm=True, parallel=True),
}


class Scale(nn.Module):
    """x times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.factor


class LayerScale(nn.Module):
    """x times a learned weight per channel, which starts small.   Touvron et al. 2021, arXiv:2103.17239."""

    def __init__(self, width: int, init_value: float) -> None:
        super().__init__()
        self.init_value = init_value
        self.weight = nn.Parameter(torch.empty(width))

    def reset_parameters(self) -> None:
        init.constant_(self.weight, self.init_value)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.weight


class Residual(nn.Module):
    """post_norm(skip_weight x + scale dropout(layer_scale(branch_norm(branch))))."""

    def __init__(self, config: Any, pre_norm: bool, skip_weight: float) -> None:
        super().__init__()
        wiring = WIRINGS[config.residual_type]
        self.pre_norm = make_norm(config) if pre_norm else None
        self.branch_norm = make_norm(config) if wiring.branch_norm else None
        self.post_norm = make_norm(config) if wiring.post_norm else None
        start = config.layer_scale_init_value
        self.layer_scale = None if start is None else LayerScale(config.hidden_size, start)
        self.dropout = nn.Dropout(config.hidden_dropout) if config.hidden_dropout else None
        self.scale = None if config.residual_scale == 1.0 else Scale(config.residual_scale)
        self.skip_weight = skip_weight

    def branch_input(self, current: torch.Tensor, block_input: Any = None, first_input: Any = None) -> torch.Tensor:
        """What the branch reads: the sum so far, through `pre_norm`."""
        return current if self.pre_norm is None else self.pre_norm(current)

    def forward(self, hidden_states: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
        if self.branch_norm is not None:
            branch = self.branch_norm(branch)
        if self.layer_scale is not None:
            branch = self.layer_scale(branch)
        if self.dropout is not None:
            branch = self.dropout(branch)
        if self.scale is not None:
            branch = self.scale(branch)
        total = torch.add(branch, hidden_states, alpha=self.skip_weight)
        return total if self.post_norm is None else self.post_norm(total)


class ParallelResidual(Residual):
    """The residual of a later branch in a parallel wiring."""

    def branch_input(self, current: torch.Tensor, block_input: Any = None, first_input: Any = None) -> torch.Tensor:
        """What the branch reads: the block's input through a norm of its own, or what the first branch reads."""
        return first_input if self.pre_norm is None else self.pre_norm(block_input)


class TfmBlock(GradientCheckpointingLayer):
    """One layer of any stack. What may need a gradient is a positional argument (reentrant checkpointing drops the
    gradients of keyword arguments): hidden states (B, T, C), memory (B, S, C') or None, position bias (B, H, T, S) or
    None. `memory_kwargs`: keyword arguments of the cross-attention that differ from those of the self-attention."""

    def __init__(self, config: Any, layer_idx: int, is_causal: bool, memory_size: int | None, skip: float) -> None:
        super().__init__()
        wiring = WIRINGS[config.residual_type]
        later_residual = ParallelResidual if wiring.parallel else Residual
        first_norm = wiring.pre_norm and (config.first_layer_norm or layer_idx > 0)
        self.self_attn = SelfAttention(config, layer_idx, is_causal)
        self.self_attn_residual = Residual(config, first_norm, skip)
        self.cross_attn = None
        if memory_size is not None:
            self.cross_attn = CrossAttention(config, layer_idx, memory_size)
            self.cross_attn_residual = later_residual(config, wiring.later_pre_norm, skip)
        self.mlp = feed_forward_class(config, layer_idx)(config, config.intermediate_size)
        self.mlp_residual = later_residual(config, wiring.later_pre_norm, skip)

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        memory_kwargs: Any = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        first_input = self.self_attn_residual.branch_input(hidden_states)
        branch, _ = self.self_attn(first_input, memory, position_bias, **kwargs)
        current = self.self_attn_residual(hidden_states, branch)
        if self.cross_attn is not None:
            branch_input = self.cross_attn_residual.branch_input(current, hidden_states, first_input)
            branch, _ = self.cross_attn(branch_input, memory, **{**kwargs, **memory_kwargs})
            current = self.cross_attn_residual(current, branch)
        branch_input = self.mlp_residual.branch_input(current, hidden_states, first_input)
        return self.mlp_residual(current, self.mlp(branch_input))
