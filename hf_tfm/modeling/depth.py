"""Depth scaling: how residual branches are weighted and initialised so that many blocks train together.

Standard deviations sit on the leaves (`init_std`), because the host skips containers without parameters of their own.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import nn

from .feed_forward import TfmExperts


class DeepNorm(NamedTuple):
    """Weight alpha of the skip path, gain beta of the branch weights.   Wang et al. 2022, arXiv:2203.00555, table 1."""

    alpha: float
    beta: float


def single_stack(layers: int) -> DeepNorm:
    return DeepNorm((2 * layers) ** 0.25, (8 * layers) ** -0.25)


def encoder_of_pair(encoder_layers: int, decoder_layers: int) -> DeepNorm:
    mixed = (encoder_layers**4 * decoder_layers) ** (1 / 16)
    return DeepNorm(0.81 * mixed, 0.87 / mixed)


def decoder_of_pair(decoder_layers: int) -> DeepNorm:
    return DeepNorm((3 * decoder_layers) ** 0.25, (12 * decoder_layers) ** -0.25)


def leave_as_is(layers: nn.ModuleList, config: Any, deepnorm: DeepNorm) -> None:
    """Every weight starts with `initializer_range`."""


def shrink_outputs(layers: nn.ModuleList, config: Any, deepnorm: DeepNorm) -> None:
    """Projections that end a branch start smaller by 1/sqrt(number of branches).   Radford et al. 2019, section 2.3."""
    branches = sum(name.endswith("_residual") for layer in layers for name, _ in layer.named_children())
    std = config.initializer_range / math.sqrt(branches)
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(("o_proj", "down_proj")):
            set_std(module, std)
        elif isinstance(module, TfmExperts):
            set_std(module, {"gate_up_proj": config.initializer_range, "down_proj": std})


def deepnorm_gains(layers: nn.ModuleList, config: Any, deepnorm: DeepNorm) -> None:
    """Xavier for queries and keys, Xavier times beta for values, outputs and the feed-forward."""
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear) and name.endswith("_proj"):
            gain = 1.0 if name.endswith(("q_proj", "k_proj")) else deepnorm.beta
            set_std(module, gain * xavier_std(module.in_features, module.out_features))
        elif isinstance(module, TfmExperts):
            std = deepnorm.beta * xavier_std(config.hidden_size, config.moe_intermediate_size)
            set_std(module, {"gate_up_proj": std, "down_proj": std})


def set_std(module: Any, std: float | dict[str, float]) -> None:
    """Leave the standard deviation where the model's initialisation reads it."""
    module.init_std = std


def xavier_std(fan_in: int, fan_out: int) -> float:
    return math.sqrt(2.0 / (fan_in + fan_out))


# word of `depth_scaling` -> (whether the skip path is weighted by alpha, how the leaves' init_std are set)
DEPTH_SCALINGS: dict[str, tuple[bool, Callable[[nn.ModuleList, Any, DeepNorm], None]]] = {
    "none": (False, leave_as_is),
    "scaled": (False, shrink_outputs),
    "deepnorm": (True, deepnorm_gains),
}
