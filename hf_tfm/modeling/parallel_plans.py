"""Parallel plans: which weight of which module lies where when a model is spread over processes.

transformers reads them from the configuration. Each class of the block describes its own part (`tp_plan`, `ep_plan`);
here the parts are joined. Tensor plans split heads and feed-forward units; the pipeline plan cuts between blocks; the
expert plan gives each process some experts; the FSDP plan names what is gathered together.
"""

from typing import Any

from .attention import CrossAttention, SelfAttention
from .feed_forward import feed_forward_class
from .position import POSITIONS

ATTENTIONS = {"self_attn": SelfAttention, "cross_attn": CrossAttention}


def with_prefix(prefix: str, plan: dict[str, Any]) -> dict[str, Any]:
    return {f"{prefix}.{name}": style for name, style in plan.items()}


def tensor_plan(stack: Any, attentions: tuple[str, ...] = ("self_attn",)) -> dict[str, str]:
    """Styles of the modules of one stack, by their names below it."""
    # heads that a norm needs together meet the whole bias and all sinks
    splits_heads = stack.qk_norm != "width"
    plan = {"embed_tokens": "embedding_rowwise"}
    for attention in attentions:
        plan |= with_prefix(f"layers.*.{attention}", ATTENTIONS[attention].tp_plan(stack))
        if splits_heads and stack.attention_sinks:
            plan[f"layers.*.{attention}"] = "local_params"
    for feed_forward in feed_forward_classes(stack):
        plan |= with_prefix("layers.*.mlp", feed_forward.tp_plan(stack))
    if splits_heads:
        plan |= POSITIONS[stack.position_type].tp_plan(stack)
    return plan


def feed_forward_classes(stack: Any) -> set[type[Any]]:
    return {feed_forward_class(stack, layer) for layer in range(stack.num_hidden_layers)}


def expert_plan(stack: Any) -> dict[str, str] | None:
    plan: dict[str, str] = {}
    for feed_forward in feed_forward_classes(stack):
        plan |= with_prefix("layers.*.mlp", feed_forward.ep_plan(stack))
    return plan or None


def pipeline_obstacle(stack: Any) -> str | None:
    """The field that forbids cutting this stack between blocks, None if nothing does. Later stages receive hidden
    states alone, as word vectors, so whatever is done to word vectors would be done again."""
    obstacles = {
        "position_type": POSITIONS[stack.position_type].changes_embeddings,
        "embedding_norm": stack.embedding_norm != "none",
        "embedding_size": stack.embedding_size != stack.hidden_size,
        "embedding_dropout": stack.embedding_dropout > 0,
        "value_residual": stack.value_residual,
    }
    return next((f"{name}={getattr(stack, name)!r}" for name, is_there in obstacles.items() if is_there), None)


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


class Seq2SeqPlans:
    """The plans of a configuration that describes an encoder and a decoder."""

    decoder_view: Any
    # word tables stay with FSDP's root group: tied ones may not be gathered in two places
    base_model_fsdp_plan = {
        "encoder.layers.*": "free_full_weight",
        "decoder.layers.*": "free_full_weight",
        "encoder.norm": "keep_full_weight",
        "decoder.norm": "keep_full_weight",
    }

    @property
    def base_model_tp_plan(self) -> dict[str, str]:
        decoder = tensor_plan(self.decoder_view, ("self_attn", "cross_attn"))
        return with_prefix("encoder", tensor_plan(self)) | with_prefix("decoder", decoder)

    @property
    def base_model_ep_plan(self) -> dict[str, str] | None:
        experts = expert_plan(self)
        return experts and with_prefix("encoder", experts) | with_prefix("decoder", experts)
