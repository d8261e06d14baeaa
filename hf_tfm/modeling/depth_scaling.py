"""Depth scaling: how residual branches are weighted and initialised so that many blocks train together.

Standard deviations are attributes of the modules that hold the weights (`init_std`); initialisation reads them there.
"""

import math
from typing import Any, NamedTuple

from torch import nn

from .feed_forward import TfmExperts

# none; scaled: output projections start smaller (GPT-2); deepnorm: weights of Wang et al. 2022
DEPTH_SCALINGS = ("none", "scaled", "deepnorm")


class DeepNorm(NamedTuple):
    """Weight alpha of the skip path, gain beta of the branch weights.   Wang et al. 2022, arXiv:2203.00555, table 1."""

    alpha: float
    beta: float


def single_stack(layers: int) -> DeepNorm:
    return DeepNorm((2 * layers) ** 0.25, (8 * layers) ** -0.25)


def encoder_of_seq2seq(encoder_layers: int, decoder_layers: int) -> DeepNorm:
    mixed = (encoder_layers**4 * decoder_layers) ** (1 / 16)
    return DeepNorm(0.81 * mixed, 0.87 / mixed)


def decoder_of_seq2seq(decoder_layers: int) -> DeepNorm:
    return DeepNorm((3 * decoder_layers) ** 0.25, (12 * decoder_layers) ** -0.25)


def skip_weight(config: Any, deepnorm: DeepNorm) -> float:
    """Weight of the skip path in every residual connection."""
    return deepnorm.alpha if config.depth_scaling == "deepnorm" else 1.0


def set_initial_stds(layers: nn.ModuleList, config: Any, deepnorm: DeepNorm) -> None:
    """Set `init_std` of the weights that do not start with `initializer_range`."""
    if config.depth_scaling == "scaled":
        shrink_outputs(layers, config)
    if config.depth_scaling == "deepnorm":
        apply_deepnorm_gains(layers, config, deepnorm)


def shrink_outputs(layers: nn.ModuleList, config: Any) -> None:
    """Projections that end a branch start smaller by 1/sqrt(number of branches).   Radford et al. 2019, section 2.3."""
    branches = sum(name.endswith("_residual") for layer in layers for name, _ in layer.named_children())
    std: Any = config.initializer_range / math.sqrt(branches)
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(("o_proj", "down_proj")):
            module.init_std = std
        elif isinstance(module, TfmExperts):
            module.down_init_std = std


def apply_deepnorm_gains(layers: nn.ModuleList, config: Any, deepnorm: DeepNorm) -> None:
    """Xavier for queries and keys, Xavier times beta for values, outputs and the feed-forward."""
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear) and name.endswith("_proj"):
            gain = 1.0 if name.endswith(("q_proj", "k_proj")) else deepnorm.beta
            std: Any = gain * xavier_std(module.in_features, module.out_features)
            module.init_std = std
        elif isinstance(module, TfmExperts):
            std = deepnorm.beta * xavier_std(config.hidden_size, config.moe_intermediate_size)
            module.init_std = module.down_init_std = std


def xavier_std(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2.0 / (fan_in + fan_out))
