"""Every family with every head: native numbers, gradients and text, there and back."""

from typing import Any

import pytest
import torch

from hf_tfm.conversion import from_native, to_native
from hf_tfm.conversion.families import FAMILIES
from tests.conversion.cases import CASES
from tests.conversion.parity import Wide, gradient_difference, largest_difference, texts
from tests.conversion.tiny import cases_of, tiny_native

GENERATING = ("causal-lm", "seq2seq-lm")


@pytest.mark.parametrize(("family", "number", "head"), cases_of(CASES))
def test_native_and_ours_are_one_model(family: str, number: int, head: str, record_property: Any) -> None:
    case = CASES[family][number]
    native = tiny_native(family, case, head)
    ours = from_native(native)
    ours.set_attn_implementation("eager")

    single = largest_difference(native, ours, case, head)
    assert single <= 1e-5
    equal_text = True
    if head in GENERATING and case.text:
        for beams in (1, 3):
            equal_text &= texts(native, head, beams) == texts(ours, head, beams)
        assert equal_text

    back = to_native(ours)
    assert type(back) is type(native)
    exact = check_weights(native, back, case.dead)
    if case.sdpa:
        native.set_attn_implementation("sdpa")
        ours.set_attn_implementation("sdpa")
        assert largest_difference(native, ours, case, head) <= 1e-5
        native.set_attn_implementation("eager")
        ours.set_attn_implementation("eager")

    for model in (native, ours):
        model.set_experts_implementation("eager")  # the grouped kernel has no float64
        model.double()
    with Wide():
        assert largest_difference(native, ours, case, head) <= tolerance(ours.config)
        assert gradient_difference(native, ours, case, head) <= 1e-4
    record_property("family", {
        "family": family, "head": head, "exact": exact, "max_difference": single,
        "text_equal": equal_text if head in GENERATING and case.text else None,
    })  # fmt: skip


def tolerance(config: Any) -> float:
    """1e-10 where all is computed in float64; tables of rotations, sinusoids and slopes are not natively."""
    return 1e-6 if config.position_type in ("rotary", "sinusoidal", "alibi") else 1e-10


def check_weights(native: Any, back: Any, dead: tuple[str, ...]) -> bool:
    """Whether every native weight came back bit by bit; at least within 1e-6 where it was folded."""
    before, after = native.state_dict(), back.state_dict()
    assert before.keys() == after.keys()
    live = before.keys() - set(dead)
    for name in live:
        assert torch.allclose(before[name], after[name], rtol=0, atol=1e-6), name
    exact = all(torch.equal(before[name], after[name]) for name in live)
    assert exact or FAMILIES[native.config.model_type].rounds
    return exact
