"""Rows of names: how tensors of a native model become ours, and how they go back.

A family is a table of rows. A row names modules (or single parameters) of both sides; weight and bias follow the
module. `{}` stands for the number of a layer, `{query}` and `{key}` for that of a head. What a row says runs in both
directions, so there is no second table.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..modeling.position import rotated_size

__all__ = [
    "BLOCKS", "COPIED", "FLAT", "GATE_UP", "GROUPS", "HEADS", "INTERLEAVED", "INTERLEAVED_NORMS", "LAYER", "ONES",
    "PER_HEAD", "PLUS_ONE", "SAME", "TIED", "TRANSPOSED", "Change", "ConversionError", "Move", "Row", "chain", "match",
    "row",
]  # fmt: skip

LAYER = "{}"
SUFFIXES = ("", ".weight", ".bias")


class ConversionError(ValueError):
    """A checkpoint or a configuration that cannot be said on the other side."""


class Change(NamedTuple):
    """Tensors of one side from those of the other. Both functions take the tensors and our configuration, and may
    return what they were given, or views of it.

    `some`: names may be missing on either side (copies of one table). `rounds`: not exact in less than float32."""

    forward: Callable[[list[Tensor], Any], list[Tensor]]
    backward: Callable[[list[Tensor], Any], list[Tensor]]
    some: bool = False
    rounds: bool = False


class Row(NamedTuple):
    """Names of one or more modules or parameters on either side, and the change between them."""

    native: tuple[str, ...]
    ours: tuple[str, ...]
    change: Change

    def behind(self, native: str, ours: str) -> "Row":
        """The same row with a prefix before the names of each side."""
        return Row(tuple(native + name for name in self.native), tuple(ours + name for name in self.ours), self.change)


class Move(NamedTuple):
    """A row with complete parameter names."""

    native: list[str]
    ours: list[str]
    change: Change


def names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def each(function: Callable[[Tensor, Any], Tensor]) -> Callable[[list[Tensor], Any], list[Tensor]]:
    return lambda tensors, config: [function(tensor, config) for tensor in tensors]


def keep(tensor: Tensor, config: Any) -> Tensor:
    return tensor


SAME = Change(each(keep), each(keep))


def row(native: str | Iterable[str], ours: str | Iterable[str], change: Change = SAME) -> Row:
    return Row(names(native), names(ours), change)


def chain(*changes: Change) -> Change:
    """One change after the other, on the way forward from left to right."""

    def forward(tensors: list[Tensor], config: Any) -> list[Tensor]:
        for change in changes:
            tensors = change.forward(tensors, config)
        return tensors

    def backward(tensors: list[Tensor], config: Any) -> list[Tensor]:
        for change in reversed(changes):
            tensors = change.backward(tensors, config)
        return tensors

    return Change(forward, backward, any(c.some for c in changes), any(c.rounds for c in changes))


def turn(tensor: Tensor, config: Any) -> Tensor:
    return tensor.T.contiguous() if tensor.dim() == 2 else tensor


# GPT-2 keeps its matrices as (in, out)
TRANSPOSED = Change(each(turn), each(turn))

# A norm that multiplies by 1 + weight (Gemma). Half precision cannot hold the sum.
PLUS_ONE = Change(each(lambda w, config: 1 + w), each(lambda w, config: w - 1), rounds=True)


def join(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return [torch.cat(tensors)]


def split_blocks(tensors: list[Tensor], config: Any) -> list[Tensor]:
    queries = config.num_attention_heads * config.head_dim
    keys = config.num_key_value_heads * config.head_dim
    return list(tensors[0].split([queries, keys, keys]))


# all queries, then all keys, then all values
BLOCKS = Change(split_blocks, join)

# gate, then up
GATE_UP = Change(lambda tensors, config: list(tensors[0].chunk(2)), join)


def split_groups(tensors: list[Tensor], config: Any) -> list[Tensor]:
    groups, width = config.num_key_value_heads, config.head_dim
    parts = tensors[0].view(groups, -1, width, *tensors[0].shape[1:]).tensor_split((-2, -1), dim=1)
    return [part.reshape(-1, *tensors[0].shape[1:]) for part in parts]


def join_groups(tensors: list[Tensor], config: Any) -> list[Tensor]:
    groups, width = config.num_key_value_heads, config.head_dim
    parts = [tensor.view(groups, -1, width, *tensor.shape[1:]) for tensor in tensors]
    return [torch.cat(parts, dim=1).reshape(-1, *tensors[0].shape[1:])]


# for each group of queries: the queries, their key, their value. With one query per key that is q, k, v per head.
GROUPS = Change(split_groups, join_groups)


def rotated(config: Any) -> int:
    """Elements of a head that rotate."""
    return rotated_size(config.head_dim, config.rope_parameters)


def evens_first(index: Tensor) -> Tensor:
    return torch.cat((index[0::2], index[1::2]))


def pairs_again(index: Tensor) -> Tensor:
    return index.view(2, -1).T.reshape(-1)


def reordered(order: Callable[[Tensor], Tensor], per_head: bool) -> Callable[[list[Tensor], Any], list[Tensor]]:
    """Reorders the rotated elements of every head: rows of a projection, or columns of one weight per head."""

    def function(tensor: Tensor, config: Any) -> Tensor:
        width, part = config.head_dim, rotated(config)
        index = torch.cat((order(torch.arange(part)), torch.arange(part, width))).to(tensor.device)
        heads = tensor if per_head else tensor.view(-1, width, *tensor.shape[1:])
        return heads[:, index].reshape(tensor.shape)

    return each(function)


# Rotary on neighbours (0, 1), (2, 3) .. becomes rotary on halves (0, n/2), (1, n/2 + 1) .. if queries and keys are
# reordered alike.
INTERLEAVED = Change(reordered(evens_first, False), reordered(pairs_again, False))
INTERLEAVED_NORMS = Change(reordered(evens_first, True), reordered(pairs_again, True))

# one weight over the whole width <-> one row per head
HEADS = Change(
    each(lambda w, config: w.view(-1, config.head_dim)),
    each(lambda w, config: w.reshape(-1)),
)

# (1, V) <-> (V,)
FLAT = Change(each(lambda b, config: b.view(-1)), each(lambda b, config: b.view(1, -1)))

# one tensor per head <-> one row per head
PER_HEAD = Change(
    lambda tensors, config: [torch.stack(tensors)],
    lambda tensors, config: list(tensors[0].unbind()),
)


def all_equal(tensors: list[Tensor], config: Any) -> list[Tensor]:
    if any(not torch.equal(tensors[0], other) for other in tensors[1:]):
        raise ConversionError("These tensors are copies of one another in this family, but they differ.")
    return tensors[:1]


# copies of one tensor on both sides: as many as are there
TIED = Change(all_equal, all_equal, some=True)

# The first is read, the others are copies that nothing reads once tables are untied (the loose bias of BERT's head).
COPIED = Change(lambda tensors, config: tensors[:1], lambda tensors, config: tensors[:1], some=True)


def only_ones(tensors: list[Tensor], config: Any) -> list[Tensor]:
    if any(not torch.equal(tensor, torch.ones_like(tensor)) for tensor in tensors):
        raise ConversionError("The family's norms have no weights, but these are not all ones.")
    return []


# a norm without weights
ONES = Change(lambda tensors, config: [torch.ones(config.hidden_size)], only_ones)


def layers_of(config: Any, name: str) -> int:
    """Layers of the side of the configuration that our `name` is on."""
    decoder = config.is_encoder_decoder and "decoder." in name
    return config.decoder_layers if decoder else config.num_hidden_layers


def per_head(names: Iterable[str], config: Any) -> tuple[str, ...]:
    """Names with one for every head in place of one that says `{query}` or `{key}`."""
    counts = {"{query}": config.num_attention_heads, "{key}": config.num_key_value_heads}
    for mark, count in counts.items():
        names = [name.replace(mark, str(head)) for name in names for head in range(count if mark in name else 1)]
    return tuple(names)


def unrolled(rows: Iterable[Row], config: Any) -> Iterator[Row]:
    """Rows with every layer's number in place of `{}`, and every head's of `{query}` and `{key}`."""
    for entry in rows:
        if LAYER not in "".join(entry.native + entry.ours):
            yield entry
            continue
        for layer in range(layers_of(config, entry.ours[0])):
            yield Row(
                per_head([name.replace(LAYER, str(layer)) for name in entry.native], config),
                tuple(name.replace(LAYER, str(layer)) for name in entry.ours),
                entry.change,
            )


def match(rows: Iterable[Row], native: set[str], ours: set[str], config: Any) -> list[Move]:
    """The moves that turn parameters named `native` into those named `ours`, each used once. A row of which neither
    side is there is left out (biases, absent norms). Raises ConversionError if one side alone is there, or anything
    remains."""
    moves, left_native, left_ours = [], set(native), set(ours)
    for entry in unrolled(rows, config):
        for suffix in SUFFIXES:
            theirs = [name + suffix for name in entry.native]
            mine = [name + suffix for name in entry.ours]
            if entry.change.some:
                theirs, mine = [n for n in theirs if n in native], [n for n in mine if n in ours]
            there = (set(theirs) & left_native) | (set(mine) & left_ours)
            if there and set(theirs) <= left_native and set(mine) <= left_ours:
                moves.append(Move(theirs, mine, entry.change))
                left_native -= set(theirs)
                left_ours -= set(mine)
    if left_native or left_ours:
        raise ConversionError(
            f"No row says what becomes of {listed(left_native) or 'nothing'} of the native model, nor where "
            f"{listed(left_ours) or 'nothing'} of ours comes from."
        )
    return moves


def listed(keys: set[str], limit: int = 6) -> str:
    shown = ", ".join(sorted(keys)[:limit])
    return f"{shown} and {len(keys) - limit} more" if len(keys) > limit else shown
