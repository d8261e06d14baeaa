"""Positions: one class per word of `position_type`, and three places where a scheme can speak.

`embed` changes word vectors, `angles` turns queries and keys, `bias` adds to attention scores. The base class is
silent in all three ("none"); a scheme overrides what it needs. The stack asks once per forward; answers that depend
on windows or cache lengths are dictionaries keyed by layer type.

Legend: B batch, T queries, S keys, H heads, D rotated size of a head, C embedding size.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update

Angles = tuple[torch.Tensor, torch.Tensor]


class Position(nn.Module):
    """No positional encoding, and the interface of all."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__()
        self.silence: dict[str, None] = dict.fromkeys(config.layer_types)
        self.unturned: dict[str, tuple] = dict.fromkeys(config.layer_types, ())
        # one layer of each type: all layers of a type share window and cache length
        self.sample_layer = {kind: config.layer_types.index(kind) for kind in self.silence}

    def embed(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        """Word vectors (B, T, C) with positions (B or 1, T) told to them."""
        return embeds

    def angles(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> dict[str, Any]:
        """Per layer type, cosines and sines (B or 1, 1, T, D) that turn queries and keys, or an empty pair."""
        return self.unturned

    def bias(self, embeds: torch.Tensor, cache: Any) -> dict[str, Any]:
        """Per layer type, what is added to the scaled scores (B, H, T, S), in the dtype of `embeds`, or None."""
        return self.silence


class LearnedPosition(Position):
    """A learned vector per position, added to the word.   Gehring et al. 2017, arXiv:1705.03122; BERT, GPT-2."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.offset = config.position_offset
        self.embedding = nn.Embedding(config.max_position_embeddings + self.offset, config.embedding_size)

    def embed(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        return embeds + self.embedding(position_ids + self.offset)


def half_exponents(half: int) -> float:
    """Step of the exponent k / (d/2), Vaswani et al. 2017, section 3.5, as Marian lays it out."""
    return 1.0 / half


def half_minus_one_exponents(half: int) -> float:
    """Step of the exponent k / (d/2 - 1), as tensor2tensor, FSMT and M2M-100 have it."""
    return 1.0 / max(half - 1, 1)


SINUSOIDS = {"half": half_exponents, "half_minus_one": half_minus_one_exponents}


class SinusoidalPosition(Position):
    """sin(p w_k) in the first half, cos(p w_k) in the second, added to the word; w_k = 10000 ** -(k step).
    Vaswani et al. 2017, section 3.5, arXiv:1706.03762. Computed from the positions, so no length is too long."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.offset = config.position_offset
        self.pairs = config.embedding_size // 2
        self.log_step = -math.log(10000.0) * SINUSOIDS[config.sinusoid_type](self.pairs)

    def embed(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> torch.Tensor:
        # float64: at position 10,000 a float32 phase is already off by 5e-4
        k = torch.arange(self.pairs, device=embeds.device, dtype=torch.float64)
        phase = (position_ids + self.offset)[..., None] * torch.exp(k * self.log_step)
        return embeds + torch.cat((phase.sin(), phase.cos()), dim=-1).to(embeds.dtype)


class RopeView:
    """A configuration in which `rope_parameters` is the one dictionary of a single scope."""

    def __init__(self, config: Any, rope_parameters: dict) -> None:
        self.shared, self.rope_parameters = config, rope_parameters

    def __getattr__(self, name: str) -> Any:
        if name == "shared":
            raise AttributeError(name)
        return getattr(self.shared, name)


class TfmRotaryEmbedding(nn.Module):
    """Cosines and sines of position x frequency, with every scaling of the host (linear, dynamic, yarn, longrope,
    llama3, proportional).   Su et al. 2021, arXiv:2104.09864. Attribute names are those the host's update reads."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.rope_type = config.rope_parameters["rope_type"]
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        make = {"default": self.compute_default_rope_parameters, **ROPE_INIT_FUNCTIONS}[self.rope_type]
        inv_freq, self.attention_scaling = make(config)
        self.inv_freq = nn.Buffer(inv_freq, persistent=False)
        self.original_inv_freq = nn.Buffer(inv_freq.clone(), persistent=False)

    @staticmethod
    def compute_default_rope_parameters(config: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, float]:
        theta = config.rope_parameters["rope_theta"]
        size = rotated_size(config.head_dim, config.rope_parameters)
        return 1.0 / theta ** (torch.arange(0, size, 2, dtype=torch.float) / size), 1.0

    def _apply(self, fn: Any, recurse: bool = True) -> "TfmRotaryEmbedding":
        # `model.to(torch.bfloat16)` must not round frequencies: at position 1,000 that is a phase error of radians
        kept = [self.inv_freq, self.original_inv_freq]
        super()._apply(fn, recurse)
        for name, exact in zip(("inv_freq", "original_inv_freq"), kept, strict=True):
            moved = getattr(self, name)
            if moved.dtype != exact.dtype:
                setattr(self, name, nn.Buffer(exact.to(moved.device), persistent=False))
        return self

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> Angles:
        phase = position_ids[..., None].float() * self.inv_freq.to(x.device)
        phase = torch.cat((phase, phase), dim=-1)
        return (phase.cos() * self.attention_scaling).to(x.dtype), (phase.sin() * self.attention_scaling).to(x.dtype)


class RotaryPosition(Position):
    """Queries and keys turned by their position, with one set of frequencies or one per layer type."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.scope = {kind: rope_scope(config, kind) for kind in self.silence}
        self.rotary = nn.ModuleDict(
            {
                scope: TfmRotaryEmbedding(RopeView(config, rope_parameters(config, kind)))
                for kind, scope in self.scope.items()
            }
        )

    def angles(self, embeds: torch.Tensor, position_ids: torch.Tensor) -> dict[str, Any]:
        turned = {scope: signed(*rotary(embeds, position_ids)) for scope, rotary in self.rotary.items()}
        return {kind: turned[scope] for kind, scope in self.scope.items()}


def signed(cos: torch.Tensor, sin: torch.Tensor) -> Angles:
    """Angles (B or 1, T, D) for all heads (B or 1, 1, T, D), the first half of the sines negative: so a turn of heads
    needs neither a sign nor a place for them in every block."""
    first, second = sin.chunk(2, dim=-1)
    return cos.unsqueeze(1), torch.cat((-first, second), dim=-1).unsqueeze(1)


def rope_scope(config: Any, layer_type: str) -> str:
    """The layer type if it has rotary parameters of its own, else "shared"."""
    return layer_type if layer_type in config.rope_parameters else "shared"


def rope_parameters(config: Any, layer_type: str) -> dict:
    """The rotary parameters of a layer type."""
    return config.rope_parameters.get(layer_type, config.rope_parameters)


def rotated_size(head_dim: int, parameters: dict) -> int:
    """How many leading entries of a head are turned."""
    if parameters["rope_type"] == "proportional":
        return head_dim
    return int(head_dim * parameters.get("partial_rotary_factor", 1.0))


class BiasPosition(Position):
    """Schemes that add a bias per head and distance to the scores. Blank: `score`."""

    def score(self, distance: torch.Tensor) -> torch.Tensor:
        """Bias (H, T, S) in float32 for key index minus query index (T, S)."""
        raise NotImplementedError

    def bias(self, embeds: torch.Tensor, cache: Any) -> dict[str, Any]:
        biases = {}
        for kind, layer in self.sample_layer.items():
            scores = self.score(key_distance(embeds, cache, layer))
            # expanded, a free view: the host's flex attention indexes the batch
            biases[kind] = scores[None].to(embeds.dtype).expand(embeds.shape[0], -1, -1, -1)
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

    def score(self, distance: torch.Tensor) -> torch.Tensor:
        return -alibi_slopes(self.num_heads, distance.device)[:, None, None] * distance.abs()


def alibi_slopes(num_heads: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Penalty per token of distance (H,), in score units. 2 ** (-8 (h+1) / n) for h = 0 .. n-1 where n = num_heads is
    a power of two; else the slopes of the power below, then every second one of the power above.  Press et al. 2022."""
    power = 2 ** int(math.log2(num_heads))
    first = torch.arange(1, power + 1, device=device) * (-8.0 / power)
    rest = torch.arange(1, 2 * (num_heads - power) + 1, 2, device=device) * (-4.0 / power)
    return torch.exp2(torch.cat((first, rest)).float())


class RelativeBiasPosition(BiasPosition):
    """A learned bias per head and bucket of distance, one table per stack.   Raffel et al. 2020, arXiv:1910.10683."""

    def __init__(self, config: Any, is_causal: bool) -> None:
        super().__init__(config, is_causal)
        self.bucket = one_sided_bucket if is_causal else two_sided_bucket
        self.num_buckets = config.relative_attention_num_buckets
        self.max_distance = config.relative_attention_max_distance
        self.relative_attention_bias = nn.Embedding(self.num_buckets, config.num_attention_heads)

    def score(self, distance: torch.Tensor) -> torch.Tensor:
        buckets = self.bucket(distance, self.num_buckets, self.max_distance)
        return self.relative_attention_bias(buckets).permute(2, 0, 1)


def one_sided_bucket(distance: torch.Tensor, num_buckets: int, max_distance: int) -> torch.Tensor:
    """Bucket of each key at or before its query: half the buckets exact, the rest logarithmic up to `max_distance`."""
    past = (-distance).clamp(min=0)
    exact = num_buckets // 2
    # float32 as T5: the bucket borders are part of what a checkpoint has learned
    ratio = torch.log(past.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (ratio * (num_buckets - exact)).long()).clamp(max=num_buckets - 1)
    return torch.where(past < exact, past, far)


def two_sided_bucket(distance: torch.Tensor, num_buckets: int, max_distance: int) -> torch.Tensor:
    """Half of the buckets for keys before the query, half for keys after it."""
    half = num_buckets // 2
    return one_sided_bucket(-distance.abs(), half, max_distance) + (distance > 0).long() * half


POSITIONS: dict[str, type[Position]] = {
    "none": Position,
    "learned": LearnedPosition,
    "sinusoidal": SinusoidalPosition,
    "rotary": RotaryPosition,
    "alibi": AlibiPosition,
    "relative_bias": RelativeBiasPosition,
}


def no_rotation(query: torch.Tensor, key: torch.Tensor, angles: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Heads that are not turned: another scheme, or a layer that `rope_layers` leaves out."""
    return query, key


def full_rotation(query: torch.Tensor, key: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries (B, H, T, D) and keys (B, K, T, D), turned whole."""
    return turn(query, *angles), turn(key, *angles)


def turn(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x cos + (second half, first half) of x times signed sin."""
    first, second = heads.chunk(2, dim=-1)
    # not `roll`, for which torch's compiler makes no vector code
    return heads * cos + torch.cat((second, first), dim=-1) * sin


class PartialRotation:
    """The same on the first `size` entries of each head; the rest stays."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, query: torch.Tensor, key: torch.Tensor, angles: Angles) -> tuple[torch.Tensor, torch.Tensor]:
        return self.turn_first(query, angles), self.turn_first(key, angles)

    def turn_first(self, heads: torch.Tensor, angles: Angles) -> torch.Tensor:
        return torch.cat((turn(heads[..., : self.size], *angles), heads[..., self.size :]), dim=-1)


def make_rotation(config: Any, layer_idx: int) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """How this layer turns its queries and keys."""
    if config.position_type != "rotary" or (config.rope_layers is not None and not config.rope_layers[layer_idx]):
        return no_rotation
    size = rotated_size(config.head_dim, rope_parameters(config, config.layer_types[layer_idx]))
    return full_rotation if size == config.head_dim else PartialRotation(size)
