"""Floating-point operations (FLOPs) and weight bytes of a model, counted from its matrices."""

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

__all__ = ["MatmulParameters", "attention_flops", "count_matmul_parameters", "weight_bytes"]

# keys and values of cross-attention: modules of the decoder that are applied to the source's tokens
CROSS_ATTENTION_KEYS_VALUES = (
    "EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_proj", "encoder_attn.v_proj", "cross_attn.k_proj",
    "cross_attn.v_proj",
)  # fmt: skip


class MatmulParameters(NamedTuple):
    """Elements of the matrices that are applied to every source token, to every target token (0 unless the model is
    an encoder-decoder), and to every token that is predicted."""

    source: int
    target: int
    head: int

    def forward_flops(self, source_tokens: int, target_tokens: int, predicted_tokens: int) -> float:
        """Operations of one forward pass: two for every element and token."""
        return 2.0 * (self.source * source_tokens + self.target * target_tokens + self.head * predicted_tokens)


def matmul_weights(model: Any) -> dict[str, torch.Tensor]:
    """Weights of matrix products by module name: with the vocabulary head, without embedding tables."""
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    weights = {name: model.get_parameter(f"{name}.weight") for name in modules}
    tied_head = getattr(model, "tied_head", None)
    return weights if tied_head is None else {**weights, "tied_head": tied_head}


def count_matmul_parameters(model: Any) -> MatmulParameters:
    """The head is the matrix with one row per entry of the vocabulary."""
    source, target, head = 0, 0, 0
    for name, weight in matmul_weights(model).items():
        if weight.shape[0] == model.config.vocab_size:
            head += weight.numel()
        elif is_applied_to_target(model.config, name):
            target += weight.numel()
        else:
            source += weight.numel()
    return MatmulParameters(source, target, head)


def is_applied_to_target(config: Any, name: str) -> bool:
    in_decoder = getattr(config, "is_encoder_decoder", False) and "decoder." in name
    return in_decoder and not name.endswith(CROSS_ATTENTION_KEYS_VALUES)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the matrices. Generating one token reads them once."""
    return sum(weight.numel() * weight.element_size() for weight in matmul_weights(model).values())


def attention_flops(config: Any, source_lengths: list[int], target_lengths: list[int] | None = None) -> float:
    """Operations of attention scores and weighted sums in one forward pass over sequences of these lengths, tokens:
    4 T S width per layer for T queries and S keys. Causal attention counts in full."""
    width, layers = config.hidden_size, config.num_hidden_layers
    encoder = sum(length**2 for length in source_lengths) * layers
    if target_lengths is None:
        return 4.0 * width * encoder
    decoder_layers = getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", layers)
    pairs = zip(source_lengths, target_lengths, strict=True)
    decoder = sum(target * (target + source) for source, target in pairs) * decoder_layers
    return 4.0 * width * (encoder + decoder)
