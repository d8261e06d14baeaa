"""Linear models of words: on which rows they are fitted, and what they find."""

import numpy as np
import pytest

from hf_tfm.training.metrics import linear_baselines
from hf_tfm.training.metrics.linear_baselines import linear_predictions, rows_within_limits

TEXTS = [f"{word} {number}" for number in range(6) for word in ("red", "green", "red green")]


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("class", np.array([0, 1, 2] * 6)),
        ("multi", np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]] * 6)),
        ("number", np.array([1.0, 3.0, 2.0] * 6)),
    ],
)
def test_words_and_their_pairs_decide(kind, labels):
    found = linear_predictions([TEXTS], labels, [["red 9", "green 9", "red green 9"]], kind)
    assert found is not None
    np.testing.assert_allclose(found, labels[:3], atol=0 if kind != "number" else 0.6)


def test_each_column_has_its_own_words():
    first, second = ["x"] * 8, ["red", "green"] * 4
    for columns in ([first, second], [second, first]):
        found = linear_predictions(columns, np.array([0, 1] * 4), [column[:2] for column in columns], "class")
        assert found is not None
        assert found.tolist() == [0, 1]


def test_texts_without_words_and_equal_labels_have_no_linear_model():
    assert linear_predictions([[" ", "\t"]], np.array([0, 1]), [["red"]], "class") is None
    assert linear_predictions([["red", "green"]], np.array([1, 1]), [["red"]], "class") is None


def test_large_data_are_sampled_evenly(monkeypatch):
    assert rows_within_limits([["red"] * 100], 2).tolist() == list(range(100))
    monkeypatch.setattr(linear_baselines, "MAX_BYTES", 150)
    assert rows_within_limits([["red"] * 100], 2).tolist() == list(range(0, 100, 2))
    assert len(rows_within_limits([["red"] * 100] * 2, 2)) == 25
    monkeypatch.setattr(linear_baselines, "MAX_ROWS_TIMES_CLASSES", 40)
    assert len(rows_within_limits([["red"] * 100], 20)) == 2
