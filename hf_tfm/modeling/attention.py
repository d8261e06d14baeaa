"""Multi-head attention. Subclasses fill one blank, `project_qkv`: where queries, keys and values come from.

`SelfAttention` computes all three from the hidden states, `CrossAttention` computes keys and values from the encoder's
output. The kernel belongs to transformers and is named by `attn_implementation`; `eager_attention_forward` is the
reference that supports every option.

Legend: B batch, T queries, S keys, H heads, K key-value heads, D head size, C hidden size.
"""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.integrations.sdpa_attention import repeat_kv
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .caches import self_attention_cache, update_cache, update_cache_of_one_token
from .normalization import is_normed_after_rotation, make_qk_norm, norm_heads
from .position import make_query_temperature, make_rotation
from .value_residual import make_value_residual
from .width_scaling import make_width_scaling


def soft_cap(values: torch.Tensor, cap: float) -> torch.Tensor:
    """cap tanh(x / cap): values bounded by `cap`.   Gemma Team 2024, arXiv:2408.00118."""
    return cap * torch.tanh(values / cap)


def attention_weights(scores: torch.Tensor, sinks: torch.Tensor | None) -> torch.Tensor:
    """Softmax of scores (B, H, T, S); with sinks (H,), over one more column: a learned logit per head whose value is
    zero.   Xiao et al. 2023, arXiv:2309.17453; gpt-oss."""
    if sinks is not None:
        column = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(scores.shape[0], -1, scores.shape[2], 1)
        return attention_weights(torch.cat((scores, column), dim=-1), None)[..., :-1]
    # fp32: bf16 softmax loses weights below 2**-8 of the largest
    return scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)


def eager_attention_forward(
    module: "Attention",
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(cap(q k^T scaling) + bias + mask) v, spelled out; returns (B, T, H, D) and weights (B, H, T, S)."""
    key, value = (repeat_kv(states, module.num_key_value_groups) for states in (key, value))
    scores = torch.matmul(query, key.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = soft_cap(scores, softcap)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = nn.functional.dropout(attention_weights(scores, s_aux), p=dropout, training=module.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


# none; one gate per head; one per element of each head
OUTPUT_GATES = ("none", "head", "channel")


def output_gate(projected: torch.Tensor, num_heads: int) -> torch.Tensor:
    """What multiplies the heads' outputs (B, T, H, D): the sigmoid of `gate_proj`, (B, T, H, 1 or D).
    Qiu et al. 2025, arXiv:2505.06708."""
    return projected.sigmoid().unflatten(-1, (num_heads, -1))


class Attention(nn.Module):
    """o_proj(gate kernel(q, k, v)), the gate where `attention_output_gate` has one.
    Vaswani et al. 2017, section 3.2; grouped: Ainslie et al. 2023, arXiv:2305.13245.

    `forward` returns the output (B, T, C) and the weights (B, H, T, S), None where the kernel does not keep them."""

    def __init__(self, config: Any, layer_idx: int, is_causal: bool, source_size: int) -> None:
        super().__init__()
        self.config, self.layer_idx, self.is_causal = config, layer_idx, is_causal
        self.head_dim = config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = make_width_scaling(config).attention_scale
        self.attention_dropout = nn.Dropout(config.attention_dropout)
        self.sliding_window: int | None = None
        self.softcap = config.attn_logit_softcapping
        if config.attention_sinks:
            # absent, not None, where not configured: transformers' paged kernel asks whether the attribute exists
            self.sinks = nn.Parameter(torch.zeros(config.num_attention_heads))

        width, kv_width = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, width, bias=config.qkv_bias)
        self.k_proj = nn.Linear(source_size, kv_width, bias=config.qkv_bias)
        self.v_proj = nn.Linear(source_size, kv_width, bias=config.qkv_bias)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=config.out_bias)
        gates = {"none": 0, "head": config.num_attention_heads, "channel": width}[config.attention_output_gate]
        self.gate_proj = nn.Linear(config.hidden_size, gates, bias=config.qkv_bias) if gates else None
        self.q_norm = make_qk_norm(config, config.num_attention_heads)
        self.k_norm = make_qk_norm(config, config.num_key_value_heads)
        self.value_residual: nn.Module | None = None

    def reset_parameters(self) -> None:
        """Initialises the parameters of this module itself, those of its submodules apart."""
        if "sinks" in self._parameters:
            init.zeros_(self.sinks)

    @classmethod
    def qk_norm_names(cls, config: Any) -> tuple[str, str]:
        """Names of the norms of queries and keys below this module."""
        return "q_norm", "k_norm"

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        """Tensor-parallel style of each submodule, by its name below this module: columns of the first matrices, rows
        of the last, one sum over processes per branch.   Shoeybi et al. 2019, arXiv:1909.08053"""
        columns = ["q_proj", "k_proj", "v_proj"]
        if config.attention_output_gate != "none":
            columns.append("gate_proj")
        if config.qk_norm == "width":
            # the norm needs all heads together, so only the weights are split
            return {**dict.fromkeys(columns, "colwise_gather_output"), "o_proj": "rowwise_split_input"}
        plan = {**dict.fromkeys(columns, "colwise"), "o_proj": "rowwise"}
        norms = cls.qk_norm_names(config)
        if config.qk_norm == "head":
            plan |= dict.fromkeys(norms, "replicated_with_grad_allreduce")
        if config.qk_norm == "heads":
            plan |= {f"{norm}.weight": "colwise" for norm in norms}
            plan |= dict.fromkeys(norms, "local_params")
        if config.attention_sinks:
            plan["sinks"] = "colwise"
        return plan

    def project_heads(self, projection: nn.Module, norm: nn.Module | None, states: torch.Tensor) -> torch.Tensor:
        """(B, T, C) to (B, H, T, D)."""
        heads = projection(states).unflatten(-1, (-1, self.head_dim))  # (B, T, H, D)
        if norm is not None:
            heads = norm(heads)
        return heads.transpose(1, 2)

    def project_qkv(
        self,
        hidden_states: torch.Tensor,
        memory: Any,
        position_embeddings: Any,
        past_key_values: Any,
        first_values: Any,
        position_ids: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (B, H, T, D), keys and values (B, K, S, D)."""
        raise NotImplementedError

    def forward(
        self,
        hidden_states: torch.Tensor,
        memory: torch.Tensor | None = None,
        position_bias: torch.Tensor | None = None,
        attention_mask: Any = None,
        position_embeddings: Any = None,
        past_key_values: Any = None,
        first_values: Any = None,
        varlen: Any = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`first_values`: what layers share, see `value_residual.py`. `varlen`: an attention over several sequences of
        one unpadded row, see `varlen_attention.py`."""
        query, key, value = self.project_qkv(
            hidden_states, memory, position_embeddings, past_key_values, first_values, kwargs.get("position_ids")
        )
        kernel = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        options = {
            "dropout": self.attention_dropout.p * self.training,
            "scaling": self.scaling,
            "sliding_window": self.sliding_window,
            "softcap": self.softcap,
            "s_aux": self._parameters.get("sinks"),
            "position_bias": position_bias,
            **kwargs,
        }
        if varlen is None:
            output, weights = kernel(self, query, key, value, attention_mask, **options)
        else:
            output, weights = varlen.attend(kernel, self, query, key, value, attention_mask, **options)
        # vLLM's kernel returns rows of tokens (B T, H D)
        output = output.reshape(*hidden_states.shape[:-1], -1, self.head_dim)
        if self.gate_proj is not None:
            output = output * output_gate(self.gate_proj(hidden_states), output.shape[2])
        return self.o_proj(output.flatten(2)), weights


class SelfAttention(Attention):
    """Queries, keys and values from the hidden states; keys and values go through the cache where there is one."""

    def __init__(self, config: Any, layer_idx: int, is_causal: bool) -> None:
        super().__init__(config, layer_idx, is_causal, config.hidden_size)
        self.rotation = make_rotation(config, layer_idx)
        self.query_temperature = make_query_temperature(config)
        self.value_residual = make_value_residual(config, layer_idx)
        self.rotated_q_norm = self.rotated_k_norm = None
        if is_normed_after_rotation(config):
            self.rotated_q_norm, self.rotated_k_norm = self.q_norm, self.k_norm
            self.q_norm = self.k_norm = None
        if config.layer_types[layer_idx] == "sliding_attention":
            # flash attention counts W keys on either side with the query among them; our two-sided window is a radius
            self.sliding_window = config.sliding_window + (not is_causal)
        self.update_cache = update_cache_of_one_token if self.sliding_window == 1 else update_cache

    @classmethod
    def qk_norm_names(cls, config: Any) -> tuple[str, str]:
        prefix = "rotated_" if is_normed_after_rotation(config) else ""
        return f"{prefix}q_norm", f"{prefix}k_norm"

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        plan = super().tp_plan(config)
        if config.value_residual and plan["v_proj"] == "colwise":
            # its gradient covers this process's heads
            plan["value_residual"] = "replicated_with_grad_allreduce"
        return plan

    def project_qkv(
        self,
        hidden_states: torch.Tensor,
        memory: Any,
        position_embeddings: Any,
        past_key_values: Any,
        first_values: Any,
        position_ids: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query = self.project_heads(self.q_proj, self.q_norm, hidden_states)
        key = self.project_heads(self.k_proj, self.k_norm, hidden_states)
        value = self.project_heads(self.v_proj, None, hidden_states)
        if self.value_residual is not None:
            value = self.value_residual(value, first_values)
        if self.rotation is not None:
            query, key = self.rotation(query, key, position_embeddings)
        if self.rotated_q_norm is not None:
            query, key = norm_heads(self.rotated_q_norm, query), norm_heads(self.rotated_k_norm, key)
        if self.query_temperature is not None:
            query = self.query_temperature(query, position_ids)
        if past_key_values is not None:
            key, value = self.update_cache(self_attention_cache(past_key_values), key, value, self.layer_idx)
        return query, key, value


class CrossAttention(Attention):
    """Queries from the hidden states, keys and values from the memory, the encoder's output: no positions, no window,
    not causal. The cache keeps the memory's keys and values from the first step on."""

    def __init__(self, config: Any, layer_idx: int, memory_size: int) -> None:
        super().__init__(config, layer_idx, is_causal=False, source_size=memory_size)

    def project_qkv(
        self,
        hidden_states: torch.Tensor,
        memory: Any,
        position_embeddings: Any,
        past_key_values: Any,
        first_values: Any,
        position_ids: Any,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        query = self.project_heads(self.q_proj, self.q_norm, hidden_states)
        if past_key_values is not None and past_key_values.is_updated.get(self.layer_idx, False):
            cached = past_key_values.cross_attention_cache.layers[self.layer_idx]
            return query, cached.keys, cached.values
        key = self.project_heads(self.k_proj, self.k_norm, memory)
        value = self.project_heads(self.v_proj, None, memory)
        if past_key_values is not None:
            past_key_values.is_updated[self.layer_idx] = True
            key, value = past_key_values.cross_attention_cache.update(key, value, self.layer_idx)
        return query, key, value
