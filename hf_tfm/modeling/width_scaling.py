"""Width scaling: what follows the width so that hyperparameters found at a small width suit a large one.

One class per value of `width_scaling`. Initial standard deviations and factors of learning rates are attributes of the
modules that hold the weights (`init_std`, `rate_factors`); initialisation and optimizers read them there.
"""

import math
from typing import Any

from torch import nn


def readout(linear: nn.Linear) -> nn.Linear:
    """Marks a map from the width to numbers whose number does not grow with it: classes, say."""
    role: Any = "readout"
    linear.width_role = role
    return linear


def scale_of_scores(config: Any, head_dim: int) -> float:
    """What multiplies query times key in heads of this size, in the standard parametrisation."""
    return head_dim**-0.5 if config.attention_scale is None else float(config.attention_scale)


class WidthScaling:
    """The standard parametrisation: only attention scores follow the width, by the root of the size of a head.

    `attention_scale` multiplies query times key; hidden states are multiplied by `output_scale` before the vocabulary.
    `config` may be a `DecoderView`."""

    output_scale = 1.0

    def __init__(self, config: Any) -> None:
        self.attention_scale = scale_of_scores(config, config.head_dim)

    def scale_weights(self, model: nn.Module) -> None:
        """Sets the initial standard deviations and learning rates of a model that is made."""


class MaximalUpdate(WidthScaling):
    """muP, the maximal update parametrisation: neither activations nor what a step adds to them depend on the width.
    Yang et al. 2022, arXiv:2203.03466, table 8.

    With m = hidden_size / mup_base_width: hidden matrices start sqrt(m) smaller, and Adam's rate for them is 1/m of
    that for the rest; attention scores are divided by the size of a head instead of its root; the vocabulary reads
    hidden states divided by m. Readouts start m smaller and have 1/m of the rate, which equals dividing what they read.
    At the base width all factors are 1. Feed-forward and heads grow in proportion to the width; depth does not count.

    Muon's step has the spectral norm sqrt(rows / columns), or 1 if that is less than 1. A hidden matrix needs
    sqrt(fan out / fan in) (Yang et al. 2023, arXiv:2310.17813), which is that up to a ratio of widths, so its rate has
    no factor; a readout's is 1/sqrt(m)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        base = config.mup_base_head_dim or config.head_dim
        self.attention_scale = scale_of_scores(config, base) * (base / config.head_dim)
        self.ratio = config.hidden_size / config.mup_base_width
        self.output_scale = 1.0 / self.ratio
        self.initializer_range = config.initializer_range
        # DeepNorm's Xavier already follows the width
        self.keeps_std = config.depth_scaling == "deepnorm"

    def scale_weights(self, model: nn.Module) -> None:
        # at the base nothing is set: a second draw of random numbers would give other weights
        if self.ratio == 1.0:
            return
        for module in model.modules():
            role = getattr(module, "width_role", "hidden" if isinstance(module, nn.Linear) else "fixed")
            # a model below a head has been scaled
            if role != "fixed" and not hasattr(module, "rate_factors"):
                self.scale_module(module, role == "readout")

    def scale_module(self, module: Any, is_readout: bool) -> None:
        muon = self.ratio**-0.5 if is_readout else 1.0
        module.rate_factors = {"adam": 1.0 / self.ratio, "muon": muon}
        if self.keeps_std and not is_readout and hasattr(module, "init_std"):
            return
        shrink = 1.0 / self.ratio if is_readout else 1.0 / math.sqrt(self.ratio)
        module.init_std = getattr(module, "init_std", self.initializer_range) * shrink
        if hasattr(module, "down_init_std"):
            module.down_init_std *= shrink


# value of `width_scaling` -> class, built from (config)
WIDTH_SCALINGS: dict[str, type[WidthScaling]] = {"none": WidthScaling, "mup": MaximalUpdate}


def make_width_scaling(config: Any) -> WidthScaling:
    return WIDTH_SCALINGS[config.width_scaling](config)


def learning_rate_factors(model: nn.Module, optimizer: str = "adam") -> dict[str, float]:
    """Parameter name -> factor of the learning rate, of the matrices whose factor is not 1; `optimizer`: "adam" or
    "muon"."""
    factors = {}
    for prefix, module in model.named_modules():
        factor = getattr(module, "rate_factors", {}).get(optimizer, 1.0)
        for name, parameter in module.named_parameters(prefix, recurse=False):
            if factor != 1.0 and parameter.ndim > 1:
                factors[name] = factor
    return factors
