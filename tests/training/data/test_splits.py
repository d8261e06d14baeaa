"""Splits depend on content, not on order; duplicates stay in one split, and given splits are kept."""

import random

import pytest
from datasets import Dataset

from hf_tfm.training.data.splits import SPLITS, SplitLimits, complete_splits
from hf_tfm.training.preprocessing.dataset_utils import iterate_rows

TEXTS = [f"Text number {i}." for i in range(400)]
FRACTIONS = (0.8, 0.1, 0.1)


def split(values, column="text", **given):
    splits, _ = complete_splits({"train": Dataset.from_dict({column: values}), **given}, column, FRACTIONS)
    return {name: list(splits[name][column]) for name in SPLITS}


def test_splits_depend_on_content_and_not_on_order():
    found = split(TEXTS)
    shuffled = split(random.Random(0).sample(TEXTS, len(TEXTS)))
    assert {name: set(texts) for name, texts in found.items()} == {name: set(texts) for name, texts in shuffled.items()}
    assert sorted(text for texts in found.values() for text in texts) == sorted(TEXTS)


def test_fractions_are_about_the_requested_ones():
    found = split(TEXTS)
    assert len(found["train"]) / len(TEXTS) == pytest.approx(0.8, abs=0.06)
    assert len(found["test"]) / len(TEXTS) == pytest.approx(0.1, abs=0.05)


def test_rows_stay_in_their_split_when_others_are_added():
    found, more = split(TEXTS), split([*TEXTS, *(f"Another {i}." for i in range(100))])
    assert all(set(found[name]) <= set(more[name]) for name in SPLITS)


@pytest.mark.parametrize("make", [str, lambda text: [text], lambda text: [{"role": "user", "content": text}]])
def test_duplicates_are_in_one_split_for_every_column_type(make):
    found = split([make(text) for text in TEXTS * 2])
    for first in SPLITS:
        for second in SPLITS:
            assert first == second or not any(value in found[second] for value in found[first])


def test_given_splits_are_kept_and_their_fraction_stays_in_training():
    given = Dataset.from_dict({"text": ["mine"]})
    found = split(TEXTS, test=given)
    assert found["test"] == ["mine"]
    assert found["validation"] == split(TEXTS)["validation"]
    assert len(found["train"]) + len(found["validation"]) == len(TEXTS)


def test_too_few_rows_name_the_missing_option():
    with pytest.raises(ValueError, match=r"1 training row.*--validation_file"):
        split(["only one"])


def limited(rows, size, texts=TEXTS):
    table = {"train": Dataset.from_dict({"text": texts})}
    return complete_splits(table, "text", FRACTIONS, SplitLimits(rows, size))


@pytest.mark.parametrize(("rows", "size"), [(5, 0), (0, 100), (7, 100), (1, 1)])
def test_limited_splits_keep_their_lowest_hashes_and_the_rest_is_trained(rows, size, capsys):
    splits, [note] = limited(rows, size)
    full = split(TEXTS)
    for name in ("validation", "test"):
        found = splits[name]["text"][:]
        assert set(found) < set(full[name])
        assert len(found) == 1 or not SplitLimits(rows, size).exceeded(len(found), sum(map(len, found)))
    assert sorted(text for table in splits.values() for text in table["text"]) == sorted(TEXTS)
    assert f"validation {len(splits['validation'])} of {len(full['validation'])} rows" in note
    assert "--max_holdout_rows" in capsys.readouterr().out
    again, _ = limited(rows, size, random.Random(0).sample(TEXTS, len(TEXTS)))
    assert all(set(again[name]["text"]) == set(splits[name]["text"]) for name in SPLITS)


def test_splits_within_the_limits_and_given_ones_are_not_changed(capsys):
    splits, notes = limited(400, 10_000)
    assert {name: table["text"][:] for name, table in splits.items()} == split(TEXTS)
    assert notes == []
    given = {name: Dataset.from_dict({"text": TEXTS}) for name in SPLITS}
    assert complete_splits(given, "text", FRACTIONS, SplitLimits(1, 1)) == (given, [])
    assert capsys.readouterr().out == ""


def test_duplicates_stay_together_when_a_split_is_limited():
    splits, _ = limited(9, 0, TEXTS * 2)
    assert not set(splits["train"]["text"]) & set(splits["validation"]["text"])


def test_a_class_is_never_without_training_rows(capsys):
    """The hash sent the only row of a class to the validation split, and the run ended."""
    table = Dataset.from_dict({"text": [*TEXTS, *TEXTS[:50]]})
    classes = [[f"rare {i}"] if i % 3 == 0 else ["common"] for i in range(len(table))]
    splits, [note] = complete_splits({"train": table}, "text", FRACTIONS, None, lambda found: classes)
    by_text = dict(zip(table["text"], classes, strict=False))
    trained = {name for text in splits["train"]["text"] for name in by_text[text]}
    for name in ("validation", "test"):
        assert len(splits[name])
        assert {label for text in splits[name]["text"] for label in by_text[text]} <= trained
        assert not set(splits["train"]["text"]) & set(splits[name]["text"])
    assert "stayed in the training split, which would lack" in note
    assert note in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 1000, 2001])
def test_rows_of_tables_and_streams_are_iterated_in_order(count):
    table = Dataset.from_dict({"a": list(range(count)), "b": [str(i) for i in range(count)]})
    expected = [{"a": i, "b": str(i)} for i in range(count)]
    assert list(iterate_rows(table)) == list(iterate_rows(table.to_iterable_dataset())) == expected
