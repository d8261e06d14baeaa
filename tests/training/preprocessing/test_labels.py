"""Labels are inferred from the training split and have the same ids in every split."""

import math

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.preprocessing.labels import LabelEncoder, collect_class_names, fit_label_encoder


def table_of(labels, feature=None, text="text", column="label"):
    rows = {text: ["some text"] * len(labels), column: labels}
    features = Features({text: Value("string"), column: feature}) if feature else None
    return Dataset.from_dict(rows, features=features)


def fit(labels, feature=None, problem_type=None, columns=("label",)):
    return fit_label_encoder(table_of(labels, feature), "label", problem_type, list(columns))


def encode(train, test, feature=None, test_feature=None, columns=None, **choices):
    """Encoded labels of both splits, and the label encoder."""
    objective = OBJECTIVES["sequence-classification"](TaskArguments(**choices))
    if columns:
        objective.source_columns = {"label": columns}
    splits = objective.fit_labels({"train": table_of(train, feature), "test": table_of(test, test_feature or feature)})
    return splits["train"]["labels"][:], splits["test"]["labels"][:], objective.labels


@pytest.mark.parametrize(
    ("labels", "problem_type", "names"),
    [
        (["b", "a", "b"], "single_label", ("a", "b")),
        ([10, 9, 1], "single_label", ("1", "9", "10")),
        (["10", "9", "1"], "single_label", ("1", "9", "10")),
        ([-1, 1], "single_label", ("-1", "1")),
        ([True, False], "single_label", ("0", "1")),
        ([[], ["b"], ["a", "b"]], "multi_label", ("a", "b")),
        ([0.5, 2.0], "regression", ()),
    ],
)
def test_problem_type_and_names_are_inferred_from_the_column(labels, problem_type, names):
    assert fit(labels) == LabelEncoder(problem_type, names)


def test_class_labels_keep_their_names_and_order():
    assert fit([1, 0], ClassLabel(names=["positive", "negative"])).names == ("positive", "negative")
    assert fit([[1], []], List(ClassLabel(names=["x", "y"]))) == LabelEncoder("multi_label", ("x", "y"))


def test_the_user_may_choose_the_problem_type():
    assert fit([1, 2, 3], problem_type="regression").problem_type == "regression"
    assert fit([1.0, 2.0], problem_type="single_label").names == ("1", "2")


def test_classes_of_the_configuration_are_in_the_order_of_their_ids():
    fields = LabelEncoder("single_label", ("a", "b")).config_fields()
    assert fields["id2label"] == {0: "a", 1: "b"}
    assert fields["label2id"] == {"a": 0, "b": 1}
    assert fields["problem_type"] == "single_label_classification"
    assert len(LabelEncoder("regression", ()).config_fields()["id2label"]) == 1


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["b", "a", "c"], ["c", "a"], [2, 0]),
        ([3, 5, 9], [9, 3], [2, 0]),
        # a split whose labels are all numbers, while the training split also has text
        (["1", "2", "n/a"], [2, 1], [1, 0]),
        ([True, False], [True, True], [1, 1]),
        ([[], ["a"], ["a", "b"]], [["b", "a"], ["b"]], [[1.0, 1.0], [0.0, 1.0]]),
        ([0.5, 2.0], [1, 3], [1.0, 3.0]),
    ],
)
def test_labels_have_the_same_ids_in_every_split(train, test, expected):
    assert encode(train, test)[1] == expected


def test_classes_with_other_ids_in_another_split_are_matched_by_name():
    first, second = ClassLabel(names=["negative", "positive"]), ClassLabel(names=["positive", "negative"])
    train, test, _ = encode([0, 1], [0, 1], first, second)
    assert (train, test) == ([0, 1], [1, 0])


def test_tags_with_other_ids_in_another_split_are_matched_by_name():
    objective = OBJECTIVES["token-classification"](TaskArguments())
    splits = {
        name: table_of([[0, 1]], List(ClassLabel(names=names)), column="tags").add_column("tokens", [["a", "b"]])
        for name, names in (("train", ["O", "B-x"]), ("test", ["B-x", "O"]))
    }
    splits = objective.fit_labels(splits)
    assert [splits[name]["tags"][0] for name in ("train", "test")] == [[0, 1], [1, 0]]


def test_several_boolean_columns_are_several_labels():
    for flags in ([[0, 1], [1, 1]], [[False, True], [True, True]], [["0", "1"], ["1", "1"]], [[0.0, 1.0], [1.0, 1.0]]):
        train, _, labels = encode(flags, flags, columns=["rude", "long"])
        assert train == [[0.0, 1.0], [1.0, 1.0]]
        assert labels.names == ("rude", "long")


def error_of(train, test, *arguments, **choices):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        encode(train, test, *arguments, **choices)
    return str(caught.value)


def test_a_label_missing_in_training_is_refused_with_row_and_name():
    message = error_of(["a", "b"], ["a", "zebra"])
    assert "Row 2 of the test split has the label 'zebra'" in message
    assert "a, b" in message
    assert "Row 1 of the test split" in error_of([["a"], ["b"]], [["c"]])


@pytest.mark.parametrize("labels", [["a", "a"], [1, 1], [["a"], ["a"]], [[], []]])
def test_fewer_than_two_classes_are_refused(labels):
    assert "too few labels" in error_of(labels, labels)


def test_a_missing_label_is_refused():
    assert "Row 2 of the test split has no label" in error_of(["a", "b"], ["a", None])
    assert "Row 2 of the test split has no label" in error_of(["a", "b"], ["a", ""])
    assert "Row 2 of the train split has no label" in error_of(["a", None, "b"], ["a"])


def test_the_label_minus_one_is_refused():
    """On the Hub it means no label; as an index it would be the last class."""
    assert "Row 2 of the test split has the label -1" in error_of([0, 1], [0, -1], ClassLabel(names=["a", "b"]))


def test_invalid_numbers_are_refused():
    assert "Row 1 of the test split" in error_of([0.5, 1.5], [math.nan])
    assert "not a finite number" in error_of(["1", "two"], ["1"], problem_type="regression")


def test_columns_of_other_values_than_zero_and_one_are_refused():
    """2 and 0.5 would count as 1 and 0."""
    for value in (2, 0.5, None):
        assert "hold 0 or 1" in error_of([[0, 1], [1, 0]], [[0, value]], columns=["x", "y"])


def test_several_labels_in_one_string_are_refused():
    """The letters of the string would be the labels."""
    assert "lists of labels" in error_of(["a,b", "a"], ["a"], problem_type="multi_label")


def test_lists_of_zeros_and_ones_are_refused():
    """They would be the labels "0" and "1"."""
    assert "each once" in error_of([[0, 1, 0], [1, 1, 0]], [[0, 0, 0]])


def test_class_names_are_sorted_as_numbers_or_as_text():
    assert collect_class_names([10, 2, -3]) == ("-3", "2", "10")
    assert collect_class_names(["10", "2", "x"]) == ("10", "2", "x")
