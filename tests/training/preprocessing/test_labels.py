"""Labels keep their text, their kind is decided over all splits, and they have the same ids in every split."""

import math

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.preprocessing.labels import LabelEncoder, infer_label_kind, sorted_names


def table_of(labels, feature=None, column="label"):
    rows = {"text": ["some text"] * len(labels), column: labels}
    features = Features({"text": Value("string"), column: feature}) if feature else None
    return Dataset.from_dict(rows, features=features)


def encode(train, test, feature=None, test_feature=None, policy="refuse", **choices):
    """Encoded labels of both splits, and the label encoder."""
    objective = OBJECTIVES["sequence-classification"](TaskArguments(**choices))
    objective.bad_rows.policy = policy
    tables = {"train": table_of(train, feature), "test": table_of(test, test_feature or feature)}
    splits = objective.fit_labels({name: objective.prepare_rows(table, name) for name, table in tables.items()})
    return splits["train"]["labels"][:], splits["test"]["labels"][:], objective.labels


def error_of(train, test, *arguments, **choices):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        encode(train, test, *arguments, **choices)
    return str(caught.value)


@pytest.mark.parametrize(
    ("labels", "kind", "names"),
    [
        (["b", "a", "b"], "class", ("a", "b")),
        ([10, 9, 1], "class", ("1", "9", "10")),
        (["10", "9", "1"], "class", ("1", "9", "10")),
        ([-1, 1], "class", ("-1", "1")),
        ([True, False], "class", ("false", "true")),
        (["True", "False", "maybe"], "class", ("False", "True", "maybe")),
        (["007", "7", "01", "1"], "class", ("01", "1", "007", "7")),
        (["007", "012", "A1"], "class", ("007", "012", "A1")),
        (["²", "³"], "class", ("²", "³")),
        (["--1/5", "1/5"], "class", ("--1/5", "1/5")),
        (["1_000", "1"], "class", ("1", "1_000")),
        (["0.0", "1.0"], "class", ("0.0", "1.0")),
        ([0.0, 1.0], "class", ("0", "1")),
        (["inf", "1.5"], "class", ("1.5", "inf")),
        (["NA", "US", "7"], "class", ("7", "NA", "US")),
        ([[], ["b"], ["a", "b"]], "multi", ("a", "b")),
        ([[1], [10, 2]], "multi", ("1", "2", "10")),
        ([0.5, 2.0], "number", ()),
        (["0.5", "2", "1e-3", "-.5"], "number", ()),
    ],
)
def test_kind_and_names_follow_from_the_text(labels, kind, names):
    _, _, found = encode(labels, labels)
    assert (found.kind, found.names) == (kind, names)


def test_the_kind_is_decided_over_all_splits_and_printed(capsys):
    """Whole numbers in the training split were classes, although others had fractions."""
    train, test, labels = encode(["1", "2"], ["1.5"])
    assert (labels.kind, train, test) == ("number", [1, 2], [1.5])
    assert "Labels: a number (if these are classes, add --label_kind class)" in capsys.readouterr().out
    encode(["1", "2", "3"], ["1"])
    printed = capsys.readouterr().out
    assert "one of 3 classes: 1, 2, 3 (if they are numbers to predict, add --label_kind number)" in printed


def test_the_user_may_choose_the_kind():
    assert encode([1, 2, 3], [1], label_kind="number")[0] == [1, 2, 3]
    assert encode([1.0, 2.5], [1.0], label_kind="class")[2].names == ("1", "2.5")
    assert "needs one label in each row" in error_of([["a"], ["b"]], [["a"]], label_kind="class")
    assert "list of their names" in error_of(["a,b", "a"], ["a"], label_kind="multi")
    assert "train, row 2 has the label 'two', which is not a finite number" in error_of(
        ["1", "two"], ["1"], label_kind="number"
    )


FRACTIONS = [f"{number / 7:.3f}" for number in range(40)]


def test_one_missing_cell_among_numbers_is_no_class():
    """One NA among fractions made a class of each number."""
    assert "train, row 41 has the label 'NA', which is not a finite number" in error_of([*FRACTIONS, "NA"], ["0.5"])
    assert "test, row 2 has the label 'n/a' among numbers" in error_of(["1", "2"], ["2", "n/a"])
    train, _, labels = encode(["1", "2", "NA"], ["1"], policy="drop")
    assert (train, labels.names) == ([0, 1], ("1", "2"))
    assert encode(["1", "2", "NA"], ["1"], label_kind="class")[2].names == ("1", "2", "NA")


def test_many_texts_among_numbers_are_classes():
    assert infer_label_kind([*FRACTIONS, *["unknown"] * 5]) == ("class", False)
    assert infer_label_kind([*FRACTIONS, "unknown"]) == ("number", False)


def test_class_labels_keep_their_names_and_order():
    assert encode([1, 0], [0], ClassLabel(names=["positive", "negative"]))[2].names == ("positive", "negative")
    assert encode([[1], []], [[0]], List(ClassLabel(names=["x", "y"])))[2] == LabelEncoder("multi", ("x", "y"))


def test_classes_of_the_configuration_are_in_the_order_of_their_ids():
    fields = LabelEncoder("class", ("a", "b")).config_fields()
    assert fields["id2label"] == {0: "a", 1: "b"}
    assert fields["label2id"] == {"a": 0, "b": 1}
    assert fields["problem_type"] == "single_label_classification"
    assert len(LabelEncoder("number", ()).config_fields()["id2label"]) == 1


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["b", "a", "c"], ["c", "a"], [2, 0]),
        ([3, 5, 9], [9, 3], [2, 0]),
        # numbers in one file, their text in another
        (["1", "2"], [2, 1.0], [1, 0]),
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
    splits = {}
    for name, names in (("train", ["O", "B-x"]), ("test", ["B-x", "O"])):
        table = table_of([[0, 1]], List(ClassLabel(names=names)), column="tags").add_column("tokens", [["a", "b"]])
        splits[name] = objective.prepare_rows(table, name)
    splits = objective.fit_labels(splits)
    assert [splits[name]["tags"][0] for name in ("train", "test")] == [[0, 1], [1, 0]]


def flags(values, policy="refuse"):
    objective = OBJECTIVES["sequence-classification"](TaskArguments())
    objective.bad_rows.policy = policy
    objective.source_columns = {"text": ["text"], "label": ["rude", "long"]}
    columns = {"text": ["some text"] * len(values), "rude": [a for a, _ in values], "long": [b for _, b in values]}
    return objective.fit_labels({"train": objective.prepare_rows(Dataset.from_dict(columns), "train")}), objective


@pytest.mark.parametrize(("no", "yes"), [(0, 1), (False, True), ("0", "1"), (0.0, 1.0), ("False", "True")])
def test_several_columns_of_zero_and_one_are_several_labels(no, yes):
    splits, objective = flags([(no, yes), (yes, yes)])
    assert splits["train"]["labels"][:] == [[0.0, 1.0], [1.0, 1.0]]
    assert objective.labels.names == ("rude", "long")


@pytest.mark.parametrize("value", [2, 0.5, None])
def test_columns_of_other_values_than_zero_and_one_are_refused(value):
    """2 and 0.5 would count as 1 and 0."""
    with pytest.raises(ValueError, match=r"train, row 2 has the labels .* must hold 0 or 1"):
        flags([(0, 1), (0, value)])


def test_a_label_missing_in_training_is_refused_with_row_and_name():
    message = error_of(["a", "b"], ["a", "zebra"])
    assert "test, row 2 has the label 'zebra', which no training row has" in message
    assert "a, b" in message
    assert "--bad_rows drop" in message
    assert "test, row 1" in error_of([["a"], ["b"]], [["c"]])
    assert encode(["a", "b"], ["a", "zebra"], policy="drop")[1] == [0]


@pytest.mark.parametrize("labels", [["a", "a"], [1, 1], [["a"], ["a"]], [[], []]])
def test_fewer_than_two_classes_are_refused(labels):
    assert "too few labels" in error_of(labels, labels)


@pytest.mark.parametrize("missing", [None, "", " "])
def test_a_missing_label_is_refused(missing):
    assert "test, row 2 has no label" in error_of(["a", "b"], ["a", missing])
    assert "train, row 2 has no label" in error_of(["a", missing, "b"], ["a"])


def test_the_label_minus_one_is_no_label():
    """On the Hub it means no label; as an index it would be the last class."""
    assert "test, row 2 has no label" in error_of([0, 1], [0, -1], ClassLabel(names=["a", "b"]))


def test_numbers_that_are_not_finite_are_refused():
    assert "test, row 1 has no label" in error_of([0.5, 1.5], [math.nan])
    assert "not a finite number" in error_of(FRACTIONS, [math.inf])


def test_lists_of_zeros_and_ones_are_refused():
    """They would be the labels "0" and "1"."""
    assert "each once" in error_of([[0, 1, 0], [1, 1, 0]], [[0, 0, 0]])


def test_class_names_are_sorted_as_numbers_or_as_text():
    assert sorted_names(["10", "2", "-3", "2"]) == ("-3", "2", "10")
    assert sorted_names(["10", "2", "x"]) == ("10", "2", "x")
