"""Rows run in both directions, use every name once, and refuse what they do not know."""

from types import SimpleNamespace

import pytest
import torch

from hf_tfm.conversion.moving import moved
from hf_tfm.conversion.rows import (
    BLOCKS,
    FLAT,
    GATE_UP,
    GROUPS,
    HEADS,
    INTERLEAVED,
    INTERLEAVED_NORMS,
    PER_HEAD,
    SAME,
    TIED,
    TRANSPOSED,
    Change,
    ConversionError,
    chain,
    match,
    row,
)

CONFIG = SimpleNamespace(
    num_attention_heads=6, num_key_value_heads=2, head_dim=8, hidden_size=20, num_hidden_layers=2,
    is_encoder_decoder=False, rope_parameters={"rope_type": "default", "partial_rotary_factor": 0.5},
)  # fmt: skip
FUSED = (6 + 2 + 2) * 8

INVERTIBLE = {
    "same": (SAME, [(5, 7)]),
    "transposed": (TRANSPOSED, [(5, 7)]),
    "blocks": (BLOCKS, [(FUSED, 20)]),
    "blocks of a bias": (BLOCKS, [(FUSED,)]),
    "transposed blocks": (chain(TRANSPOSED, BLOCKS), [(20, FUSED)]),
    "groups": (GROUPS, [(FUSED, 20)]),
    "groups of a bias": (GROUPS, [(FUSED,)]),
    "gate and up": (GATE_UP, [(14, 20)]),
    "interleaved": (INTERLEAVED, [(48, 20)]),
    "interleaved, one head as wide as the model": (INTERLEAVED, [(8, 8)]),
    "interleaved bias": (INTERLEAVED, [(48,)]),
    "interleaved norms": (INTERLEAVED_NORMS, [(6, 8)]),
    "heads": (HEADS, [(48,)]),
    "flat": (FLAT, [(1, 9)]),
    "per head": (PER_HEAD, [(8,), (8,), (8,)]),
}


@pytest.mark.parametrize("name", INVERTIBLE)
def test_changes_run_backwards(name: str) -> None:
    change, shapes = INVERTIBLE[name]
    given = [torch.randn(shape) for shape in shapes]
    there = change.forward(given, CONFIG)
    back = change.backward(there, CONFIG)
    assert all(torch.equal(a, b) for a, b in zip(given, back, strict=True))
    if name != "same":
        assert [tensor.shape for tensor in there] != [tensor.shape for tensor in given] or not torch.equal(
            there[0], given[0]
        )


def test_groups_keep_each_group_of_queries_with_its_key() -> None:
    numbered = torch.arange(10.0).repeat_interleave(8)
    queries, keys, values = GROUPS.forward([numbered], CONFIG)
    assert queries[::8].tolist() == [0, 1, 2, 5, 6, 7]
    assert (keys[::8].tolist(), values[::8].tolist()) == ([3, 8], [4, 9])


def test_neighbours_become_halves_inside_the_rotated_part() -> None:
    (rows,) = INTERLEAVED.forward([torch.arange(8.0)], CONFIG)
    assert rows.tolist() == [0, 2, 1, 3, 4, 5, 6, 7]


TABLE = (row("wte", "embed"), row("h.{}.ln", "layers.{}.norm"), row("pooler", "pooler"))


def test_absent_modules_are_left_out_and_layers_unrolled() -> None:
    native = {"wte.weight", "h.0.ln.weight", "h.0.ln.bias", "h.1.ln.weight", "h.1.ln.bias"}
    ours = {"embed.weight", *(f"layers.{i}.norm.{part}" for i in (0, 1) for part in ("weight", "bias"))}
    assert {name for move in match(TABLE, native, ours, CONFIG) for name in move.ours} == ours


@pytest.mark.parametrize(
    ("native", "ours", "named"),
    [
        ({"wte.weight", "surprise"}, {"embed.weight"}, "surprise"),
        ({"wte.weight"}, {"embed.weight", "layers.1.norm.weight"}, "layers.1.norm.weight"),
        ({"wte.weight", "pooler.bias"}, {"embed.weight"}, "pooler.bias"),
    ],
)
def test_nothing_is_overlooked(native: set[str], ours: set[str], named: str) -> None:
    with pytest.raises(ConversionError, match=named):
        match(TABLE, native, ours, CONFIG)


def test_copies_that_differ_are_refused() -> None:
    moves = match((row(("a", "b"), ("c", "d"), TIED),), {"a.weight", "b.weight"}, {"c.weight", "d.weight"}, CONFIG)
    table = torch.randn(3, 2)
    result = moved(moves, {"a.weight": table, "b.weight": table}, CONFIG)
    assert torch.equal(result["c.weight"], table)
    assert result["c.weight"] is result["d.weight"]
    with pytest.raises(ConversionError, match="copies"):
        moved(moves, {"a.weight": table, "b.weight": table + 1}, CONFIG)


def test_no_result_shares_memory_with_what_was_given() -> None:
    halves = Change(lambda tensors, config: list(tensors[0].chunk(2)), SAME.backward)
    moves = match((row("a", ("b", "c"), halves), row("d", "e")), {"a.weight", "d.weight"},
                  {"b.weight", "c.weight", "e.weight"}, CONFIG)  # fmt: skip
    given = {"a.weight": torch.zeros(4), "d.weight": torch.zeros(2)}
    kept = dict(given)
    for tensor in moved(moves, given, CONFIG).values():
        tensor += 1
    assert not any(tensor.any() for tensor in kept.values())
    assert not given
