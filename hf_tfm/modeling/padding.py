"""The door to padding-free: inside a stack one long row of real tokens, outside it the batch as it came.

Where a mask shows padding, or position ids show packed documents, norms, projections and feed-forwards run on the
tokens that count, attention runs sequence by sequence, and the cache is filled as the padded batch would fill it.
Numbers at real tokens are the same; padding comes out as zeros. Zeng et al. 2022, arXiv:2208.08124; ModernBERT, Warner
et al. 2024, arXiv:2412.13663.

Closed, the door is `Rows`, which changes nothing. It opens neither while a graph is traced, nor where the host records
hidden states, attentions or router logits, nor for a row whose real tokens do not stand together, nor beside keys that
a cache already holds. Hooks on blocks see the long row (1, N, C), or a part of it at a time in inference on a CPU;
`padding_free=False` keeps the door closed.

Legend: B batch, T tokens, n sequences, N real tokens, E embedding size, K key-value heads, D head size."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import torch
from transformers.utils.import_utils import is_tracing
from transformers.utils.output_capturing import _active_collector

from .apart import Way, dtype_of_products, find_way, one_by_one
from .sequences import Sequences, find_documents, find_sequences, pairs_by_length

Blocks = Callable[..., torch.Tensor]  # all blocks of a stack: (states, positions, angles, **context) -> states
# what the widest states of a group take, at most: allocators give larger ones back, and fetch them page by page again
GROUP_BYTES = 12 << 20


@dataclass
class Rows:
    """A batch as it came. `frame` (B, T, E), `attention_mask`, `position_ids` and `seen`, a cache, are what masks and
    biases are drawn for; of the frame its shape, dtype and device count. `memory_frame` and `memory_mask` likewise."""

    frame: torch.Tensor
    attention_mask: Any
    position_ids: torch.Tensor | None
    seen: Any = None
    memory_frame: torch.Tensor | None = None
    memory_mask: Any = None
    use_cache: bool = False  # whether one is made where none is given
    context: dict[str, Any] = field(default_factory=dict)  # what self-attention, and what cross-attention, is told
    memory_context: dict[str, Any] = field(default_factory=dict)

    def enter(self, states: torch.Tensor) -> torch.Tensor:
        """From the batch to what the blocks see."""
        return states

    def enter_memory(self, memory: Any) -> Any:
        """The same for the memory."""
        return memory

    def leave(self, states: torch.Tensor) -> torch.Tensor:
        """From what the blocks see to the batch."""
        return states

    def fill(self, cache: Any) -> Any:
        """The cache as the blocks see it."""
        return cache

    def through(self, blocks: Blocks, states: torch.Tensor, position_ids: torch.Tensor, angles: Any) -> torch.Tensor:
        """What all blocks make of the states (., N, C)."""
        return blocks(states, position_ids, angles, **self.context)


class Gathering:
    """From a batch to the places of its real tokens, and back."""

    def __init__(self, sequences: Sequences) -> None:
        self.batch, self.places = sequences.batch, sequences.places()

    def take(self, states: torch.Tensor) -> torch.Tensor:
        """(B or 1, T, ...) to (1, N, ...)."""
        rows = states.expand(self.batch[0], *states.shape[1:]).flatten(0, 1)
        return rows.index_select(0, self.places.to(rows.device)).unsqueeze(0)

    def put(self, states: torch.Tensor) -> torch.Tensor:
        """(1, N, ...) to (B, T, ...), zeros where there is padding."""
        rows = states.new_zeros(self.batch[0] * self.batch[1], *states.shape[2:])
        return rows.index_copy_(0, self.places.to(rows.device), states.squeeze(0)).unflatten(0, self.batch)


class FilledCache:
    """A cache that is given the keys and values of real tokens (1, K, N, D), keeps them as the padded batch's
    (B, K, T, D), and leaves attention the real ones. The memory's side, if there is one, likewise."""

    def __init__(self, cache: Any, gathering: Gathering, memory_side: Any = None) -> None:
        self.cache, self.gathering, self.cross_attention_cache = cache, gathering, memory_side

    def update(self, key: torch.Tensor, value: torch.Tensor, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        padded = (self.gathering.put(states.transpose(1, 2)).transpose(1, 2) for states in (key, value))
        self.cache.update(*padded, layer_idx)
        return key, value


class FilledPair(FilledCache):
    """The same for a cache with two sides."""

    def __init__(self, cache: Any, gathering: Gathering, memory: Gathering) -> None:
        super().__init__(cache.self_attention_cache, gathering, FilledCache(cache.cross_attention_cache, memory))
        self.is_updated = cache.is_updated


class RealTokens(Rows):
    """One long row (1, N, ...) of the real tokens of a batch, sequences of one length side by side."""

    def __init__(self, way: Way, frame: torch.Tensor, own: Sequences) -> None:
        # no mask is needed but the window's, and one as wide as the longest sequence serves all
        super().__init__(frame[:1, : own.longest], None, None)
        self.gathering = Gathering(own)
        lengths = own.lengths.tolist()
        self.context = way(lengths, lengths, frame.device)

    def enter(self, states: torch.Tensor) -> torch.Tensor:
        return self.gathering.take(states)

    def leave(self, states: torch.Tensor) -> torch.Tensor:
        return self.gathering.put(states)

    def fill(self, cache: Any) -> Any:
        return None if cache is None else FilledCache(cache, self.gathering)


class RealTokensInGroups(RealTokens):
    """The same where nothing has to be kept of a block: sequences of like length go through all blocks together, then
    the next ones, so that what passes between the maps of a block stays small."""

    def __init__(self, way: Way, frame: torch.Tensor, own: Sequences, groups: list[Sequences]) -> None:
        super().__init__(way, frame, own)
        lengths = [group.lengths.tolist() for group in groups]
        ends = list(accumulate(map(sum, lengths)))
        parts = map(slice, [0, *ends], ends)
        self.groups = [(part, way(some, some, frame.device)) for part, some in zip(parts, lengths, strict=True)]

    def through(self, blocks: Blocks, states: torch.Tensor, position_ids: torch.Tensor, angles: Any) -> torch.Tensor:
        outputs = []
        for part, context in self.groups:
            turns = {kind: tuple(angle[:, :, part] for angle in pair) for kind, pair in angles.items()}
            outputs.append(blocks(states[:, part], position_ids[:, part], turns, **context))
        return torch.cat(outputs, 1)


class RealTokensWithMemory(RealTokens):
    """The same beside a memory, of which the real tokens are one long row too."""

    def __init__(self, way: Way, frame: torch.Tensor, own: Sequences, memory: torch.Tensor, source: Sequences) -> None:
        super().__init__(way, frame, own)
        self.memory_frame, self.memory_gathering = memory[:1, : source.longest], Gathering(source)
        self.memory_context = way(own.lengths.tolist(), source.lengths.tolist(), frame.device)

    def enter_memory(self, memory: torch.Tensor) -> torch.Tensor:
        return self.memory_gathering.take(memory)

    def fill(self, cache: Any) -> Any:
        return None if cache is None else FilledPair(cache, self.gathering, self.memory_gathering)


def find_real_tokens(config: Any, given: Rows) -> Rows:
    """The real tokens alone, or the batch as it came where there is nothing to gain or it must not be."""
    # in this order: a step of decoding ends with the first question
    way = find_way(config, given.frame) if may_open(given.frame, given.seen) else None
    if way is None:
        return given
    return open_alone(config, way, given) if given.memory_frame is None else open_pair(way, given, given.memory_frame)


def open_alone(config: Any, way: Way, given: Rows) -> Rows:
    documents = given.attention_mask is None and given.position_ids is not None and given.seen is None
    find, told = (find_documents, given.position_ids) if documents else (find_sequences, given.attention_mask)
    own = find(given.frame, told)
    if own is None or not own.gains:
        return given
    own = own.by_length()
    kept = torch.is_grad_enabled() or given.use_cache or given.seen is not None
    groups = [own] if kept or way is not one_by_one else own.groups(group_size(config, given.frame))
    return RealTokensInGroups(way, given.frame, own, groups) if len(groups) > 1 else RealTokens(way, given.frame, own)


def group_size(config: Any, states: torch.Tensor) -> int:
    """Tokens whose widest states take `GROUP_BYTES`."""
    width = max(config.hidden_size, config.intermediate_size)
    return max(1, GROUP_BYTES // (width * dtype_of_products(states).itemsize))


def open_pair(way: Way, given: Rows, memory: torch.Tensor) -> Rows:
    own, source = find_sequences(given.frame, given.attention_mask), find_sequences(memory, given.memory_mask)
    apart = given.attention_mask is None and given.position_ids is not None  # positions may tell documents apart
    if own is None or source is None or apart or not (own.gains or source.gains):
        return given
    own, source = pairs_by_length(own, source)
    return RealTokensWithMemory(way, given.frame, own, memory, source)


def may_open(embeds: torch.Tensor, cache: Any) -> bool:
    """Whether values may be read, nobody records what happens between the blocks, and no key is cached yet."""
    if is_tracing(embeds) or _active_collector.get():
        return False
    return cache is None or not (cache.get_seq_length() or any(getattr(cache, "is_updated", {}).values()))


def as_it_came(config: Any, given: Rows) -> Rows:
    """The door that is always closed."""
    return given


# word of `padding_free` -> the door
DOORS: dict[bool, Callable[[Any, Rows], Rows]] = {True: find_real_tokens, False: as_it_came}


def find_rows(config: Any, given: Rows) -> Rows:
    """What the blocks of a stack see of a batch."""
    return DOORS[config.padding_free](config, given)
