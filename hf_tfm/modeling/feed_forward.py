"""Position-wise feed-forward: one class per value of `mlp_type`.

Legend: B batch, T tokens, N = B x T, C hidden size, I intermediate size, E experts, K experts per token.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.integrations.moe import use_experts_implementation

from .activations import make_activation
from .width_scaling import readout


class FeedForward(nn.Module):
    """Base of all feed-forwards: built from (config, intermediate size), maps (B, T, C) to (B, T, C)."""

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        """Tensor-parallel style of each submodule, by its name below this module. What is left out is computed whole
        by every process."""
        return {}

    @classmethod
    def ep_plan(cls, config: Any) -> dict[str, str]:
        """The same for expert parallelism."""
        return {}


class PlainMLP(FeedForward):
    """down(act(up(x))).   Vaswani et al. 2017, section 3.3, arXiv:1706.03762."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=config.mlp_bias)
        self.act_fn = make_activation(config.hidden_act)
        self.dropout = nn.Dropout(config.activation_dropout) if config.activation_dropout else None

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        return {"up_proj": "colwise", "down_proj": "rowwise"}

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        inner = self.act_fn(self.up_proj(hidden_states))
        if self.dropout is not None:
            inner = self.dropout(inner)
        return self.down_proj(inner)


class GatedMLP(PlainMLP):
    """down(act(gate(x)) * up(x)).   Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__(config, width)
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=config.mlp_bias)

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        return {"gate_proj": "colwise", **super().tp_plan(config)}

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        inner = self.act_fn(self.gate_proj(hidden_states)) * self.up_proj(hidden_states)
        if self.dropout is not None:
            inner = self.dropout(inner)
        return self.down_proj(inner)


class TfmRouter(nn.Module):
    """Chooses K experts per token by softmax over all.   Shazeer et al. 2017, arXiv:1701.06538; Mixtral, Qwen-MoE.

    Returns logits (N, E), weights (N, K) and indices (N, K); transformers records the logits."""

    width_role = "readout"

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.init_std = config.initializer_range
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))

    def reset_parameters(self) -> None:
        init.normal_(self.weight, std=self.init_std)

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = F.linear(tokens, self.weight)
        # fp32, the weights too: bf16 probabilities tie, and ties choose experts at random
        weights, index = F.softmax(logits.float(), dim=-1).topk(self.top_k, dim=-1)
        return logits, weights, index


class TfmNormalizedRouter(TfmRouter):
    """The same with the weights of the chosen experts divided by their sum (Mixtral)."""

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits, weights, index = super().forward(tokens)
        return logits, weights / weights.sum(dim=-1, keepdim=True), index


# elements of 16 bytes in the narrowest dtype of weights, 16 bits
EXPERT_ALIGNMENT = 8


def misaligned_expert_widths(config: Any) -> dict[str, int]:
    """The widths of experts, by field, that torch's grouped product refuses: rows must begin at multiples of 16
    bytes."""
    names = ("hidden_size", "decoder_hidden_size", "moe_intermediate_size")
    return {name: getattr(config, name) for name in names if getattr(config, name, 0) % EXPERT_ALIGNMENT}


@use_experts_implementation
class TfmExperts(nn.Module):
    """E gated feed-forwards as packed tensors. `forward` is the reference; transformers may run a grouped kernel
    instead. `init_std`, `down_init_std`: initial standard deviations, which depth and width scaling change."""

    width_role = "hidden"

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.moe_intermediate_size
        self.num_experts = config.num_experts
        self.init_std = self.down_init_std = config.initializer_range
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * width, config.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(self.num_experts, config.hidden_size, width))
        self.act_fn = make_activation(config.hidden_act)

    def reset_parameters(self) -> None:
        init.normal_(self.gate_up_proj, std=self.init_std)
        init.normal_(self.down_proj, std=self.down_init_std)

    def forward(self, tokens: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(tokens)
        for expert in range(self.num_experts):
            token, rank = torch.where(top_k_index == expert)
            gate, up = F.linear(tokens[token], self.gate_up_proj[expert]).chunk(2, dim=-1)
            output = F.linear(self.act_fn(gate) * up, self.down_proj[expert])
            result = result.index_add(0, token, (output * top_k_weights[token, rank, None]).to(result.dtype))
        return result


class SharedExpert(GatedMLP):
    """An expert that computes every token, scaled by a sigmoid gate of its own (Qwen2-MoE)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, config.shared_expert_intermediate_size)
        self.gate = readout(nn.Linear(config.hidden_size, 1, bias=False))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.gate(hidden_states)) * super().forward(hidden_states)


class MixtureOfExperts(FeedForward):
    """Sum over the K chosen experts of weight x expert(x), plus the shared expert if there is one."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.gate = TfmNormalizedRouter(config) if config.norm_topk_prob else TfmRouter(config)
        self.experts = TfmExperts(config)
        self.shared_expert = SharedExpert(config) if config.shared_expert_intermediate_size else None

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        plan = {
            "experts.gate_up_proj": "packed_colwise",
            "experts.down_proj": "rowwise",
            "experts": "moe_tp_experts",
        }
        if config.shared_expert_intermediate_size:
            plan |= {f"shared_expert.{name}": style for name, style in SharedExpert.tp_plan(config).items()}
        return plan

    @classmethod
    def ep_plan(cls, config: Any) -> dict[str, str]:
        return {
            "experts.gate_up_proj": "grouped_gemm",
            "experts.down_proj": "grouped_gemm",
            "experts": "ep_dispatch_experts",
        }

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        tokens = hidden_states.flatten(0, 1)  # (N, C)
        _, weights, index = self.gate(tokens)
        output = self.experts(tokens, index, weights)
        if self.shared_expert is not None:
            output = output + self.shared_expert(tokens)
        return output.view_as(hidden_states)


# value of `mlp_type` -> class, built from (config, intermediate size)
FEED_FORWARDS: dict[str, type[FeedForward]] = {"plain": PlainMLP, "gated": GatedMLP, "moe": MixtureOfExperts}


def feed_forward_class(config: Any, layer_idx: int) -> type[FeedForward]:
    """The configured class of a layer; a layer that `moe_layers` excludes is gated."""
    kind = FEED_FORWARDS[config.mlp_type]
    if issubclass(kind, MixtureOfExperts) and config.moe_layers is not None and not config.moe_layers[layer_idx]:
        return GatedMLP
    return kind
