"""Steps of an arm under every budget."""

import pytest

from hf_tfm.comparison.arms import Arm
from hf_tfm.comparison.budget import Budget
from hf_tfm.comparison.plan import PlannedArm, steps_of


def planned(name, flops=100.0, tokens=10.0, seconds=0.1, steps=40):
    return PlannedArm(Arm(name), 1000, flops, tokens, steps, {}, seconds, "")


BASE = planned("base")


@pytest.mark.parametrize(
    ("budget", "steps"),
    [
        (Budget("FLOPs"), 40),  # those of the command
        (Budget("FLOPs", 3 * 100 * 10 * 70), 70),
        (Budget("tokens", 700), 70),
        (Budget("seconds", 7), 70),
        (Budget("parameters"), 40),
    ],
)
def test_the_baseline_has_as_many_steps_as_the_budget_pays(budget, steps):
    assert steps_of(BASE, budget, None) == steps


@pytest.mark.parametrize(
    ("unit", "steps"),
    # twice the FLOPs and tokens of a step, four times its seconds
    [("FLOPs", 10), ("tokens", 20), ("seconds", 10), ("parameters", 40)],
)
def test_an_arm_spends_what_the_baseline_spends(unit, steps):
    arm = planned("costly", flops=200.0, tokens=20.0, seconds=0.4)
    assert steps_of(arm, Budget(unit), BASE) == steps


def test_steps_within_the_tolerance_are_those_of_the_baseline():
    assert steps_of(planned("near", flops=100.9), Budget("FLOPs"), BASE) == 40


def test_whole_steps_that_miss_the_budget_are_refused():
    with pytest.raises(ValueError, match=r"arm long: 3 whole steps miss the baseline's 400 tokens by \+5.0%"):
        steps_of(planned("long", tokens=140.0), Budget("tokens"), BASE)
