"""Checks of a configuration: relations between its fields."""

import math
from typing import Any

import torch
from torch.utils._python_dispatch import _disable_current_modes
from transformers.modeling_rope_utils import RopeParameters

from .field_values import LAYER_TYPES
from .position import POSITIONS
from .rotary_embedding import RopeConfigView, TfmRotaryEmbedding, rotated_size


def head_size(hidden_size: int, num_heads: int, prefix: str = "") -> int:
    """Size of one head; `prefix` is that of the fields. Raises ValueError if the heads do not divide the width."""
    if hidden_size % num_heads:
        raise ValueError(
            f"{prefix}hidden_size ({hidden_size}) must be a multiple of the number of attention heads ({num_heads}), "
            f"or {prefix}head_dim must be given."
        )
    return hidden_size // num_heads


def check_stack(stack: Any, prefix: str, is_causal: bool) -> None:
    """Raises ValueError for impossible relations between the fields of one stack; `prefix` is that of its fields."""
    heads, groups = stack.num_attention_heads, stack.num_key_value_heads
    if heads % groups:
        near = ", ".join(str(n) for n in range(1, heads + 1) if heads % n == 0)
        raise ValueError(f"{prefix}num_key_value_heads ({groups}) must divide num_attention_heads ({heads}): {near}.")
    for name in ("layer_types", "rope_layers", "moe_layers"):
        entries = getattr(stack, name, None)
        if entries is not None and len(entries) != stack.num_hidden_layers:
            raise ValueError(
                f"{prefix}{name} has {len(entries)} entries for {stack.num_hidden_layers} layers; give both together."
            )
    odd = sorted(set(stack.layer_types) - set(LAYER_TYPES))
    if odd:
        raise ValueError(f"{prefix}layer_types has {odd}; allowed are {list(LAYER_TYPES)}.")
    if "sliding_attention" in stack.layer_types and stack.sliding_window is None:
        raise ValueError(f"Sliding layers need sliding_window, a number of tokens, got {stack.sliding_window}.")
    if stack.query_temperature is None and stack.query_temperature_length is not None:
        raise ValueError(
            f"query_temperature_length ({stack.query_temperature_length}) is read with query_temperature only; give "
            "both, or leave it None."
        )
    POSITIONS[stack.position_type].check(stack, prefix, is_causal)
    if stack.position_type == "rotary":
        check_rotary(stack, prefix)


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


def check_entries(config: Any) -> None:
    """Raises ValueError for a field that must not be empty."""
    for name in ("id2label", "eos_token_id"):
        if getattr(config, name) in ({}, []):
            raise ValueError(f"{name} is empty; give at least one entry, or None.")


def check_decoder_ids(config: Any) -> None:
    """Raises ValueError unless the ids that shifted labels hold are rows of the decoder's table."""
    for name in ("pad_token_id", "decoder_start_token_id"):
        value = getattr(config, name)
        if value is not None and not 0 <= value < config.decoder_vocab_size:
            raise ValueError(
                f"{name} ({value}) must be an id of the decoder's vocabulary, 0 to {config.decoder_vocab_size - 1}: it "
                "stands in decoder inputs made from labels. decoder_start_token_id is by default bos_token_id, else "
                "pad_token_id."
            )


def check_seq2seq(config: Any) -> None:
    """Raises ValueError for what an encoder-decoder does not have, and for stacks that do not fit together."""
    for name in ("rope_layers", "moe_layers"):
        if getattr(config, name, None) is not None:
            raise ValueError(f"{name} is not available for the encoder-decoder architecture; leave it None.")
    if config.tie_encoder_decoder_embeddings and config.decoder_vocab_size != config.vocab_size:
        raise ValueError(
            f"Tied tables need one vocabulary, got vocab_size {config.vocab_size} and decoder_vocab_size "
            f"{config.decoder_vocab_size}; set tie_encoder_decoder_embeddings=False."
        )
    if config.decoder_hidden_size != config.hidden_size and (
        config.tie_encoder_decoder_embeddings or config.embedding_size != config.hidden_size
    ):
        raise ValueError(
            f"decoder_hidden_size ({config.decoder_hidden_size}) differs from hidden_size ({config.hidden_size}): "
            "set tie_encoder_decoder_embeddings=False and leave embedding_size None."
        )
    check_decoder_ids(config)


def check_rotary(stack: Any, prefix: str) -> None:
    """Raises ValueError unless there is one dictionary of rotary parameters, or one for each layer type of the stack,
    and each gives frequencies for its heads."""
    given = stack.rope_parameters or {}
    by_type = [key for key, value in given.items() if isinstance(value, dict)]
    missing = sorted(set(stack.layer_types) - set(by_type))
    if by_type and missing:
        raise ValueError(
            f"rope_parameters are given for {by_type} but not for {missing}, which {prefix}layer_types has."
        )
    if by_type and len(by_type) < len(given):
        raise ValueError(f"rope_parameters hold dictionaries for {by_type} and single values; drop one: {given}.")
    for parameters in [given[kind] for kind in by_type] or [given]:
        check_frequencies(RopeConfigView(stack, parameters), prefix)


def check_frequencies(view: RopeConfigView, prefix: str) -> None:
    """Raises ValueError unless `rope_parameters` hold numbers and give frequencies for `head_dim`."""
    given, formulas = view.rope_parameters, TfmRotaryEmbedding.formulas()
    if given.get("rope_type") not in formulas:
        raise ValueError(f"rope_type is {given.get('rope_type')!r}; allowed are {list(formulas)}.")
    for name in sorted(RopeParameters.__annotations__.keys() - {"rope_type", "truncate"}):
        entries = given[name] if isinstance(given.get(name), list) else [given.get(name)]
        if not all(entry is None or is_number(entry) for entry in entries):
            raise ValueError(f"{name} of rope_parameters is {given[name]!r}; it must be a finite number, at least 0.")
    share = given.get("partial_rotary_factor", 1.0)
    rotated = rotated_size(view.head_dim, given) if share is not None else 0
    if rotated < 2 or rotated % 2 or rotated > view.head_dim:
        raise ValueError(
            f"Rotary positions rotate pairs, but {prefix}head_dim ({view.head_dim}) times partial_rotary_factor "
            f"({share}) gives {rotated} elements."
        )
    for name in ("short_factor", "long_factor"):
        if isinstance(given.get(name), list) and len(given[name]) != rotated // 2:
            raise ValueError(
                f"{name} of rope_parameters has {len(given[name])} entries; {prefix}head_dim ({view.head_dim}) needs "
                f"one per rotated pair, {rotated // 2}."
            )
    low, high = given.get("low_freq_factor"), given.get("high_freq_factor")
    if low is not None and high is not None and low >= high:
        raise ValueError(f"rope_parameters need a high_freq_factor ({high}) above their low_freq_factor ({low}).")
    reason = frequency_error(view)
    if reason:
        raise ValueError(
            f"rope_parameters {given} give no finite, positive frequencies for {prefix}head_dim ({view.head_dim}) and "
            f"max_position_embeddings ({view.max_position_embeddings}): {reason}."
        )


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def frequency_error(view: RopeConfigView) -> str | None:
    """What is wrong with the frequencies of `rope_parameters`, by their own formula, computed for the trained length
    and for a longer one; None if nothing is."""
    formula = TfmRotaryEmbedding.formulas()[view.rope_parameters["rope_type"]]
    # on the CPU with values, also where a model is made on the meta device or of fake tensors
    with torch.device("cpu"), _disable_current_modes():
        for length in (None, 2 * view.max_position_embeddings):
            try:
                frequencies, factor = formula(view, seq_len=length)
            except KeyError as error:
                return f"{error} is missing"
            except (ArithmeticError, TypeError, ValueError, RuntimeError) as error:
                return str(error)
            if not frequencies.isfinite().all() or frequencies.min() < 0 or frequencies.max() == 0:
                return f"they are {frequencies.tolist()[:8]} for {length or 'its'} tokens"
            if not 0 < factor < math.inf:
                return f"attention_factor is {factor}"
    return None


def check_experts(config: Any) -> None:
    """Raises ValueError for more chosen experts than there are, and for what experts do not have."""
    if config.mlp_type != "moe":
        return
    if config.num_experts_per_tok > config.num_experts:
        raise ValueError(
            f"num_experts_per_tok ({config.num_experts_per_tok}) must not exceed num_experts ({config.num_experts})."
        )
    if config.mlp_bias or config.activation_dropout:
        raise ValueError(
            'Experts have neither biases nor an inner dropout: with mlp_type="moe" set mlp_bias=False and '
            "activation_dropout=0."
        )


def check_width(config: Any) -> None:
    """Raises ValueError for width scaling of a model with several widths."""
    width = config.hidden_size
    widths = {name: getattr(config, name, width) for name in ("embedding_size", "decoder_hidden_size")}
    other = [f"{name}={value}" for name, value in widths.items() if value != width]
    if config.width_scaling != "none" and other:
        raise ValueError(
            f'width_scaling="{config.width_scaling}" is defined for one width, hidden_size ({width}), got '
            f"{', '.join(other)}; make them equal."
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
