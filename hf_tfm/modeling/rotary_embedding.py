"""Cosines and sines of rotary positions, and when keys that a cache holds no longer fit.

Legend: B batch, T tokens, D rotated size of a head.
"""

from typing import Any

import torch
from torch import nn
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update
from transformers.utils.import_utils import is_tracing

Angles = tuple[torch.Tensor, torch.Tensor]


class RopeConfigView:
    """A configuration whose `rope_parameters` are those of one layer type."""

    def __init__(self, config: Any, rope_parameters: dict) -> None:
        self.config, self.rope_parameters = config, rope_parameters

    def __getattr__(self, name: str) -> Any:
        if name == "config":  # not yet there while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.config, name)


class TfmRotaryEmbedding(nn.Module):
    """Cosines and sines of position x frequency, with every scaling of transformers whose frequencies are always the
    same (linear, yarn, llama3, proportional).   Su et al. 2021, arXiv:2104.09864."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.rope_type = config.rope_parameters["rope_type"]
        self.max_seq_len_cached = self.original_max_seq_len = config.max_position_embeddings
        inv_freq, self.attention_scaling = self.formulas()[self.rope_type](config)
        self.inv_freq = nn.Buffer(inv_freq, persistent=False)
        self.original_inv_freq = nn.Buffer(inv_freq.clone(), persistent=False)

    @classmethod
    def formulas(cls) -> dict[str, Any]:
        """`rope_type` -> function of (config, device, length) that returns frequencies (D/2,) and the factor of cosines
        and sines."""
        return {"default": cls.compute_default_rope_parameters, **ROPE_INIT_FUNCTIONS}

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
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> Angles:
        """Cosines and sines (B or 1, 1, T, D) for all heads, in the dtype of `x`."""
        return self.angles(x, position_ids, self.inv_freq)

    def angles(self, x: torch.Tensor, position_ids: torch.Tensor, inv_freq: torch.Tensor) -> Angles:
        """The same for given frequencies (D/2,). The first half of the sines is negated, so that no block has to negate
        a half of its queries and keys."""
        phase = position_ids[:, None, :, None].float() * inv_freq.to(x.device)
        cos, sin = phase.cos() * self.attention_scaling, phase.sin() * self.attention_scaling
        return torch.cat((cos, cos), dim=-1).to(x.dtype), torch.cat((-sin, sin), dim=-1).to(x.dtype)


class ChangingRotaryEmbedding(TfmRotaryEmbedding):
    """Base of those whose frequencies depend on the longest row of the batch."""

    def outdated_keys(self, cached: int, length: int) -> str | None:
        """Why keys of `cached` tokens, rotated when no row had more, do not fit queries of a batch of `length` tokens;
        None if they do."""
        raise NotImplementedError

    def check_cached_keys(self, position_ids: torch.Tensor, cache: Any) -> None:
        """Raises ValueError if a filled cache holds keys that do not fit new tokens at these positions (B or 1, T)."""
        if is_tracing(position_ids) or not int(cache.get_seq_length()):
            return
        reason = self.outdated_keys(int(position_ids[:, 0].max()), int(position_ids.max()) + 1)
        if reason is not None:
            raise ValueError(
                f"The keys in past_key_values do not fit the new tokens: {reason}. Compute the whole sequence without "
                "the cache; `generate` does so by itself, unless it is given prefill_chunk_size."
            )


class LongRotaryEmbedding(ChangingRotaryEmbedding):
    """Two sets of frequencies: one for batches up to `original_max_position_embeddings`, one for longer ones.   Ding et
    al. 2024, arXiv:2402.13753. `dynamic_rope_update` reads attributes by name."""

    def outdated_keys(self, cached: int, length: int) -> str | None:
        longest = self.config.rope_parameters["original_max_position_embeddings"]
        if cached <= longest < length:
            return (
                'rope_parameters of rope_type="longrope" give other frequencies beyond '
                f"original_max_position_embeddings={longest}"
            )
        return None

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> Angles:
        return self.angles(x, position_ids, self.inv_freq)


class DynamicRotaryEmbedding(ChangingRotaryEmbedding):
    """Beyond `max_position_embeddings`, frequencies that change with every token of the longest row (NTK-aware
    scaling). They depend on the batch at hand alone: transformers' own step keeps those of the longest batch so far."""

    def outdated_keys(self, cached: int, length: int) -> str | None:
        if length > self.original_max_seq_len:
            return (
                'rope_parameters of rope_type="dynamic" give other frequencies for every length beyond '
                f"max_position_embeddings={self.original_max_seq_len}"
            )
        return None

    @torch.no_grad()
    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> Angles:
        length = position_ids.max() + 1
        stretched, _ = ROPE_INIT_FUNCTIONS["dynamic"](self.config, x.device, length)
        exact = self.inv_freq.to(x.device)
        return self.angles(x, position_ids, torch.where(length > self.original_max_seq_len, stretched, exact))


# rope_type -> class of those whose frequencies depend on the length of the batch
CHANGING_ROTARIES = {"longrope": LongRotaryEmbedding, "dynamic": DynamicRotaryEmbedding}


def make_rotary_embedding(config: Any, layer_type: str) -> TfmRotaryEmbedding:
    """The cosines and sines of a layer type."""
    parameters = rope_parameters_of(config, layer_type)
    kind = CHANGING_ROTARIES.get(parameters["rope_type"], TfmRotaryEmbedding)
    return kind(RopeConfigView(config, parameters))


def rope_parameters_of(config: Any, layer_type: str) -> dict:
    """The rotary parameters of a layer type."""
    return config.rope_parameters.get(layer_type, config.rope_parameters)


def rotated_size(head_dim: int, parameters: dict) -> int:
    """How many leading elements of a head are rotated."""
    if parameters["rope_type"] == "proportional":
        return head_dim
    return int(head_dim * parameters.get("partial_rotary_factor", 1.0))
