"""Value residuals: values of a layer are a learned mix of its own and those of the first layer.

They are mixed before they enter the cache, so a cached step needs the first layer's values of new tokens only. Each
stack has its own first layer; cross-attention has no value residual.   Zhou et al. 2024, arXiv:2410.17897.
"""

from typing import Any

import torch
from torch import nn
from transformers import initialization as init


class FirstValues:
    """What the layers of one forward share: `values` (B, K, T, D) of the first layer. Not a dictionary, which hooks
    that move inputs between devices would copy."""

    values: Any = None


class KeptValues(nn.Module):
    """In the first layer: its values, kept for the others."""

    def forward(self, values: torch.Tensor, first_values: FirstValues) -> torch.Tensor:
        first_values.values = values
        return values


class ValueResidual(nn.Module):
    """mix[0] v + mix[1] v_1 for a layer's own values v (B, K, T, D) and those of the first layer, v_1."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.empty(2))

    def reset_parameters(self) -> None:
        init.constant_(self.mix, 0.5)

    def forward(self, values: torch.Tensor, first_values: FirstValues) -> torch.Tensor:
        own, first = self.mix.to(values.dtype)
        return own * values + first * first_values.values.to(values.device)


def make_value_residual(config: Any, layer_idx: int) -> nn.Module | None:
    if not config.value_residual:
        return None
    return KeptValues() if layer_idx == 0 else ValueResidual()
