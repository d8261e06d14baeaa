"""Parallel plans: which weight of which module lies where when a model is spread over processes.

The host reads them from the configuration. Tensor plans split heads and feed-forward units; the pipeline plan cuts
between blocks; the expert plan gives each process some experts; the FSDP plan names what is gathered together.
"""

from typing import Any

# columns of the first matrices, rows of the second: one sum over processes per branch.  Shoeybi et al. 2019,
# arXiv:1909.08053
SPLIT_HEADS = {"q_proj": "colwise", "k_proj": "colwise", "v_proj": "colwise", "o_proj": "rowwise"}
# a norm over all heads needs them together, so only the weights are split
GATHERED_HEADS = dict.fromkeys(("q_proj", "k_proj", "v_proj"), "colwise_gather_output") | {
    "o_proj": "rowwise_split_input"
}
PLAIN = {"up_proj": "colwise", "down_proj": "rowwise"}
GATED = {"gate_proj": "colwise", **PLAIN}
EXPERTS = {"experts.gate_up_proj": "packed_colwise", "experts.down_proj": "rowwise", "experts": "moe_tp_experts"}
DISPATCHED = {
    "experts.gate_up_proj": "grouped_gemm",
    "experts.down_proj": "grouped_gemm",
    "experts": "ep_dispatch_experts",
}


def under(prefix: str, plan: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": style for name, style in plan.items()}


def attention_plan(stack: Any) -> dict[str, str]:
    """What one attention does with its heads."""
    if stack.qk_norm == "width":
        return GATHERED_HEADS
    plan = dict(SPLIT_HEADS)
    for norm in ("q_norm", "k_norm"):
        if stack.qk_norm == "head":
            plan[norm] = "replicated_with_grad_allreduce"
        if stack.qk_norm == "heads":
            plan |= {f"{norm}.weight": "colwise", norm: "local_params"}
    if stack.attention_sinks:
        plan["sinks"] = "colwise"
    return plan


def feed_forward_plan(stack: Any) -> dict[str, str]:
    """What the feed-forwards of a stack do, dense and with experts."""
    if stack.mlp_type != "moe":
        return {"plain": PLAIN, "gated": GATED}[stack.mlp_type]
    shared = under("shared_expert", GATED) if stack.shared_expert_intermediate_size else {}
    some_dense = GATED if stack.moe_layers is not None and not all(stack.moe_layers) else {}
    experts = {**EXPERTS, **shared} if has_experts(stack) else {}
    return {**experts, **some_dense}


def has_experts(stack: Any) -> bool:
    return stack.mlp_type == "moe" and (stack.moe_layers is None or any(stack.moe_layers))


def tensor_plan(stack: Any, attentions: tuple[str, ...] = ("self_attn",)) -> dict[str, str]:
    """Styles of the modules of one stack, by their names below it."""
    split = stack.qk_norm != "width"  # gathered heads meet the whole bias and all sinks
    block = {}
    for attention in attentions:
        block |= under(attention, attention_plan(stack))
        if split and stack.attention_sinks:
            block[attention] = "local_params"
    if split and stack.position_type in ("alibi", "relative_bias"):
        block["self_attn"] = "own_heads_bias"
    plan = under("layers.*", block | under("mlp", feed_forward_plan(stack)))
    if split and stack.position_type == "relative_bias":
        # every process reads the whole table, and learns from its own heads
        plan["position.relative_attention_bias"] = "replicated_with_grad_allreduce"
    return {"embed_tokens": "embedding_rowwise", **plan}


def pipeline_obstacle(stack: Any) -> str | None:
    """The field that forbids cutting this stack between blocks, None if nothing does. Later stages enter the trunk
    with hidden states in the place of word vectors, so whatever is done to word vectors would be done again."""
    ways_in = {
        "position_type": stack.position_type in ("learned", "sinusoidal"),
        "embedding_norm": stack.embedding_norm != "none",
        "embedding_size": stack.embedding_size != stack.hidden_size,
        "embedding_dropout": stack.embedding_dropout > 0,
    }
    return next((f"{name}={getattr(stack, name)!r}" for name, changes_words in ways_in.items() if changes_words), None)


def expert_plan(stack: Any) -> dict[str, str] | None:
    return under("layers.*.mlp", DISPATCHED) if has_experts(stack) else None


class StackPlans:
    """The plans of a configuration that describes one stack."""

    @property
    def base_model_tp_plan(self) -> dict[str, str]:
        return tensor_plan(self)

    @property
    def base_model_ep_plan(self) -> dict[str, str] | None:
        return expert_plan(self)


class PipelinePlans(StackPlans):
    """The same, with the pipeline plan of a decoder."""

    @property
    def base_model_pp_plan(self) -> dict[str, Any] | None:
        if pipeline_obstacle(self) is not None:
            return None
        return {
            "embed_tokens": (["input_ids"], ["inputs_embeds"]),
            "layers": (["hidden_states", "attention_mask"], ["hidden_states"]),
            "norm": (["hidden_states"], ["hidden_states"]),
        }


DECODER_ATTENTIONS = ("self_attn", "cross_attn")


class PairPlans:
    """The plans of a configuration that describes an encoder and a decoder."""

    decoder_view: Any
    # the word tables stay with the root: tied ones may not be gathered in two places
    base_model_fsdp_plan = {
        "encoder.layers.*": "free_full_weight",
        "decoder.layers.*": "free_full_weight",
        "encoder.norm": "keep_full_weight",
        "decoder.norm": "keep_full_weight",
    }

    @property
    def base_model_tp_plan(self) -> dict[str, str]:
        decoder = tensor_plan(self.decoder_view, DECODER_ATTENTIONS)
        return under("encoder", tensor_plan(self)) | under("decoder", decoder)

    @property
    def base_model_ep_plan(self) -> dict[str, str] | None:
        experts = expert_plan(self)
        return experts and under("encoder", experts) | under("decoder", experts)
