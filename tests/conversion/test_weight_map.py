"""Weight maps and their transforms run in both directions, use every parameter once, and name unknown ones."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from hf_tfm.conversion import ConversionError
from hf_tfm.conversion.weight_map import resolve, rule
from hf_tfm.conversion.weight_transfer import transfer_weights
from hf_tfm.conversion.weight_transforms import (
    FIRST_OF_COPIES,
    FLATTEN,
    IDENTITY,
    PERMUTE_FOR_ROPE,
    PERMUTE_NORM_FOR_ROPE,
    SPLIT_GATE_UP,
    SPLIT_GROUPED_QKV,
    SPLIT_HEADS,
    SPLIT_QKV,
    STACK_HEADS,
    TRANSPOSE,
    Transform,
    compose,
)

CONFIG = SimpleNamespace(
    num_attention_heads=6, num_key_value_heads=2, head_dim=8, hidden_size=20, num_hidden_layers=2,
    is_encoder_decoder=False, rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.5},
)  # fmt: skip
FUSED_SIZE = (6 + 2 + 2) * 8

# name -> transform, shapes of native tensors
INVERTIBLE = {
    "identity": (IDENTITY, [(5, 7)]),
    "transpose": (TRANSPOSE, [(5, 7)]),
    "qkv": (SPLIT_QKV, [(FUSED_SIZE, 20)]),
    "qkv bias": (SPLIT_QKV, [(FUSED_SIZE,)]),
    "transposed qkv": (compose(TRANSPOSE, SPLIT_QKV), [(20, FUSED_SIZE)]),
    "grouped qkv": (SPLIT_GROUPED_QKV, [(FUSED_SIZE, 20)]),
    "grouped qkv bias": (SPLIT_GROUPED_QKV, [(FUSED_SIZE,)]),
    "gate and up": (SPLIT_GATE_UP, [(14, 20)]),
    "rope": (PERMUTE_FOR_ROPE, [(48, 20)]),
    "rope, one head as wide as the model": (PERMUTE_FOR_ROPE, [(8, 8)]),
    "rope bias": (PERMUTE_FOR_ROPE, [(48,)]),
    "rope norm": (PERMUTE_NORM_FOR_ROPE, [(6, 8)]),
    "split heads": (SPLIT_HEADS, [(48,)]),
    "flatten": (FLATTEN, [(1, 9)]),
    "stack heads": (STACK_HEADS, [(8,), (8,), (8,)]),
}


@pytest.mark.parametrize("name", INVERTIBLE)
def test_transforms_are_inverted(name: str) -> None:
    transform, shapes = INVERTIBLE[name]
    native = [torch.randn(shape) for shape in shapes]
    ours = transform.to_ours(native, CONFIG)
    back = transform.to_native(ours, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(native, back, strict=True))
    if name != "identity":
        same_shapes = [tensor.shape for tensor in ours] == [tensor.shape for tensor in native]
        assert not same_shapes or not torch.equal(ours[0], native[0])


def test_grouped_qkv_keeps_each_group_of_queries_with_its_key() -> None:
    numbered = torch.arange(10.0).repeat_interleave(8)
    queries, keys, values = SPLIT_GROUPED_QKV.to_ours([numbered], CONFIG)
    assert queries[::8].tolist() == [0, 1, 2, 5, 6, 7]
    assert (keys[::8].tolist(), values[::8].tolist()) == ([3, 8], [4, 9])


def test_interleaved_pairs_become_halves_inside_the_rotated_part() -> None:
    (permuted,) = PERMUTE_FOR_ROPE.to_ours([torch.arange(8.0)], CONFIG)
    assert permuted.tolist() == [0, 2, 1, 3, 4, 5, 6, 7]


WEIGHT_MAP = (rule("wte", "embed"), rule("h.{}.ln", "layers.{}.norm"), rule("pooler", "pooler"))


def test_absent_modules_are_left_out_and_layers_are_unrolled() -> None:
    native = {"wte.weight", "h.0.ln.weight", "h.0.ln.bias", "h.1.ln.weight", "h.1.ln.bias"}
    ours = {"embed.weight", *(f"layers.{i}.norm.{part}" for i in (0, 1) for part in ("weight", "bias"))}
    assert {name for resolved in resolve(WEIGHT_MAP, native, ours, CONFIG) for name in resolved.ours} == ours


@pytest.mark.parametrize(
    ("native", "ours", "named"),
    [
        ({"wte.weight", "unknown"}, {"embed.weight"}, "native parameters: unknown;"),
        ({"wte.weight"}, {"embed.weight", "layers.1.norm.weight"}, "parameters of ours: layers.1.norm.weight"),
        ({"wte.weight", "pooler.bias"}, {"embed.weight"}, "native parameters: pooler.bias;"),
    ],
)
def test_parameters_without_a_rule_are_named(native: set[str], ours: set[str], named: str) -> None:
    with pytest.raises(ConversionError, match=named):
        resolve(WEIGHT_MAP, native, ours, CONFIG)


def test_several_names_of_one_tensor_get_one_copy() -> None:
    rules = resolve((rule(("a", "b"), ("c", "d"), FIRST_OF_COPIES),), {"a.weight", "b.weight"},
                    {"c.weight", "d.weight"}, CONFIG)  # fmt: skip
    tensor = torch.randn(3, 2)
    result = transfer_weights(rules, {"a.weight": tensor, "b.weight": tensor}, CONFIG)
    assert torch.equal(result["c.weight"], tensor)
    assert result["c.weight"] is result["d.weight"]


def test_no_result_shares_memory_with_the_source() -> None:
    def halves(tensors: list[Tensor], config: SimpleNamespace) -> list[Tensor]:
        return list(tensors[0].chunk(2))

    weight_map = (rule("a", ("b", "c"), Transform(halves, IDENTITY.to_native)), rule("d", "e"))
    rules = resolve(weight_map, {"a.weight", "d.weight"}, {"b.weight", "c.weight", "e.weight"}, CONFIG)
    source = {"a.weight": torch.zeros(4), "d.weight": torch.zeros(2)}
    kept = dict(source)
    for tensor in transfer_weights(rules, source, CONFIG).values():
        tensor += 1
    assert not any(tensor.any() for tensor in kept.values())
    assert not source
