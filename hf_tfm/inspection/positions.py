"""How a model tells order: its position scheme as numbers to draw, read from the position module itself.

Legend: H heads, D rotated size of a head, C embedding size, n positions or distances.
"""

from typing import Any

import torch

from ..modeling.position import BiasPosition, Position, RotaryPosition
from .model_state import inspected
from .recording import stacks_of, to_array
from .report import PositionScheme

__all__ = ["position_schemes"]

# positions or distances that are drawn
DRAWN = 128


def position_schemes(model: Any, length: int = DRAWN) -> list[PositionScheme]:
    """One entry per stack, for up to `length` positions. Which arrays a scheme has follows from which of its three
    methods it defines: a table that is added to words, angles that rotate queries and keys, or a bias of scores."""
    with inspected(model):
        return [scheme_of(name, stack, length) for name, stack in stacks_of(model).items()]


def scheme_of(name: str, stack: Any, length: int) -> PositionScheme:
    position, kind = stack.position, type(stack.position)
    found = PositionScheme(name, stack.config.position_type, "")
    sentences = []
    if kind.embed is not Position.embed:
        sentences.append(add_table(found, stack, position, length))
    if kind.angles is not Position.angles:
        sentences.append(add_angles(found, position))
    if kind.bias is not Position.bias:
        sentences.append(add_bias(found, stack, position, length))
    nothing = "Nothing in the embeddings, the rotation or the scores tells positions apart"
    by_mask = "; only the causal mask tells which tokens came before." if stack.layers[0].self_attn.is_causal else "."
    found.sentence = " ".join(sentences) or nothing + by_mask
    return found


def add_table(found: PositionScheme, stack: Any, position: Any, length: int) -> str:
    """The vectors that are added to words, and how similar they are."""
    longest = min(length, stack.config.max_position_embeddings)
    width = stack.embed_tokens.embedding_dim
    zeros = torch.zeros(
        1, longest, width, dtype=stack.embed_tokens.weight.dtype, device=stack.embed_tokens.weight.device
    )
    table = position.embed(zeros, torch.arange(longest, device=zeros.device)[None])[0].float()
    unit = torch.nn.functional.normalize(table, dim=-1)
    found.arrays["table similarity"] = to_array(unit @ unit.T)
    learned = next(position.parameters(), None) is not None
    source = "a learned vector" if learned else "sines and cosines of its position"
    limit = f", of which there are {stack.config.max_position_embeddings:,}" if learned else ""
    return f"Each word vector gets {source} added{limit} ({width} numbers); near positions have similar ones."


def add_angles(found: PositionScheme, position: Any) -> str:
    """Radians per token of every pair of numbers that is rotated."""
    if not isinstance(position, RotaryPosition):
        return "Queries and keys are rotated by their position."
    parts = []
    rotaries: Any = position.rotary
    for key, rotary in rotaries.items():
        frequencies = rotary.inv_freq.double()
        name = f"frequencies of {key}" if parts else "frequencies"
        found.arrays[name] = to_array(frequencies)
        longest = 2 * torch.pi / frequencies[frequencies > 0].min().item()
        where = "" if key == "shared" else f" in layers of {key}"
        parts.append(
            f"Each pair of numbers of queries and keys turns by its own angle per token{where}: {len(frequencies)} "
            f"pairs, the fastest with a full turn every {2 * torch.pi / frequencies.max().item():.1f} tokens, the "
            f"slowest every {longest:,.0f}, so that a score depends on the distance of two tokens."
        )
    return " ".join(parts)


def add_bias(found: PositionScheme, stack: Any, position: Any, length: int) -> str:
    """What is added to the scores of every head at every distance, key minus query."""
    if not isinstance(position, BiasPosition):
        return "A bias is added to the scores."
    is_causal = stack.layers[0].self_attn.is_causal
    distances = torch.arange(1 - length, 1 if is_causal else length, device=stack.embed_tokens.weight.device)
    bias = position.distance_bias(distances[None])[:, 0].float()
    found.arrays |= {"distances": to_array(distances), "bias by distance": to_array(bias)}
    if next(position.parameters(), None) is not None:
        return f"A learned number for every head and distance is added to the scores ({len(bias)} heads)."
    slopes = (bias[:, distances == 0] - bias[:, distances == -1])[:, 0]
    found.arrays["slopes"] = to_array(slopes)
    return (
        f"The score of a key falls with its distance, by {slopes.min().item():.2g} to {slopes.max().item():.2g} per "
        f"token, depending on the head ({len(bias)} heads)."
    )
