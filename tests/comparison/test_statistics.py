"""Paired statistics against scipy and known numbers, and what they say where there is nothing to find."""

import math

import numpy as np
import pytest
from scipy import stats

from hf_tfm.comparison.statistics import SIGNIFICANCE, holm, paired_difference, power, seeds_needed, verdict


def test_differences_are_those_of_a_paired_t_test():
    """Student's data of 1908: hours of sleep gained by ten patients; t = 4.0621, p = 0.002833, interval by R."""
    first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = paired_difference(second, first)
    assert found.mean == pytest.approx(1.58)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)
    assert found.p == stats.ttest_rel(second, first).pvalue


def test_holm_by_hand():
    """Sorted 0.01, 0.03, 0.04 of four, one of which is unknown: times 4, 3, 2, and never falling."""
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.09, 0.04, math.nan, 0.09], nan_ok=True)
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_same_arm_twice_is_not_told_apart():
    found = paired_difference([1.5, 1.6, 1.4], [1.5, 1.6, 1.4])
    assert (found.mean, found.p) == (0, 1)
    assert verdict(found, *holm([found.p]), lower_is_better=True) == "not told apart"
    assert seeds_needed(found, 1) is None


def test_equal_differences_count_as_many_as_there_are():
    """A t test would call two accuracies that differ by 0.01 twice an infinitely sure effect."""
    few, many = (paired_difference([0.51] * seeds, [0.5] * seeds) for seeds in (2, 8))
    assert (few.p, many.p) == (0.5, 2 / 2**8)
    assert verdict(few, few.p, lower_is_better=False) == "not told apart"
    assert verdict(many, many.p, lower_is_better=False) == "better"


@pytest.mark.parametrize(("lower_is_better", "words"), [(True, "better"), (False, "worse")])
def test_verdicts_follow_the_direction_of_the_measure(lower_is_better, words):
    found = paired_difference([1.00, 1.10, 1.21, 0.99], [1.10, 1.21, 1.30, 1.10])
    assert verdict(found, found.p, lower_is_better) == words


@pytest.mark.parametrize("pairs", [0, 1])
def test_one_pair_has_no_interval(pairs):
    found = paired_difference([1.0] * pairs, [2.0] * pairs)
    assert math.isnan(found.low)
    assert verdict(found, found.p, True) == "not told apart"


def test_seeds_needed_are_those_of_power_tables():
    """Cohen's d of 0.5 and 0.8, two-sided 5 %, power 80 %: 34 and 15 pairs (G*Power 3.1)."""
    for effect, pairs in ((0.5, 34), (0.8, 15)):
        found = paired_difference([effect + 1, effect - 1], [0.0, 0.0])._replace(spread=1.0)
        assert seeds_needed(found, 1) == pairs
        assert power(effect, pairs, 0.05) >= 0.8 > power(effect, pairs - 1, 0.05)
        assert seeds_needed(found, 4) > pairs
    assert seeds_needed(found._replace(mean=1e-4), 1) is None


def test_arms_without_effects_are_told_apart_in_at_most_five_percent_of_comparisons():
    """300 comparisons of a baseline with four arms, five seeds, all from one normal distribution. At a rate of 5 % more
    than 27 of 300 have a probability of 0.1 %, and the seed is fixed. Without Holm, about 15 % would be told apart."""
    random, found, uncorrected = np.random.default_rng(0), 0, 0
    for _ in range(300):
        baseline, *arms = random.normal(1.6, 0.002, (5, 5)).tolist()
        p_values = [paired_difference(arm, baseline).p for arm in arms]
        found += min(holm(p_values)) < SIGNIFICANCE
        uncorrected += min(p_values) < SIGNIFICANCE
    assert found <= 27, found
    assert uncorrected > 27, uncorrected
