"""Exact match equals computations by hand."""

import re

import pytest

from hf_tfm.training.metrics.exact_match import ExactMatch


def test_exact_match_by_hand(tmp_path):
    rows = {
        "references": ["the cat", "theater", "YELLING", "agent007"],
        "predictions": ["cat?", "theater", "yelling", "agent"],
    }
    metric = ExactMatch(tmp_path)
    assert metric.compute(**rows) == {"exact_match": 0.25}
    assert metric.compute(**rows, ignore_case=True) == {"exact_match": 0.5}
    assert metric.compute(**rows, ignore_numbers=True) == {"exact_match": 0.5}
    options = {"regexes_to_ignore": ["the ", "yell"], "ignore_case": True, "ignore_punctuation": True}
    # patterns are applied to the original text: "yell" does not match YELLING
    assert metric.compute(**rows, **options) == {"exact_match": 0.5}
    options["regexes_to_ignore"].append("YELL")
    assert metric.compute(**rows, **options) == {"exact_match": 0.75}
    assert metric.compute(**rows, **options, ignore_numbers=True) == {"exact_match": 1.0}


def test_two_texts_that_become_empty_are_not_equal(tmp_path):
    metric = ExactMatch(tmp_path)
    assert metric.compute(predictions=["12", "12"], references=["34", "12"], ignore_numbers=True) == {
        "exact_match": 0.5
    }
    assert metric.compute(predictions=[""], references=[""]) == {"exact_match": 1.0}


def test_exact_match_takes_strings_and_patterns(tmp_path):
    metric = ExactMatch(tmp_path)
    with pytest.raises(ValueError, match="references must be strings; row 1 is int: 2"):
        metric.compute(predictions=["1", "2"], references=["1", 2])
    with pytest.raises(ValueError, match="got no rows"):
        metric.compute(predictions=[], references=[])
    with pytest.raises(re.error):
        metric.compute(predictions=["x"], references=["y"], regexes_to_ignore=["("])
