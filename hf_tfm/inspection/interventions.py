"""Interventions: parts set to zero, and the stream of another run put in, until a block ends.

Legend: B batch, T tokens, H heads, K key-value heads, D head size, C hidden size.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .model_state import hooks
from .recording import BRANCHES, stacks_of

__all__ = ["knock_out", "patch"]


@contextmanager
def knock_out(
    model: Any,
    layer: int,
    heads: Sequence[int] = (),
    *,
    key_value_heads: Sequence[int] = (),
    mlp: bool = False,
    attention: str = "self",
    stack: str | None = None,
) -> Iterator[None]:
    """Sets outputs of heads to zero before `o_proj`, whose bias stays, and with `mlp` the output of the feed-forward.

    `layer`, `heads`: from 0. `key_value_heads`: all heads that read these. `attention`: "self" or "cross". `stack`:
    "source" or "target" of an encoder-decoder (default: "target"). Raises ValueError for a part that is not there."""
    with hooks(**knock_out_hooks(model, layer, heads, key_value_heads, mlp, attention, stack)):
        yield


def knock_out_hooks(
    model: Any,
    layer: int,
    heads: Sequence[int],
    key_value_heads: Sequence[int] = (),
    mlp: bool = False,
    attention: str = "self",
    stack: str | None = None,
) -> dict[str, list[tuple[Any, Any]]]:
    block = block_of(model, stack, layer)
    module = {"self": block.self_attn, "cross": block.cross_attn}.get(attention)
    if module is None:
        raise ValueError(f'This layer has no attention of the kind "{attention}"; kinds are "self" and "cross".')
    group, size = module.num_key_value_groups, module.head_dim
    count = module.o_proj.in_features // size
    chosen = {*heads, *(group * index + offset for index in key_value_heads for offset in range(group))}
    if not chosen <= set(range(count)):
        raise ValueError(f"heads={sorted(chosen)} must lie between 0 and {count - 1}.")
    pairs: dict[str, list[tuple[Any, Any]]] = {"forward": [], "forward_pre": []}
    if chosen:
        kept = torch.ones(count, dtype=torch.bool)
        kept[sorted(chosen)] = False
        pairs["forward_pre"].append((module.o_proj, keep_heads(kept[None], size)))
    if mlp:
        pairs["forward"].append((block.mlp, lambda module, args, kwargs, output: torch.zeros_like(output)))
    return pairs


def keep_heads(kept: torch.Tensor, size: int) -> Any:
    """A hook before `o_proj` that sets the heads (B or 1, H) whose flag is false to zero."""

    def hook(module: Any, args: Any, kwargs: Any) -> Any:
        flags = kept.to(args[0].device).repeat_interleave(size, dim=-1)[:, None]  # (B or 1, 1, H D)
        return (args[0].masked_fill(~flags, 0.0), *args[1:]), kwargs

    return hook


def block_of(model: Any, stack: str | None, layer: int) -> Any:
    """A block. Raises ValueError for a stack or a layer that is not there."""
    stacks = stacks_of(model)
    name = list(stacks)[-1] if stack is None else stack
    if name not in stacks:
        raise ValueError(f'stack="{name}" must be one of: {", ".join(stacks)}.')
    layers = stacks[name].layers
    if not 0 <= layer < len(layers):
        raise ValueError(f"layer={layer} must lie between 0 and {len(layers) - 1}.")
    return layers[layer]


@contextmanager
def patch(
    model: Any,
    tap: str,
    states: torch.Tensor,
    positions: Sequence[int] | None = None,
    *,
    stack: str | None = None,
) -> Iterator[None]:
    """Puts states (T, C) of another run into the stream at a tap ("embeddings", "3 attention", ...) at some positions
    (default: all). Raises ValueError for a tap that is not there, or while running, for states of another length."""
    chosen = torch.zeros(1, len(states), dtype=torch.bool)
    chosen[:, list(range(len(states)) if positions is None else positions)] = True
    with hooks(**patch_hooks(model, tap, states, chosen, stack)):
        yield


def patch_hooks(
    model: Any, tap: str, states: torch.Tensor, chosen: torch.Tensor, stack: str | None
) -> dict[str, list[tuple[Any, Any]]]:
    """Hooks that put states (T, C) in where `chosen` (B or 1, T) is true."""

    def replaced(current: torch.Tensor) -> torch.Tensor:
        if current.shape[1:] != states.shape:
            raise ValueError(
                f"The states have shape {tuple(states.shape)}, the stream at {tap!r} has {tuple(current.shape[1:])}; "
                "patch between texts with the same number of tokens."
            )
        return torch.where(chosen[..., None].to(current.device), states.to(current), current)

    def before(module: Any, args: Any, kwargs: Any) -> Any:
        return (replaced(args[0]), *args[1:]), kwargs

    def after(module: Any, args: Any, kwargs: Any, output: torch.Tensor) -> torch.Tensor:
        return replaced(output)

    if tap == "embeddings":
        return {"forward_pre": [(block_of(model, stack, 0), before)]}
    number, _, name = tap.partition(" ")
    branch = {words: branch for branch, words in BRANCHES.items()}.get(name)
    block = block_of(model, stack, int(number) - 1) if number.isdigit() else None
    if block is None or branch is None or getattr(block, branch) is None:
        raise ValueError(f'tap="{tap}" must be "embeddings" or a layer from 1 and {", ".join(BRANCHES.values())}.')
    return {"forward": [(getattr(block, f"{branch}_residual"), after)]}
