"""Width scaling as weights: no native family has `width_scaling`, but what it multiplies can be part of the weights."""

import copy
from typing import Any

from ..modeling.block import WIRINGS
from ..modeling.width_scaling import WidthScaling, make_width_scaling
from .config_diff import LM_HEADS
from .weight_transfer import StateDict

__all__ = ["fold_width_scaling", "without_width_scaling"]


def without_width_scaling(config: Any) -> Any:
    """The configuration of a model whose weights are folded: that of the standard parametrisation."""
    if config.width_scaling == "none":
        return config
    standard = copy.deepcopy(config)
    standard.width_scaling = "none"
    return standard


def fold_width_scaling(state: StateDict, config: Any, head: str) -> StateDict:
    """The weights of one of our models with the factors of its width scaling in them: that of the scores in queries or
    their norm, that of the output in the last norm before the vocabulary, which feeds nothing else. Powers of two are
    exact."""
    if config.width_scaling == "none":
        return state
    queries = "_attn.q_proj." if config.qk_norm == "none" else "_attn.q_norm."
    stacks = {"encoder.": config, "decoder.": config.decoder_view} if config.is_encoder_decoder else {"": config}
    factors = {}
    for part, stack in stacks.items():
        factor = make_width_scaling(stack).attention_scale / WidthScaling(stack).attention_scale
        factors |= {name: factor for name in state if part in name and queries in name}
    if head in LM_HEADS:
        last_norm, factor = norm_before_vocabulary(config), make_width_scaling(config).output_scale
        factors |= {name: factor for name in state if name.rpartition(".")[0] == last_norm}
    return state | {name: state[name] * factor for name, factor in factors.items() if factor != 1.0}


def norm_before_vocabulary(config: Any) -> str:
    """The name of the last norm before the vocabulary."""
    if config.lm_head_type == "transform":
        return "lm_transform.norm"
    stack = "model.decoder." if config.is_encoder_decoder else "model."
    layers = config.decoder_layers if config.is_encoder_decoder else config.num_hidden_layers
    has_final_norm = WIRINGS[config.residual_type].final_norm
    return f"{stack}norm" if has_final_norm else f"{stack}layers.{layers - 1}.mlp_residual.post_norm"
