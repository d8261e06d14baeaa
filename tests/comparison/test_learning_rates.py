"""Sweeps of learning rates: extended at an edge, and no further than to the limit."""

import math

import pytest

from hf_tfm.comparison.learning_rates import sweep


def finished(loss_of, rates=3, most_rates=7):
    """The sweep when every rate that it asks for is run."""
    known = {}
    while True:
        found = sweep(known.get, rates, most_rates)
        if not found.missing:
            return found
        known |= {exponent: loss_of(exponent) for exponent in found.missing}


@pytest.mark.parametrize("optimum", range(-2, 3))
def test_the_best_rate_gets_a_worse_one_on_both_sides(optimum):
    found = finished(lambda exponent: (exponent - optimum) ** 2)
    assert found.best == optimum
    assert not found.at_edge
    assert {optimum - 1, optimum + 1} <= found.losses.keys()
    assert found.sensitivity == 1


def test_the_limit_ends_a_sweep_at_its_edge():
    found = finished(lambda exponent: -exponent)
    assert (found.best, found.at_edge, len(found.losses)) == (5, True, 7)
    assert math.isnan(found.sensitivity)


def test_rates_that_diverge_are_worse_than_all_others():
    found = finished(lambda exponent: math.inf if exponent > 0 else -exponent)
    assert (found.best, found.at_edge) == (0, False)
    assert found.sensitivity == math.inf


def test_lower_rates_are_tried_where_all_diverge():
    found = finished(lambda exponent: math.inf if exponent > -3 else (exponent + 4) ** 2)
    assert (found.best, found.at_edge) == (-4, False)
    assert finished(lambda exponent: math.inf).best is None


def test_ties_go_to_the_default():
    assert finished(lambda exponent: 1.0).best == 0
