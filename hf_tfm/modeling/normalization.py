"""Norms: one class per word of `norm_type`, and the norms of queries and keys.

Legend: B batch, T tokens, H heads, D head size, C hidden size.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .absence import unchanged


def as_shape(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else shape


class TfmLayerNorm(nn.LayerNorm):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions.  Ba et al. 2016, arXiv:1607.06450."""

    def __init__(self, shape: int | tuple[int, ...], config: Any, affine: bool = True) -> None:
        super().__init__(list(as_shape(shape)), eps=config.norm_eps, elementwise_affine=affine, bias=config.norm_bias)


class TfmRMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions.   Zhang and Sennrich 2019, arXiv:1910.07467."""

    weight: nn.Parameter | None

    def __init__(self, shape: int | tuple[int, ...], config: Any, affine: bool = True) -> None:
        super().__init__()
        self.shape = as_shape(shape)
        self.variance_epsilon = config.norm_eps
        self.register_parameter("weight", nn.Parameter(torch.ones(self.shape)) if affine else None)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(hidden_states, self.shape, self.weight, self.variance_epsilon)

    def extra_repr(self) -> str:
        return f"{self.shape}, eps={self.variance_epsilon}"


NORMS: dict[str, type[nn.Module]] = {"layer_norm": TfmLayerNorm, "rms_norm": TfmRMSNorm}


def make_norm(config: Any, present: bool = True, width: int | None = None) -> Callable[[torch.Tensor], torch.Tensor]:
    """The configured norm over `width` (default: hidden_size), or the identity where the seat is empty."""
    return NORMS[config.norm_type](width or config.hidden_size, config) if present else unchanged


class PerHeadNorm(nn.Module):
    """The configured norm over each head's D entries, with a weight of its own for every head (StableLM, Cohere)."""

    def __init__(self, num_heads: int, head_dim: int, config: Any) -> None:
        super().__init__()
        self.norm = NORMS[config.norm_type](head_dim, config, affine=False)
        self.weight = nn.Parameter(torch.ones(num_heads, head_dim))

    def forward(self, heads: torch.Tensor) -> torch.Tensor:
        return self.norm(heads) * self.weight  # (B, T, H, D)


# word of `qk_norm` -> norm of projected heads (B, T, H, D), made from (number of heads, head size, config)
QK_NORMS: dict[str, Callable[[int, int, Any], Callable[[torch.Tensor], torch.Tensor]]] = {
    "none": lambda num_heads, head_dim, config: unchanged,
    "head": lambda num_heads, head_dim, config: NORMS[config.norm_type](head_dim, config),
    "heads": PerHeadNorm,
    "width": lambda num_heads, head_dim, config: NORMS[config.norm_type]((num_heads, head_dim), config),
}
