"""Position-wise feed-forward: one class per word of `mlp_type`.

Legend: B batch, T tokens, N = B x T, C hidden size, I intermediate size, E experts, K experts per token.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers.activations import ACT2FN
from transformers.integrations.moe import use_experts_implementation

from .absence import make_dropout


class PlainMLP(nn.Module):
    """down(act(up(x))).   Vaswani et al. 2017, section 3.3, arXiv:1706.03762."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, width, bias=config.mlp_bias)
        self.down_proj = nn.Linear(width, config.hidden_size, bias=config.mlp_bias)
        self.act_fn = ACT2FN[config.hidden_act]
        self.dropout = make_dropout(config.activation_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.dropout(self.act_fn(self.up_proj(hidden_states))))


class GatedMLP(PlainMLP):
    """down(act(gate(x)) * up(x)).   Shazeer 2020, arXiv:2002.05202."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__(config, width)
        self.gate_proj = nn.Linear(config.hidden_size, width, bias=config.mlp_bias)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate = self.act_fn(self.gate_proj(hidden_states))
        return self.down_proj(self.dropout(gate * self.up_proj(hidden_states)))


def as_they_are(weights: torch.Tensor) -> torch.Tensor:
    return weights


def summing_to_one(weights: torch.Tensor) -> torch.Tensor:
    return weights / weights.sum(dim=-1, keepdim=True)


class TfmRouter(nn.Module):
    """Chooses K experts per token by softmax over all.   Shazeer et al. 2017, arXiv:1701.06538; Mixtral, Qwen-MoE.

    Returns logits (N, E), weights (N, K) and indices (N, K); the logits are what the host records."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.scale = summing_to_one if config.norm_topk_prob else as_they_are
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = F.linear(tokens, self.weight)
        # fp32, the weights too: bf16 probabilities tie, and ties choose experts at random
        weights, index = F.softmax(logits.float(), dim=-1).topk(self.top_k, dim=-1)
        return logits, self.scale(weights), index


@use_experts_implementation
class TfmExperts(nn.Module):
    """E gated feed-forwards as packed tensors; `forward` is the reference, the host may run a grouped kernel."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        width = config.moe_intermediate_size
        self.num_experts = config.num_experts
        self.gate_up_proj = nn.Parameter(torch.empty(self.num_experts, 2 * width, config.hidden_size))
        self.down_proj = nn.Parameter(torch.empty(self.num_experts, config.hidden_size, width))
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, tokens: torch.Tensor, top_k_index: torch.Tensor, top_k_weights: torch.Tensor) -> torch.Tensor:
        result = torch.zeros_like(tokens)
        for expert in range(self.num_experts):
            token, rank = torch.where(top_k_index == expert)
            gate, up = F.linear(tokens[token], self.gate_up_proj[expert]).chunk(2, dim=-1)
            answer = F.linear(self.act_fn(gate) * up, self.down_proj[expert])
            result = result.index_add(0, token, (answer * top_k_weights[token, rank, None]).to(result.dtype))
        return result


class NoSharedExpert(nn.Module):
    def forward(self, tokens: torch.Tensor, routed: torch.Tensor) -> torch.Tensor:
        return routed


class SharedExpert(GatedMLP):
    """An expert that every token asks, behind a sigmoid gate of its own (Qwen2-MoE)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config, config.shared_expert_intermediate_size)
        self.gate = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, tokens: torch.Tensor, routed: torch.Tensor) -> torch.Tensor:
        return routed + torch.sigmoid(self.gate(tokens)) * super().forward(tokens)


class MixtureOfExperts(nn.Module):
    """Sum over the K chosen experts of weight x expert(x), plus the shared expert if there is one."""

    def __init__(self, config: Any, width: int) -> None:
        super().__init__()
        self.gate = TfmRouter(config)
        self.experts = TfmExperts(config)
        self.shared_expert = SharedExpert(config) if config.shared_expert_intermediate_size else NoSharedExpert()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        tokens = hidden_states.flatten(0, 1)  # (N, C)
        _, weights, index = self.gate(tokens)
        return self.shared_expert(tokens, self.experts(tokens, index, weights)).view_as(hidden_states)


FEED_FORWARDS: dict[str, type[nn.Module]] = {"plain": PlainMLP, "gated": GatedMLP, "moe": MixtureOfExperts}


def make_feed_forward(config: Any, layer_idx: int) -> nn.Module:
    """The configured feed-forward of a layer; layers that `moe_layers` leaves out are gated."""
    dense = config.moe_layers is not None and not config.moe_layers[layer_idx]
    return FEED_FORWARDS["gated" if dense else config.mlp_type](config, config.intermediate_size)
