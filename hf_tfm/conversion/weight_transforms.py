"""Transforms of weights: splits, transposes and permutations between a native layout and ours, in both directions.

Shapes: C hidden size, H heads, D head size, V vocabulary size.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..modeling.position import rotated_size
from .errors import ConversionError

__all__ = [
    "ADD_ONE", "CREATE_ONES", "CREATE_ZEROS", "FIRST_OF_COPIES", "FLATTEN", "IDENTITY", "PERMUTE_FOR_ROPE",
    "PERMUTE_NORM_FOR_ROPE", "SPLIT_GATE_UP", "SPLIT_GROUPED_QKV", "SPLIT_HEADS", "SPLIT_QKV", "STACK_HEADS",
    "TRANSPOSE", "Transform", "compose", "permute_rotary_elements", "rotary_size",
]  # fmt: skip

TransformFunction = Callable[[list[Tensor], Any], list[Tensor]]


class Transform(NamedTuple):
    """Our tensors from native ones, and the inverse. Both functions take the tensors and our configuration. They may
    return the tensors they were given, or views of them.

    `allows_missing`: any of the names may be absent on either side (copies of one tensor).
    `needs_float32`: not exact in a lower precision."""

    to_ours: TransformFunction
    to_native: TransformFunction
    allows_missing: bool = False
    needs_float32: bool = False


def for_each_tensor(function: Callable[[Tensor, Any], Tensor]) -> TransformFunction:
    def apply(tensors: list[Tensor], config: Any) -> list[Tensor]:
        return [function(tensor, config) for tensor in tensors]

    return apply


def compose(*transforms: Transform) -> Transform:
    """The transforms one after the other: left to right for our tensors, right to left for native ones."""

    def to_ours(tensors: list[Tensor], config: Any) -> list[Tensor]:
        for transform in transforms:
            tensors = transform.to_ours(tensors, config)
        return tensors

    def to_native(tensors: list[Tensor], config: Any) -> list[Tensor]:
        for transform in reversed(transforms):
            tensors = transform.to_native(tensors, config)
        return tensors

    return Transform(
        to_ours,
        to_native,
        any(transform.allows_missing for transform in transforms),
        any(transform.needs_float32 for transform in transforms),
    )


def unchanged(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return list(tensors)


IDENTITY = Transform(unchanged, unchanged)


def transpose_matrix(tensor: Tensor, config: Any) -> Tensor:
    return tensor.T.contiguous() if tensor.dim() == 2 else tensor


# GPT-2 stores matrices as (in, out).
TRANSPOSE = Transform(for_each_tensor(transpose_matrix), for_each_tensor(transpose_matrix))

# A norm that multiplies by 1 + weight (Gemma). Half precision cannot hold the sum.
ADD_ONE = Transform(
    for_each_tensor(lambda weight, config: 1 + weight),
    for_each_tensor(lambda weight, config: weight - 1),
    needs_float32=True,
)


# Fused projections


def concatenate(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return [torch.cat(tensors)]


def split_qkv(tensors: list[Tensor], config: Any) -> list[Tensor]:
    query_size = config.num_attention_heads * config.head_dim
    key_size = config.num_key_value_heads * config.head_dim
    return list(tensors[0].split([query_size, key_size, key_size]))


def split_gate_up(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return list(tensors[0].chunk(2))


# Fused tensor: all queries, then all keys, then all values.
SPLIT_QKV = Transform(split_qkv, concatenate)

# Fused tensor: gate, then up.
SPLIT_GATE_UP = Transform(split_gate_up, concatenate)


def split_grouped_qkv(tensors: list[Tensor], config: Any) -> list[Tensor]:
    groups, head_dim = config.num_key_value_heads, config.head_dim
    parts = tensors[0].view(groups, -1, head_dim, *tensors[0].shape[1:]).tensor_split((-2, -1), dim=1)
    return [part.reshape(-1, *tensors[0].shape[1:]) for part in parts]


def fuse_grouped_qkv(tensors: list[Tensor], config: Any) -> list[Tensor]:
    groups, head_dim = config.num_key_value_heads, config.head_dim
    parts = [tensor.view(groups, -1, head_dim, *tensor.shape[1:]) for tensor in tensors]
    return [torch.cat(parts, dim=1).reshape(-1, *tensors[0].shape[1:])]


# Fused tensor, for each group of query heads: its queries, its key, its value. With one query head per key head this
# is query, key, value of every head.
SPLIT_GROUPED_QKV = Transform(split_grouped_qkv, fuse_grouped_qkv)


# Rotary positions


def rotary_size(config: Any) -> int:
    """Number of elements of a head that are rotated."""
    return rotated_size(config.head_dim, config.rope_parameters)


def interleaved_to_halves(index: Tensor) -> Tensor:
    return torch.cat((index[0::2], index[1::2]))


def halves_to_interleaved(index: Tensor) -> Tensor:
    return index.view(2, -1).T.reshape(-1)


def permute_rotary_elements(order: Callable[[Tensor], Tensor], weight_per_head: bool) -> TransformFunction:
    """Permutes the rotated elements of every head: output rows of a projection, or, if `weight_per_head`, columns of a
    weight of shape (H, D)."""

    def permute(tensor: Tensor, config: Any) -> Tensor:
        head_dim, rotated = config.head_dim, rotary_size(config)
        index = torch.cat((order(torch.arange(rotated)), torch.arange(rotated, head_dim))).to(tensor.device)
        heads = tensor if weight_per_head else tensor.view(-1, head_dim, *tensor.shape[1:])
        return heads[:, index].reshape(tensor.shape)

    return for_each_tensor(permute)


# Interleaved rotary pairs (0, 1), (2, 3), ... become pairs of halves (0, n/2), (1, n/2 + 1), ... when queries and keys
# are permuted alike.
PERMUTE_FOR_ROPE = Transform(
    permute_rotary_elements(interleaved_to_halves, weight_per_head=False),
    permute_rotary_elements(halves_to_interleaved, weight_per_head=False),
)
PERMUTE_NORM_FOR_ROPE = Transform(
    permute_rotary_elements(interleaved_to_halves, weight_per_head=True),
    permute_rotary_elements(halves_to_interleaved, weight_per_head=True),
)


# Norms and biases

# (H * D,) <-> (H, D)
SPLIT_HEADS = Transform(
    for_each_tensor(lambda weight, config: weight.view(-1, config.head_dim)),
    for_each_tensor(lambda weight, config: weight.reshape(-1)),
)

# (1, V) <-> (V,)
FLATTEN = Transform(
    for_each_tensor(lambda bias, config: bias.view(-1)),
    for_each_tensor(lambda bias, config: bias.view(1, -1)),
)


def stack_heads(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return [torch.stack(tensors)]


def unstack_heads(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return list(tensors[0].unbind())


# H tensors (D,) <-> one tensor (H, D)
STACK_HEADS = Transform(stack_heads, unstack_heads)


def first(tensors: list[Tensor], config: Any) -> list[Tensor]:
    return tensors[:1]


# The native model reads the first tensor. The others are copies of it, or unread once the embeddings are untied
# (`cls.predictions.bias` of BERT).
FIRST_OF_COPIES = Transform(first, first, allows_missing=True)


def constant(value: int, error: str) -> Transform:
    """A vector of our model over the hidden size that the native model does not have. `error`: what to say if it has
    other values than `value`."""

    def create(tensors: list[Tensor], config: Any) -> list[Tensor]:
        return [torch.full((config.hidden_size,), float(value))]

    def check(tensors: list[Tensor], config: Any) -> list[Tensor]:
        if any(not torch.equal(tensor, torch.full_like(tensor, value)) for tensor in tensors):
            raise ConversionError(error)
        return []

    return Transform(create, check)


# A native norm without weights.
CREATE_ONES = constant(1, "The norms of this family have no weights, but the weights of these norms are not all 1.")
# A native projection without a bias, in a model where others have one.
CREATE_ZEROS = constant(
    0, "In this family the attention of the last layer alone has a bias, but the biases of other layers are not all 0."
)
