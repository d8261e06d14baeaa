"""Norms: one class per value of `norm_type`, and the norms of queries and keys.

Legend: B batch, T tokens, H heads, D head size, C hidden size.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init


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


class NonparametricLayerNorm(TfmLayerNorm):
    """(x - mean) / sqrt(variance + eps), without weight and bias.   OLMo: Groeneveld et al. 2024, arXiv:2402.00838."""

    def __init__(self, shape: int | tuple[int, ...], config: Any, affine: bool = False) -> None:
        super().__init__(shape, config, affine=False)


class NonparametricRMSNorm(TfmRMSNorm):
    """x / sqrt(mean(x^2) + eps), without weight.   nanochat: Karpathy 2025."""

    def __init__(self, shape: int | tuple[int, ...], config: Any, affine: bool = False) -> None:
        super().__init__(shape, config, affine=False)


# value of `norm_type` -> class, built from (shape, config)
NORMS: dict[str, type[nn.Module]] = {
    "layer_norm": TfmLayerNorm,
    "rms_norm": TfmRMSNorm,
    "nonparametric_layer_norm": NonparametricLayerNorm,
    "nonparametric_rms_norm": NonparametricRMSNorm,
}


def make_norm(config: Any, width: int | None = None) -> nn.Module:
    """The configured norm over `width` elements (default: hidden_size)."""
    return NORMS[config.norm_type](width or config.hidden_size, config)


class PerHeadNorm(nn.Module):
    """The configured norm over each head's D entries, with a weight of its own for every head (StableLM, Cohere)."""

    def __init__(self, num_heads: int, config: Any) -> None:
        super().__init__()
        self.norm = NORMS[config.norm_type](config.head_dim, config, affine=False)
        self.weight = nn.Parameter(torch.ones(num_heads, config.head_dim))

    def reset_parameters(self) -> None:
        init.ones_(self.weight)

    def forward(self, heads: torch.Tensor) -> torch.Tensor:
        return self.norm(heads) * self.weight  # (B, T, H, D)


# none; over each head with one weight for all heads; with a weight per head; over all heads together
QK_NORMS = ("none", "head", "heads", "width")
QK_NORM_POSITIONS = ("before_rotation", "after_rotation")


def make_qk_norm(config: Any, num_heads: int) -> nn.Module | None:
    """The configured norm of projected queries or keys (B, T, H, D); None where `qk_norm` is "none".
    Henry et al. 2020, arXiv:2010.04245; Qwen3 ("head"), StableLM ("heads"), OLMo 2 ("width")."""
    if config.qk_norm == "none":
        return None
    if config.qk_norm == "heads":
        return PerHeadNorm(num_heads, config)
    shape = (num_heads, config.head_dim) if config.qk_norm == "width" else config.head_dim
    return NORMS[config.norm_type](shape, config)


def is_normed_after_rotation(config: Any) -> bool:
    """Whether queries and keys are rotated first and normed then."""
    return getattr(config, "qk_norm_position", None) == "after_rotation"


def norm_heads(norm: Any, heads: torch.Tensor) -> torch.Tensor:
    """The norm of queries or keys (B, H, T, D)."""
    return norm(heads.transpose(1, 2)).transpose(1, 2)
