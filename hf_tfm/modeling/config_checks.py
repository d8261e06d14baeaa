"""Checks of a configuration: legal values of a field, and relations between fields."""

from collections.abc import Collection
from typing import Any

from huggingface_hub.dataclasses import as_validated_field
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

LAYER_TYPES = ("full_attention", "sliding_attention")


def one_of(registry: Collection[str], default: str) -> Any:
    """A field of a configuration whose values are the keys of a registry, entries added later included."""

    @as_validated_field
    def check(value: str) -> None:
        if value not in registry:
            raise ValueError(f"{value!r} is not one of {list(registry)}")

    return check(default=default)


def head_size(hidden_size: int, num_heads: int, prefix: str = "") -> int:
    """Size of one head; `prefix` is that of the fields. Raises ValueError if the heads do not divide the width."""
    if num_heads < 1 or hidden_size % num_heads:
        raise ValueError(
            f"{prefix}hidden_size ({hidden_size}) must be a multiple of the number of attention heads ({num_heads}), "
            f"or {prefix}head_dim must be given."
        )
    return hidden_size // num_heads


def check_stack(stack: Any, prefix: str) -> None:
    """Raises ValueError for impossible relations between the sizes of one stack; `prefix` is that of its fields."""
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


def repeat_layer_types(layer_types: list[str], num_layers: int) -> list[str]:
    """The layer types of a stack of `num_layers`, taken from the other stack's. Raises ValueError if these are of
    several kinds and the depths differ."""
    if len(layer_types) == num_layers:
        return list(layer_types)
    if len(set(layer_types)) > 1:
        raise ValueError(
            f"layer_types mixes {sorted(set(layer_types))} over {len(layer_types)} layers; the decoder has "
            f"{num_layers} layers, so give decoder_layer_types."
        )
    return layer_types[:1] * num_layers


def check_positions(config: Any) -> None:
    """Raises ValueError for fields that do not belong to the chosen positional encoding."""
    for name in ("rope_parameters", "rope_layers"):
        if getattr(config, name) and config.position_type != "rotary":
            raise ValueError(
                f'{name} is set but position_type is "{config.position_type}"; drop one of them, or set '
                'position_type="rotary".'
            )
    if config.position_type == "sinusoidal" and (config.embedding_size or config.hidden_size) % 2:
        raise ValueError(f"Sinusoidal positions need an even embedding_size, got {config.embedding_size}.")
    has_offset = config.position_type in ("learned", "sinusoidal")
    if config.position_offset < 0 or (config.position_offset and not has_offset):
        raise ValueError(
            f"position_offset must be 0 or more, and 0 unless positions are learned or sinusoidal; got "
            f'{config.position_offset} with position_type="{config.position_type}".'
        )
    if config.position_type == "rotary":
        check_rotary(config)


def check_rotary(config: Any) -> None:
    """Raises ValueError unless there is one dictionary of rotary parameters, or one for each layer type in use."""
    given = config.rope_parameters
    nested = [kind for kind in LAYER_TYPES if kind in given]
    missing = sorted(set(config.layer_types) - set(nested))
    if nested and missing:
        raise ValueError(f"rope_parameters are given for {nested} but not for {missing}, which the layers have.")
    known = ["default", *ROPE_INIT_FUNCTIONS]
    for parameters in [given[kind] for kind in nested] or [given]:
        if parameters["rope_type"] not in known:
            raise ValueError(f"rope_type is {parameters['rope_type']!r}; allowed are {known}.")
        rotated = int(config.head_dim * parameters.get("partial_rotary_factor", 1.0))
        if parameters["rope_type"] != "proportional" and (rotated < 2 or rotated % 2):
            raise ValueError(
                f"Rotary positions rotate pairs, but head_dim ({config.head_dim}) times partial_rotary_factor "
                f"({parameters.get('partial_rotary_factor', 1.0)}) gives {rotated} elements."
            )


def check_experts(config: Any) -> None:
    """Raises ValueError for fields that only experts have, and for what experts do not have."""
    given = {
        "moe_layers": config.moe_layers is not None,
        "output_router_logits": config.output_router_logits,
        "shared_expert_intermediate_size": config.shared_expert_intermediate_size is not None,
    }
    for name in [name for name, is_set in given.items() if is_set and config.mlp_type != "moe"]:
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


def check_wiring(config: Any) -> None:
    """Raises ValueError for depth scaling that is not defined for the residual wiring."""
    if config.depth_scaling == "deepnorm" and config.residual_type != "post":
        raise ValueError(
            f'depth_scaling="deepnorm" is defined for residual_type="post", got "{config.residual_type}"; '
            'use depth_scaling="scaled" there.'
        )
    if config.depth_scaling == "deepnorm" and config.residual_scale != 1.0:
        raise ValueError(
            f"deepnorm sets the residual weights itself; residual_scale must be 1.0, got {config.residual_scale}."
        )
