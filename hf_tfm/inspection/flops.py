"""Floating-point operations (FLOPs) and weight bytes of a model, counted from its matrices: the only place where the
package counts them, for `hf-tfm bench` and for the costs of an inspection.

Legend: T queries, S keys.
"""

from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ..modeling.feed_forward import MixtureOfExperts

__all__ = [
    "MatmulParameters", "attention_flops", "count_matmul_parameters", "elements_per_token", "matmul_flops",
    "score_flops", "visible_pairs", "weight_bytes",
]  # fmt: skip

# keys and values of cross-attention: modules of the decoder that are applied to the source's tokens
CROSS_ATTENTION_KEYS_VALUES = (
    "EncDecAttention.k", "EncDecAttention.v", "encoder_attn.k_proj", "encoder_attn.v_proj", "cross_attn.k_proj",
    "cross_attn.v_proj",
)  # fmt: skip


def matmul_flops(elements: float, tokens: float) -> float:
    """Operations of matrices with so many elements, applied to so many tokens: a product and a sum for each."""
    return 2.0 * elements * tokens


def score_flops(pairs: float, width: int) -> float:
    """Operations of attention scores and weighted sums over so many pairs of a query and a key, for heads that are
    `width` wide together."""
    return 4.0 * pairs * width


def visible_pairs(queries: int, keys: int, is_causal: bool, window: int | None = None) -> int:
    """Pairs (query, key) that a mask lets through. `window`: keys of a causal query, itself included; else the largest
    distance to either side."""
    if not is_causal and window is None:
        return queries * keys
    pairs = 0
    for query in range(queries):
        first = 0 if window is None else query - window + (1 if is_causal else 0)
        last = query if is_causal else query + (window or 0)
        pairs += max(0, min(last, keys - 1) - max(first, 0) + 1)
    return pairs


class MatmulParameters(NamedTuple):
    """Elements of the matrices that are applied to every source token, to every target token (0 unless the model is
    an encoder-decoder), and to every token that is predicted."""

    source: int
    target: int
    head: int

    def forward_flops(self, source_tokens: int, target_tokens: int, predicted_tokens: int) -> float:
        """Operations of one forward pass."""
        tokens = (source_tokens, target_tokens, predicted_tokens)
        return sum(matmul_flops(*pair) for pair in zip(self, tokens, strict=True))


def matmul_weights(model: Any) -> dict[str, torch.Tensor]:
    """Weights of linear maps by module name: with the vocabulary head, without embedding tables."""
    modules = [name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)]
    weights = {name: model.get_parameter(f"{name}.weight") for name in modules}
    tied_head = getattr(model, "tied_head", None)
    return weights if tied_head is None else {**weights, "tied_head": tied_head}


def elements_per_token(model: nn.Module) -> dict[str, int]:
    """Elements of matrices that one token is multiplied with, by module name; of experts, those of the chosen ones."""
    elements = {name: weight.numel() for name, weight in matmul_weights(model).items()}
    for name, module in model.named_modules():
        if isinstance(module, MixtureOfExperts):
            every = sum(weight.numel() for weight in module.experts.parameters())
            elements[f"{name}.gate"] = module.gate.weight.numel()
            elements[f"{name}.experts"] = every * module.gate.top_k // module.experts.num_experts
    return elements


def count_matmul_parameters(model: Any) -> MatmulParameters:
    """The head is the matrix with one row per entry of the vocabulary."""
    source, target, head = 0, 0, 0
    weights = matmul_weights(model)
    for name, elements in elements_per_token(model).items():
        if name in weights and weights[name].shape[0] == model.config.vocab_size:
            head += elements
        elif is_applied_to_target(model.config, name):
            target += elements
        else:
            source += elements
    return MatmulParameters(source, target, head)


def is_applied_to_target(config: Any, name: str) -> bool:
    in_decoder = getattr(config, "is_encoder_decoder", False) and "decoder." in name
    return in_decoder and not name.endswith(CROSS_ATTENTION_KEYS_VALUES)


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the linear maps. Generating one token reads them once."""
    return sum(weight.numel() * weight.element_size() for weight in matmul_weights(model).values())


def attention_flops(config: Any, source_lengths: list[int], target_lengths: list[int] | None = None) -> float:
    """Operations of attention scores and weighted sums in one forward pass over sequences of these lengths, tokens, for
    T S pairs per layer. Causal attention counts in full."""
    head_size = getattr(config, "head_dim", None) or getattr(config, "d_kv", None)
    width = config.num_attention_heads * head_size if head_size else config.hidden_size
    layers = config.num_hidden_layers
    encoder = sum(visible_pairs(length, length, is_causal=False) for length in source_lengths) * layers
    if target_lengths is None:
        return score_flops(encoder, width)
    decoder_layers = getattr(config, "decoder_layers", None) or getattr(config, "num_decoder_layers", layers)
    pairs = zip(source_lengths, target_lengths, strict=True)
    decoder = sum(visible_pairs(target, target + source, False) for source, target in pairs) * decoder_layers
    return score_flops(encoder + decoder, width)
