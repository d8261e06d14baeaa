"""Unpadding: blocks compute on one long row of real tokens instead of a padded batch.

Where a mask shows padding, or position ids show packed documents, norms, projections and feed-forwards run on the real
tokens, attention runs sequence by sequence, and the cache is filled as the padded batch would fill it. Outputs at real
tokens are the same; padding comes out as zeros. Zeng et al. 2022, arXiv:2208.08124; ModernBERT, Warner et al. 2024,
arXiv:2412.13663.

The batch stays padded while a graph is traced, while transformers records hidden states, attentions or router logits,
if the real tokens of a row are not contiguous, and beside keys that a cache already holds. Hooks on blocks see the long
row (1, N, C), or a part of it at a time in inference on a CPU; `padding_free=False` turns unpadding off.

Legend: B batch, T tokens, n sequences, N real tokens, E embedding size, K key-value heads, D head size."""

from itertools import accumulate
from typing import Any

import torch
from transformers.utils.import_utils import is_tracing
from transformers.utils.output_capturing import _active_collector

from .sequence_lengths import SequenceLengths, lengths_from_mask, lengths_from_positions, sort_pairs
from .varlen_attention import choose_varlen_backend, compute_dtype, varlen_kwargs

# upper bound for the widest states of a group: allocators give larger tensors back and fetch them page by page again
GROUP_BYTES = 6 << 20


class TokenIndex:
    """Moves states between a padded batch and the row of its real tokens."""

    def __init__(self, sequences: SequenceLengths) -> None:
        self.batch_shape, self.indices = sequences.batch_shape, sequences.token_indices()

    def unpad(self, states: torch.Tensor) -> torch.Tensor:
        """(B or 1, T, ...) to (1, N, ...)."""
        tokens = states.expand(self.batch_shape[0], *states.shape[1:]).flatten(0, 1)
        return tokens.index_select(0, self.indices.to(tokens.device)).unsqueeze(0)

    def pad(self, states: torch.Tensor) -> torch.Tensor:
        """(1, N, ...) to (B, T, ...), zeros where there is padding."""
        tokens = states.new_zeros(self.batch_shape[0] * self.batch_shape[1], *states.shape[2:])
        return tokens.index_copy_(0, self.indices.to(tokens.device), states.squeeze(0)).unflatten(0, self.batch_shape)


class UnpaddedCache:
    """Wraps a cache: takes the keys and values of real tokens (1, K, N, D), stores them as the padded batch's
    (B, K, T, D), and returns the real ones to attention."""

    def __init__(self, cache: Any, index: TokenIndex) -> None:
        self.cache, self.index = cache, index

    def update(self, key: torch.Tensor, value: torch.Tensor, layer_idx: int) -> tuple[torch.Tensor, torch.Tensor]:
        padded = (self.index.pad(states.transpose(1, 2)).transpose(1, 2) for states in (key, value))
        self.cache.update(*padded, layer_idx)
        return key, value

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number and first index of the keys that `update` returns."""
        return query_length, 0


class UnpaddedEncoderDecoderCache(UnpaddedCache):
    """The same for both parts of an encoder-decoder's cache."""

    def __init__(self, cache: Any, index: TokenIndex, memory_index: TokenIndex) -> None:
        super().__init__(cache.self_attention_cache, index)
        self.cross_attention_cache = UnpaddedCache(cache.cross_attention_cache, memory_index)
        self.is_updated = cache.is_updated


class UnpaddedBatch:
    """The real tokens of a batch as one row, sequences of one length side by side.

    `frame` (1, longest sequence, E): what masks and biases are made for; of it only shape, dtype and device count.
    `groups`: slices of the row that go through all blocks together, with the keyword arguments of their attention.
    `memory_frame`, `memory_kwargs`: the same for cross-attention, None without a memory."""

    memory_frame: torch.Tensor | None = None
    memory_kwargs: Any = None

    def __init__(self, backend: str, embeds: torch.Tensor, groups: list[SequenceLengths]) -> None:
        lengths = [group.lengths.tolist() for group in groups]
        ends = list(accumulate(map(sum, lengths)))
        sequences = SequenceLengths(
            groups[0].batch_shape,
            torch.cat([group.starts for group in groups]),
            torch.cat([group.lengths for group in groups]),
        )
        self.index = TokenIndex(sequences)
        self.frame = embeds[:1, : sequences.longest]
        self.groups = [
            (slice(start, end), varlen_kwargs(backend, some, some, embeds.device))
            for start, end, some in zip([0, *ends], ends, lengths, strict=False)
        ]

    def add_memory(self, backend: str, memory: torch.Tensor, target: SequenceLengths, source: SequenceLengths) -> None:
        """Unpads the memory (B, S, C') that the sequences `target` read, too."""
        self.memory_index = TokenIndex(source)
        self.memory_frame = memory[:1, : source.longest]
        self.memory_kwargs = varlen_kwargs(backend, target.lengths.tolist(), source.lengths.tolist(), memory.device)

    def wrap_cache(self, cache: Any) -> Any:
        if cache is None:
            return None
        if self.memory_frame is None:
            return UnpaddedCache(cache, self.index)
        return UnpaddedEncoderDecoderCache(cache, self.index, self.memory_index)


def unpad(
    config: Any,
    embeds: torch.Tensor,
    attention_mask: Any,
    position_ids: torch.Tensor | None,
    cache: Any = None,
    use_cache: bool | None = False,
) -> UnpaddedBatch | None:
    """The real tokens of a batch with word vectors (B, T, E); None where it has to stay padded or nothing is saved."""
    backend = backend_for(config, embeds, cache)
    if backend is None:
        return None
    if attention_mask is None and position_ids is not None and cache is None:
        sequences = lengths_from_positions(embeds, position_ids)
    else:
        sequences = lengths_from_mask(embeds, attention_mask)
    if sequences is None or not sequences.has_shorter:
        return None
    groups = [sequences.sort()]
    # in inference without a cache nothing has to be kept of a block, so sequences may pass all blocks in groups, which
    # keeps the states between two linear maps small
    if backend == "loop" and cache is None and not use_cache and not torch.is_grad_enabled():
        groups = groups[0].split(tokens_per_group(config, embeds))
    return UnpaddedBatch(backend, embeds, groups)


def unpad_with_memory(
    config: Any,
    embeds: torch.Tensor,
    attention_mask: Any,
    position_ids: torch.Tensor | None,
    cache: Any,
    memory: torch.Tensor,
    memory_mask: Any,
) -> UnpaddedBatch | None:
    """The same for a decoder that reads a memory (B, S, C') with a mask of its own."""
    # positions without a mask may separate documents, which would see each other's memory
    separate_documents = attention_mask is None and position_ids is not None
    backend = None if separate_documents else backend_for(config, embeds, cache)
    if backend is None:
        return None
    target, source = lengths_from_mask(embeds, attention_mask), lengths_from_mask(memory, memory_mask)
    if target is None or source is None or not (target.has_shorter or source.has_shorter):
        return None
    target, source = sort_pairs(target, source)
    batch = UnpaddedBatch(backend, embeds, [target])
    batch.add_memory(backend, memory, target, source)
    return batch


def backend_for(config: Any, embeds: torch.Tensor, cache: Any) -> str | None:
    """The attention backend for an unpadded row; None where the batch has to stay padded: unpadding is turned off,
    values cannot be read, somebody records what happens between the blocks, or keys are cached already."""
    if not config.padding_free or is_tracing(embeds) or _active_collector.get():
        return None
    if cache is not None and (cache.get_seq_length() or any(getattr(cache, "is_updated", {}).values())):
        return None
    return choose_varlen_backend(config, embeds)


def tokens_per_group(config: Any, states: torch.Tensor) -> int:
    """How many tokens' widest states take `GROUP_BYTES`."""
    width = max(config.hidden_size, config.intermediate_size)
    return max(1, GROUP_BYTES // (width * compute_dtype(states).itemsize))


def run_unpadded(
    stack: Any,
    batch: UnpaddedBatch,
    embeds: torch.Tensor,
    position_ids: torch.Tensor,
    memory: torch.Tensor | None = None,
    memory_kwargs: Any = None,
    past_key_values: Any = None,
    **kwargs: Any,
) -> torch.Tensor:
    """`Stack.run` on the real tokens of a batch: word vectors (B, T, E) to hidden states (B, T, C)."""
    # masks are needed for windows only, and those of the longest sequence serve all
    masks, biases = stack.create_masks(batch.frame), stack.position.bias(batch.frame, None)
    embeds, position_ids = batch.index.unpad(embeds), batch.index.unpad(position_ids)
    if memory is not None:
        memory = batch.memory_index.unpad(memory)
        kwargs["memory_kwargs"] = {**memory_kwargs, **batch.memory_kwargs}
    hidden_states, angles = stack.add_positions(embeds, position_ids)
    outputs = []
    for tokens, attention_kwargs in batch.groups:
        part_angles = {kind: part_of_angles(pair, tokens) for kind, pair in angles.items()}
        outputs.append(
            stack.run_layers(
                hidden_states[:, tokens],
                position_ids[:, tokens],
                part_angles,
                masks,
                biases,
                memory,
                past_key_values=batch.wrap_cache(past_key_values),
                **{**kwargs, **attention_kwargs},
            )
        )
    hidden_states = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
    return batch.index.pad(stack.norm(hidden_states))


def part_of_angles(angles: Any, tokens: slice) -> Any:
    """The angles (1, 1, N, D) of some tokens; None where a layer type has none."""
    return None if angles is None else tuple(angle[:, :, tokens] for angle in angles)
