"""Splits follow content: not order, not platform; twins stay together, and what is given is kept."""

import random

import pytest
from datasets import Dataset

from hf_tfm.training.data.splits import SPLITS, complete_splits
from hf_tfm.training.preprocessing.dataset_utils import iterate_rows

TEXTS = [f"Text number {i}." for i in range(400)]
SHARES = (0.8, 0.1, 0.1)


def split(values, by="text", **given):
    cut = complete_splits({"train": Dataset.from_dict({by: values}), **given}, by, SHARES)
    return {name: list(cut[name][by]) for name in SPLITS}


def test_splits_follow_content_and_not_order():
    found = split(TEXTS)
    shuffled = split(random.Random(0).sample(TEXTS, len(TEXTS)))
    assert {name: set(texts) for name, texts in found.items()} == {name: set(texts) for name, texts in shuffled.items()}
    assert sorted(text for texts in found.values() for text in texts) == sorted(TEXTS)


def test_shares_are_about_those_asked_for():
    found = split(TEXTS)
    assert len(found["train"]) / len(TEXTS) == pytest.approx(0.8, abs=0.06)
    assert len(found["test"]) / len(TEXTS) == pytest.approx(0.1, abs=0.05)


def test_membership_does_not_change_when_rows_are_added():
    found, more = split(TEXTS), split([*TEXTS, *(f"Another {i}." for i in range(100))])
    assert all(set(found[name]) <= set(more[name]) for name in SPLITS)


@pytest.mark.parametrize("make", [str, lambda text: [text], lambda text: [{"role": "user", "content": text}]])
def test_twins_share_a_split_whatever_the_column_holds(make):
    found = split([make(text) for text in TEXTS * 2])
    for first in SPLITS:
        for second in SPLITS:
            assert first == second or not any(value in found[second] for value in found[first])


def test_given_splits_are_kept_and_their_share_stays_in_training():
    held = Dataset.from_dict({"text": ["mine"]})
    found = split(TEXTS, test=held)
    assert found["test"] == ["mine"]
    assert found["validation"] == split(TEXTS)["validation"]
    assert len(found["train"]) + len(found["validation"]) == len(TEXTS)


def test_too_few_rows_name_what_is_missing():
    with pytest.raises(ValueError, match=r"1 training row.*--validation_file"):
        split(["only one"])


@pytest.mark.parametrize("count", [1, 1000, 2001])
def test_rows_come_one_after_another(count):
    table = Dataset.from_dict({"a": list(range(count)), "b": [str(i) for i in range(count)]})
    expected = [{"a": i, "b": str(i)} for i in range(count)]
    assert list(iterate_rows(table)) == list(iterate_rows(table.to_iterable_dataset())) == expected
