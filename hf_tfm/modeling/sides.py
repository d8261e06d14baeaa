"""Sides of a configuration: what one stack of blocks reads, and the relations between its sizes."""

from typing import Any

from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

LAYER_TYPES = ("full_attention", "sliding_attention")

DECODER_NAMES = {
    "num_hidden_layers": "decoder_layers",
    "num_attention_heads": "decoder_attention_heads",
    "embedding_size": "decoder_embedding_size",
    **{
        name: f"decoder_{name}"
        for name in (
            "vocab_size", "hidden_size", "num_key_value_heads", "head_dim", "intermediate_size", "layer_types",
            "embedding_scale",
        )
    },
}  # fmt: skip


class DecoderView:
    """A live view of a `TfmSeq2SeqConfig` in which plain names are the decoder's. Blocks are built from it; what the
    host changes later on the one shared configuration (attention implementation, say) is seen through it at once."""

    def __init__(self, config: Any) -> None:
        self.shared = config

    def __getattr__(self, name: str) -> Any:
        if name == "shared":
            raise AttributeError(name)
        return getattr(self.shared, DECODER_NAMES.get(name, name))

    @property
    def per_layer_config(self) -> list["DecoderView"]:
        """One entry per layer, as caches count them."""
        return [self] * self.num_hidden_layers

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "DecoderView":
        """Itself: the host asks for the decoder's side, and this is it."""
        return self


def whole_heads(hidden_size: int, num_heads: int, prefix: str = "") -> int:
    """Size of one head; `prefix` names the side. Raises ValueError if the heads do not divide the width."""
    if num_heads < 1 or hidden_size % num_heads:
        raise ValueError(
            f"{prefix}hidden_size ({hidden_size}) must be a multiple of the number of attention heads ({num_heads}), "
            f"or {prefix}head_dim must be given."
        )
    return hidden_size // num_heads


def check_stack(stack: Any, prefix: str) -> None:
    """Relations between the sizes of one stack; `prefix` names the side in errors."""
    heads, groups = stack.num_attention_heads, stack.num_key_value_heads
    if groups < 1 or heads % groups:
        near = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        raise ValueError(f"{prefix}num_key_value_heads ({groups}) must divide num_attention_heads ({heads}): {near}.")
    for name in ("layer_types", "rope_layers", "moe_layers"):
        entries = getattr(stack, name)
        if entries is not None and len(entries) != stack.num_hidden_layers:
            raise ValueError(f"{prefix}{name} has {len(entries)} entries for {stack.num_hidden_layers} layers.")
    odd = sorted(set(stack.layer_types) - set(LAYER_TYPES))
    if odd:
        raise ValueError(f"{prefix}layer_types has {odd}; allowed are {list(LAYER_TYPES)}.")
    if "sliding_attention" in stack.layer_types and (stack.sliding_window is None or stack.sliding_window < 1):
        raise ValueError(f"Sliding layers need sliding_window of at least 1 token, got {stack.sliding_window}.")


def repeated(layer_types: list[str], num_layers: int) -> list[str]:
    """The layer types of a stack of `num_layers`, after the other stack's. Raises ValueError if these differ among
    themselves and the depths differ too: then there is no telling."""
    if len(layer_types) == num_layers:
        return list(layer_types)
    if len(set(layer_types)) > 1:
        raise ValueError(
            f"layer_types mixes {sorted(set(layer_types))} over {len(layer_types)} layers; the decoder has "
            f"{num_layers} layers, so give decoder_layer_types."
        )
    return layer_types[:1] * num_layers


def check_rotary(config: Any) -> None:
    """Rotary parameters: one dictionary, or one for each layer type that the stacks have."""
    given = config.rope_parameters
    nested = [kind for kind in LAYER_TYPES if kind in given]
    missing = sorted(set(config.layer_types) - set(nested))
    if nested and missing:
        raise ValueError(f"rope_parameters are given for {nested} but not for {missing}, which the layers have.")
    known = ["default", *ROPE_INIT_FUNCTIONS]
    for parameters in [given[kind] for kind in nested] or [given]:
        if parameters["rope_type"] not in known:
            raise ValueError(f"rope_type is {parameters['rope_type']!r}; allowed are {known}.")
        turned = int(config.head_dim * parameters.get("partial_rotary_factor", 1.0))
        if parameters["rope_type"] != "proportional" and (turned < 2 or turned % 2):
            raise ValueError(
                f"Rotary positions turn pairs, but head_dim ({config.head_dim}) times partial_rotary_factor "
                f"({parameters.get('partial_rotary_factor', 1.0)}) gives {turned} entries."
            )


def check_experts(config: Any) -> None:
    """Fields that only experts have, and what experts do not have."""
    wanted = {
        "moe_layers": config.moe_layers is not None,
        "output_router_logits": config.output_router_logits,
        "shared_expert_intermediate_size": config.shared_expert_intermediate_size is not None,
    }
    for name in [name for name, given in wanted.items() if given and config.mlp_type != "moe"]:
        raise ValueError(f'{name} needs mlp_type="moe", got "{config.mlp_type}".')
    if config.mlp_type != "moe":
        return
    if not 1 <= config.num_experts_per_tok <= config.num_experts:
        raise ValueError(
            f"num_experts_per_tok ({config.num_experts_per_tok}) must lie between 1 and num_experts "
            f"({config.num_experts})."
        )
    if config.mlp_bias or config.activation_dropout:
        raise ValueError(
            'Experts have neither biases nor an inner dropout: with mlp_type="moe" set mlp_bias=False and '
            "activation_dropout=0."
        )
