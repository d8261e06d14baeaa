"""What separates the fields of CSV and TSV files: another character than usual is named, and read if it is given."""

import csv

import pytest

from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.data.delimited import KNOWN_DELIMITERS
from hf_tfm.training.data.readers import ReadOptions, check_files, file_columns, read_file

ROWS = [("text", "label"), ("good, really; |so|", "yes"), ('a "quoted" word', "no"), ("plain", "yes")]
USUAL = {"csv": ",", "tsv": "\t"}
OTHER = [(ending, mark) for ending, usual in USUAL.items() for mark in KNOWN_DELIMITERS if mark != usual]


def option(delimiter):
    return "tab" if delimiter == "\t" else f"'{delimiter}'"


def refusal(path, options):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        file_columns(str(path), options)
    return str(caught.value)


@pytest.mark.parametrize(("ending", "mark"), OTHER)
def test_another_delimiter_is_named_and_read_if_it_is_given(tmp_path, ending, mark):
    path = tmp_path / f"a.{ending}"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=mark).writerows(ROWS)
    message = refusal(path, ReadOptions())
    assert (
        f"a.{ending}, line 1: {KNOWN_DELIMITERS[mark]} separate the fields, not {KNOWN_DELIMITERS[USUAL[ending]]};"
        in message
    )
    assert message.endswith(f"--delimiter {option(mark)}")
    given = ReadOptions(delimiter=DataArguments(delimiter=option(mark).strip("'")).delimiter)
    check_files("--train_file", [str(path)], given)
    assert file_columns(str(path), given) == ["text", "label"]
    assert [tuple(row.values.values()) for row in read_file(str(path), given)] == ROWS[1:]
    assert f"separate the fields, not {KNOWN_DELIMITERS[USUAL[ending]]}" in refusal(path, ReadOptions(names=["a", "b"]))


@pytest.mark.parametrize("first", ["text", "text; with a mark", "text;label"])
def test_one_column_may_contain_what_separates_others(tmp_path, first):
    path = tmp_path / "a.csv"
    path.write_text(f"{first}\none\ntwo; three; four\n")
    assert file_columns(str(path), ReadOptions()) == [first]


def test_a_delimiter_is_one_character_and_belongs_to_delimited_files(tmp_path):
    for wrong in (";;", "", "\n", '"'):
        with pytest.raises(ValueError, match="--delimiter must be one character"):
            DataArguments(delimiter=wrong)
    assert DataArguments(delimiter="\\t").delimiter == "\t"
    (tmp_path / "a.txt").write_text("a;b")
    with pytest.raises(ValueError, match=r"--delimiter belongs to \.csv and \.tsv files"):
        check_files("--train_file", [str(tmp_path / "a.txt")], ReadOptions(delimiter=";"))
