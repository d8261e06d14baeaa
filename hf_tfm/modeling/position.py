"""Positional encoding: one class per value of `position_type`.

A scheme has three methods: `embed` changes word vectors, `angles` gives what rotates queries and keys, `bias` gives
what is added to attention scores. The base class does nothing in all three ("none"); a scheme overrides what it needs.
The stack calls each once per forward; results that depend on windows or cache lengths are dictionaries by layer type.

Legend: B batch, T queries, S keys, H heads, D rotated size of a head, C embedding size.
"""

import math
from typing import Any

import torch
from torch import nn

from .rotary_embedding import Angles, ChangingRotaryEmbedding, make_rotary_embedding, rope_parameters_of, rotated_size


class Position(nn.Module):
    """No positional encoding, and the base class of all schemes."""

    # whether `embed` changes word vectors, which a pipeline's later stages would repeat on hidden states
    changes_embeddings = False
    # whether keys depend on the length of the batch, so that a cache may hold some that no longer fit
    has_changing_keys = False

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__()
        self.nothing: dict[str, Any] = dict.fromkeys(config.layer_types)
        # one layer of each type: all layers of a type share window and cache length
        self.sample_layer = {kind: config.layer_types.index(kind) for kind in self.nothing}

    @classmethod
    def check(cls, config: Any, prefix: str, is_causal: bool) -> None:
        """Raises ValueError for fields of a stack that the scheme cannot take; `prefix` is that of its fields."""

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        """Tensor-parallel style of modules of a stack, by their name below it. What is left out is computed whole by
        every process."""
        return {}

    def embed(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Word vectors (B, T, C) with the vectors of their positions (B or 1, T) added."""
        return embeds

    def angles(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> dict[str, Any]:
        """Per layer type, cosines and sines (B or 1, 1, T, D) that rotate queries and keys, or None."""
        return self.nothing

    def bias(self, embeds: torch.Tensor, cache: Any) -> dict[str, Any]:
        """Per layer type, what is added to the scaled scores (B, H, T, S), in the dtype of `embeds`, or None."""
        return self.nothing

    def outdated_keys(self, cached: int, length: int) -> str | None:
        """Why keys of `cached` tokens do not fit queries of a batch of `length` tokens; None if they do."""
        return None

    def check_cached_keys(self, position_ids: torch.Tensor, cache: Any) -> None:
        """Raises ValueError for a cache whose keys do not fit new tokens at these positions (B or 1, T). Not checked
        while tracing, where values cannot be read."""


class LearnedPosition(Position):
    """A learned vector per position, added to the word.   Gehring et al. 2017, arXiv:1705.03122; BERT, GPT-2."""

    changes_embeddings = True

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.offset = config.position_offset
        self.embedding = nn.Embedding(config.max_position_embeddings + self.offset, config.embedding_size)

    def embed(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        return embeds + self.embedding(position_ids + self.offset)


class SinusoidalPosition(Position):
    """sin(p w_k) in the first half, cos(p w_k) in the second, added to the word. Computed from the positions, so no
    length is too long.   Vaswani et al. 2017, section 3.5, arXiv:1706.03762.

    w_k = 10000 ** -(k / (C/2)) as Marian lays it out ("half"), or with k / (C/2 - 1) as tensor2tensor, FSMT and
    M2M-100 have it ("half_minus_one")."""

    changes_embeddings = True

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.offset = config.position_offset
        self.pairs = config.embedding_size // 2
        steps = self.pairs if config.sinusoid_type == "half" else max(self.pairs - 1, 1)
        self.log_step = -math.log(10000.0) / steps

    @classmethod
    def check(cls, config: Any, prefix: str, is_causal: bool) -> None:
        if config.embedding_size % 2:
            raise ValueError(f"Sinusoidal positions need an even {prefix}embedding_size, got {config.embedding_size}.")

    def embed(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        # float64: at position 10,000 a float32 phase is already off by 5e-4
        k = torch.arange(self.pairs, device=embeds.device, dtype=torch.float64)
        phase = (position_ids + self.offset)[..., None] * torch.exp(k * self.log_step)
        return embeds + torch.cat((phase.sin(), phase.cos()), dim=-1).to(embeds.dtype)


class RotaryPosition(Position):
    """Queries and keys rotated by their position, with one set of frequencies or one per layer type."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        # layer type -> key of its frequencies
        self.frequencies = {kind: kind if kind in config.rope_parameters else "shared" for kind in self.nothing}
        self.rotary = nn.ModuleDict(
            {key: make_rotary_embedding(config, kind) for kind, key in self.frequencies.items()}
        )
        self.changing = [rotary for rotary in self.rotary.values() if isinstance(rotary, ChangingRotaryEmbedding)]
        self.has_changing_keys = bool(self.changing)

    def outdated_keys(self, cached: int, length: int) -> str | None:
        return next(filter(None, (rotary.outdated_keys(cached, length) for rotary in self.changing)), None)

    def check_cached_keys(self, position_ids: torch.Tensor, cache: Any) -> None:
        for rotary in self.changing:
            rotary.check_cached_keys(position_ids, cache)

    def angles(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> dict[str, Any]:
        angles = {key: rotary(embeds, position_ids) for key, rotary in self.rotary.items()}
        return {kind: angles[key] for kind, key in self.frequencies.items()}


class Rotation:
    """Rotates queries (B, H, T, D) and keys (B, K, T, D) by the angles of `TfmRotaryEmbedding`."""

    def __call__(self, query: torch.Tensor, key: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, torch.Tensor]:
        return apply_rotary(query, *angles), apply_rotary(key, *angles)


class PartialRotation(Rotation):
    """The same for the first `size` elements of each head; the rest stays."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, query: torch.Tensor, key: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, torch.Tensor]:
        query_rotated, key_rotated = super().__call__(query[..., : self.size], key[..., : self.size], angles)
        return (
            torch.cat((query_rotated, query[..., self.size :]), dim=-1),
            torch.cat((key_rotated, key[..., self.size :]), dim=-1),
        )


def apply_rotary(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x cos + (second half, first half) of x times the sines, whose first half is negated."""
    first, second = heads.chunk(2, dim=-1)
    # not `roll`: torch's compiler makes no vector code of it
    return heads * cos + torch.cat((second, first), dim=-1) * sin


def make_rotation(config: Any, layer_idx: int) -> Rotation | None:
    """The rotation of a layer's queries and keys; None for other schemes and for layers that `rope_layers` excludes."""
    if config.position_type != "rotary" or (config.rope_layers is not None and not config.rope_layers[layer_idx]):
        return None
    size = rotated_size(config.head_dim, rope_parameters_of(config, config.layer_types[layer_idx]))
    return Rotation() if size == config.head_dim else PartialRotation(size)


class QueryTemperature:
    """Multiplies queries (B, H, T, D) at position p by 1 + beta log(1 + floor(p / length)), which sharpens attention
    over long texts, where more keys share it.   Llama 4 and Ministral 3; Nakanishi 2025, arXiv:2501.19399."""

    def __init__(self, beta: float, length: int) -> None:
        self.beta, self.length = beta, length

    def __call__(self, query: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        # fp32 or wider: bf16 has no integers above 256
        lengths = (position_ids // self.length).to(torch.promote_types(query.dtype, torch.float32))
        return query * (1 + self.beta * torch.log1p(lengths)).to(query.dtype)[:, None, :, None]


def make_query_temperature(config: Any) -> QueryTemperature | None:
    if config.query_temperature is None:
        return None
    length = config.query_temperature_length or config.max_position_embeddings
    return QueryTemperature(config.query_temperature, length)


class BiasPosition(Position):
    """Base of schemes that add a bias per head and distance to the scores. Subclasses define `distance_bias`."""

    @classmethod
    def tp_plan(cls, config: Any) -> dict[str, str]:
        # every process computes the bias of all heads; its attentions take their own heads' part
        return {"position": "replicated_bias", "layers.*.self_attn": "local_heads_bias"}

    def distance_bias(self, distance: torch.Tensor) -> torch.Tensor:
        """Bias (H, T, S) in float32 for key index minus query index (T, S)."""
        raise NotImplementedError

    def bias(self, embeds: torch.Tensor, cache: Any) -> dict[str, Any]:
        biases = {}
        for kind, layer in self.sample_layer.items():
            bias = self.distance_bias(key_distance(embeds, cache, layer))
            # expanded, a free view: flex attention indexes the batch
            biases[kind] = bias[None].to(embeds.dtype).expand(embeds.shape[0], -1, -1, -1)
        return biases


def key_distance(embeds: torch.Tensor, cache: Any, layer_idx: int) -> torch.Tensor:
    """Key index minus query index (T, S) for this layer's cache, or for the sequence itself where there is none."""
    length = embeds.shape[1]
    first_query, keys, first_key = 0, length, 0
    if cache is not None:
        first_query = cache.get_query_offset(layer_idx)
        keys, first_key = cache.get_mask_sizes(length, layer_idx)
    key = torch.arange(keys, device=embeds.device) + first_key
    query = torch.arange(length, device=embeds.device) + first_query
    return key[None, :] - query[:, None]


class AlibiPosition(BiasPosition):
    """-slope |distance|, a slope per head, no parameters.   Press et al. 2022, arXiv:2108.12409."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.num_heads = config.num_attention_heads

    def distance_bias(self, distance: torch.Tensor) -> torch.Tensor:
        return -alibi_slopes(self.num_heads, distance.device)[:, None, None] * distance.abs()


def alibi_slopes(num_heads: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Penalty per token of distance (H,), in score units. 2 ** (-8 (h+1) / n) for h = 0 .. n-1 where n = num_heads is
    a power of two; else the slopes of the power below, then every second one of the power above.  Press et al. 2022."""
    power = 2 ** int(math.log2(num_heads))
    first = torch.arange(1, power + 1, device=device) * (-8.0 / power)
    rest = torch.arange(1, 2 * (num_heads - power) + 1, 2, device=device) * (-4.0 / power)
    return torch.exp2(torch.cat((first, rest)).float())


class RelativeBiasPosition(BiasPosition):
    """A learned bias per head and bucket of distance, one table per stack.   Raffel et al. 2020, arXiv:1910.10683.

    An encoder has half of the buckets for keys before the query, half for keys after it."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        num_buckets = config.relative_attention_num_buckets
        # keys after the query: hidden, all in bucket 0, from a causal stack
        self.distinguishes_after = int(not is_causal)
        self.buckets_per_side = num_buckets if is_causal else num_buckets // 2
        self.max_distance = config.relative_attention_max_distance
        self.relative_attention_bias = nn.Embedding(num_buckets, config.num_attention_heads)

    @classmethod
    def check(cls, config: Any, prefix: str, is_causal: bool) -> None:
        num_buckets, max_distance = config.relative_attention_num_buckets, config.relative_attention_max_distance
        exact = num_buckets // (2 if is_causal else 4)
        if exact < 1 or max_distance <= exact:
            stack, least = ("A decoder", 2) if is_causal else ("An encoder", 4)
            raise ValueError(
                f"{stack} needs relative_attention_num_buckets of at least {least}, got {num_buckets}, and "
                f"relative_attention_max_distance greater than {max(exact, 1)}, where exact buckets end, got "
                f"{max_distance}."
            )

    def distance_bias(self, distance: torch.Tensor) -> torch.Tensor:
        return self.relative_attention_bias(self.buckets(distance)).permute(2, 0, 1)

    def buckets(self, distance: torch.Tensor) -> torch.Tensor:
        """Row of the table for each key index minus query index."""
        after = distance.clamp(min=0) * self.distinguishes_after
        buckets = distance_bucket((-distance).clamp(min=0) + after, self.buckets_per_side, self.max_distance)
        return buckets + (after > 0).long() * self.buckets_per_side


def distance_bucket(distance: torch.Tensor, num_buckets: int, max_distance: int) -> torch.Tensor:
    """Bucket of each distance >= 0: half the buckets exact, the rest logarithmic up to `max_distance`."""
    exact = num_buckets // 2
    # float32 as T5: a checkpoint depends on the borders of the buckets
    ratio = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return torch.where(distance < exact, distance, far)


# value of `position_type` -> class, built from (config, is_causal)
POSITIONS: dict[str, type[Position]] = {
    "none": Position,
    "learned": LearnedPosition,
    "sinusoidal": SinusoidalPosition,
    "rotary": RotaryPosition,
    "alibi": AlibiPosition,
    "relative_bias": RelativeBiasPosition,
}
