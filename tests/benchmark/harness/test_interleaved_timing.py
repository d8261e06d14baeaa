"""Rounds, ratios and their spread, on a clock that the test controls."""

import statistics

import pytest

from hf_tfm.benchmark.harness.interleaved_timing import (
    ModelPair,
    RoundSettings,
    TimedModel,
    Timings,
    spread,
    time_interleaved,
)

PAIR = ModelPair("ours", "peer")


class FakeClock:
    """A clock that moves only when a step moves it."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def steps(self, *seconds):
        """One step per round. It takes these seconds, round by round, and the last of them in all further rounds."""
        remaining = list(seconds)

        def step():
            self.now += remaining.pop(0) if len(remaining) > 1 else remaining[0]

        return [step]


def timings_of(ours, peer, settings, units=(1.0, 1.0)):
    clock = FakeClock()
    models = [TimedModel("ours", clock.steps(*ours), units[0]), TimedModel("peer", clock.steps(*peer), units[1])]
    return time_interleaved(models, [PAIR], settings, clock=clock)


def test_ratio_is_of_speeds_in_the_same_round():
    # other load doubles all times of the third round and changes no ratio
    settings = RoundSettings(rounds=4, warmup_rounds=1)
    timings = timings_of([9, 1, 1, 2, 1], [9, 3, 3, 6, 3], settings, units=(10.0, 10.0))
    assert timings.seconds == {"ours": [1, 1, 2, 1], "peer": [3, 3, 6, 3]}
    assert timings.ratios(PAIR) == pytest.approx([3, 3, 3, 3])
    assert spread(timings.speeds("ours")) > 0
    assert spread(timings.ratios(PAIR)) == pytest.approx(0)


def test_ratio_counts_the_units_of_each_model():
    timings = timings_of([1], [1], RoundSettings(rounds=3), units=(30.0, 20.0))
    assert statistics.median(timings.ratios(PAIR)) == 1.5


@pytest.mark.parametrize(
    ("ours", "rounds"), [([1.0], 4), ([1, 2, 1, 2, 1, 2, 1, 2, 1, 2], 8), ([1, 5, 1, 5, *[1.0] * 30], 8)]
)
def test_rounds_are_added_while_a_ratio_spreads(ours, rounds):
    timings = timings_of(ours, [1.0], RoundSettings(rounds=4, warmup_rounds=0, max_rounds=8))
    assert len(timings.seconds["ours"]) == rounds
    assert len(timings.seconds["peer"]) == rounds


def test_no_rounds_are_added_once_the_interquartile_range_is_narrow():
    timings = timings_of([1, 1, 5, 5, *[1.0] * 30], [1.0], RoundSettings(rounds=4, warmup_rounds=0, max_rounds=30))
    assert 4 < len(timings.seconds["ours"]) < 12


def test_models_take_turns_and_the_first_model_changes():
    order = []
    models = [TimedModel(name, [lambda name=name: order.append(name)] * 2, 1.0) for name in "ab"]
    time_interleaved(models, [], RoundSettings(rounds=2, warmup_rounds=0))
    assert "".join(order) == "abbabaab"


def test_spread_is_interquartile_range_over_median():
    assert spread([3.0]) == 0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)


def test_timings_without_pairs_have_speeds():
    timings = Timings({"a": TimedModel("a", [], 6.0)}, {"a": [2.0, 3.0]})
    assert timings.speeds("a") == [3.0, 2.0]
