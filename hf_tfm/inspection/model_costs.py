"""What each part of a model costs: parameters, FLOPs, bytes of weights, gradients, optimizer, cache and activations.

Legend: T tokens of a sequence, H heads, K key-value heads, D head size.
"""

from collections.abc import Iterator
from typing import Any

import torch

from ..modeling.seq2seq_heads import Seq2SeqClassification
from ..modeling.task_heads import SequenceClassification
from .activation_memory import activation_bytes
from .flops import elements_per_token, matmul_flops, score_flops, visible_pairs
from .model_parts import ModelPart, parts_of
from .report import Row

__all__ = ["costs"]

# AdamW keeps two moments of every gradient
OPTIMIZER_STATES = 2


def costs(model: Any, batch: int = 1, length: int | None = None, with_activations: bool = True) -> list[Row]:
    """One row per part, and the total. FLOPs are those of matrix products, per token of one stack (a matrix that is
    applied once per sequence counts for 1/T of a token). Parameters that two parts share count where they come first.

    `batch`: sequences; `length`: tokens of each, in both stacks (default: `max_position_embeddings`). Activations are
    measured by a small training step, and 0 without `with_activations`."""
    tokens = model.config.max_position_embeddings if length is None else length
    parts = parts_of(model)
    activations = dict.fromkeys([part.name for part in parts], 0)
    if with_activations:
        activations = activation_bytes(model, parts, batch, tokens)
    elements, counted = elements_per_token(model), set()
    rows = []
    for part in parts:
        parameters = [p for p in dict.fromkeys(parameters_of(part)) if p not in counted]
        counted.update(parameters)
        products = sum(
            matmul_flops(count, times_per_token(model, part, name, tokens))
            for name, count in elements.items()
            if f"{name}.".startswith(tuple(f"{module}." for module in part.modules))
        )
        gradients = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
        rows.append(
            Row(
                part.name,
                sum(p.numel() for p in parameters),
                products + score_flops_per_token(part, tokens, causal=False),
                products + score_flops_per_token(part, tokens, causal=True),
                sum(p.numel() * p.element_size() for p in parameters),
                gradients,
                OPTIMIZER_STATES * gradients,
                cache_bytes(model, part, batch, tokens),
                activations[part.name],
            )
        )
    return [*rows, total(rows)]


def total(rows: list[Row]) -> Row:
    names = ("parameters", "flops_dense", "flops_causal", "weight_bytes", "gradient_bytes", "optimizer_bytes",
             "cache_bytes", "activation_bytes")  # fmt: skip
    return Row("total", *(sum(getattr(row, name) for row in rows) for name in names))


def parameters_of(part: ModelPart) -> Iterator[torch.nn.Parameter]:
    for module in part.modules.values():
        # a module that holds others in other parts counts what is its own
        yield from module.parameters(recurse=part.name != "head")


def times_per_token(model: Any, part: ModelPart, name: str, tokens: int) -> float:
    """How often a matrix is applied, per token. A classifier reads one vector per sequence, and so does the dense layer
    of a pooler, but for that of late pooling."""
    pools = isinstance(model, SequenceClassification | Seq2SeqClassification) or ".pooler." in f".{name}."
    return 1 / tokens if part.name == "head" and pools and "token_transform" not in name else 1.0


def score_flops_per_token(part: ModelPart, tokens: int, causal: bool) -> float:
    """Operations of scores and weighted sums: of all pairs, or with `causal` of those that the mask lets through."""
    attention = part.attention
    if attention is None:
        return 0.0
    pairs = visible_pairs(tokens, tokens, attention.is_causal, window_of(attention)) if causal else tokens**2
    return score_flops(pairs, attention.o_proj.in_features) / tokens


def window_of(attention: Any) -> int | None:
    """The window as the configuration counts it: for a causal stack the query included, else the distance."""
    window = attention.sliding_window
    return None if window is None else window - (not attention.is_causal)


def cache_bytes(model: Any, part: ModelPart, batch: int, tokens: int) -> int:
    """Bytes of keys and values while a model generates. A window keeps one token less than it has, since the next one
    is not cached yet; cross-attention keeps the source's."""
    attention = part.attention
    is_generating = hasattr(model.config, "use_cache") and not part.name.startswith("source ")
    if attention is None or not is_generating:
        return 0
    kept = tokens if attention.sliding_window is None else min(tokens, max(attention.sliding_window - 1, 1))
    return 2 * batch * kept * attention.k_proj.out_features * model.dtype.itemsize
