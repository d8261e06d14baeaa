"""Rows that cannot be used are named by file and line, or dropped, counted and listed."""

import csv
import json

import pytest

from hf_tfm.training.data.splits import SPLITS

from .data_files import error_of, load, write

CLASSES = "".join(f"some text {i},{'yes' if i % 2 else 'no'}\n" for i in range(60))
RAGGED = f"text,label\n{CLASSES}real text,topic words,yes\n,no\n"


def classes(tmp_path, text, name="a.csv", **choices):
    (tmp_path / name).write_text(text)
    return {"task": "sequence-classification", "train_file": [str(tmp_path / name)], **choices}


def test_the_first_bad_row_and_their_number_are_named(tmp_path):
    message = error_of(**classes(tmp_path, RAGGED))
    assert "a.csv, line 62 has 3 fields instead of 2" in message
    assert "(1 more of 62 rows cannot be used)" in message
    assert "--bad_rows drop" in message


def test_bad_rows_are_dropped_counted_and_listed(tmp_path, capsys):
    for _ in range(2):
        # the second time from the cache
        data = load(**classes(tmp_path, RAGGED, bad_rows="drop"))
        assert sum(len(data.splits[name]) for name in SPLITS) == 60
        assert "Dropped 2 of 62 rows that cannot be used" in capsys.readouterr().out
    bad_rows = data.objective.bad_rows
    bad_rows.write(tmp_path)
    listed = [json.loads(line) for line in (tmp_path / "_dropped_rows.jsonl").read_text().splitlines()]
    assert [row["location"].split(", ")[-1] for row in listed] == ["line 62", "line 63"]
    assert listed[1]["reason"] == "has no text"
    assert bad_rows.note().startswith("2 rows that could not be used were dropped")
    load(**classes(tmp_path, f"text,label\n{CLASSES}")).objective.bad_rows.write(tmp_path)
    assert not (tmp_path / "_dropped_rows.jsonl").exists()


def test_data_without_any_good_row_are_refused(tmp_path):
    message = error_of(**classes(tmp_path, "text,label\n" + "a,b,c\n" * 9, bad_rows="drop"))
    assert "would leave no row" in message
    assert "holds no rows" in error_of(**classes(tmp_path, "text,label\n"))


def test_unknown_labels_and_long_texts_are_located_in_the_users_files(tmp_path):
    (tmp_path / "b.csv").write_text('text,label\n"two\nlines",yes\nmore,maybe\n')
    given = classes(tmp_path, f"text,label\n{CLASSES}", validation_file=[str(tmp_path / "b.csv")])
    assert "b.csv, line 4 has the label 'maybe', which no training row has" in error_of(**given)
    assert len(load(**given, bad_rows="drop").splits["validation"]) == 1


@pytest.mark.parametrize("policy", ["refuse", "drop"])
def test_bad_rows_of_a_stream_are_named_as_they_come(tmp_path, policy, capsys):
    good = write(tmp_path, "jsonl")
    (tmp_path / "bad.jsonl").write_text('{"text": "one"}\n{"text": \n{"text": ["two"]}\n{"text": "three"}\n')
    given = {"train_file": [str(tmp_path / "bad.jsonl")], "validation_file": [good], "test_file": [good]}
    data = load(streaming=True, bad_rows=policy, **given)
    if policy == "refuse":
        with pytest.raises(ValueError, match=r"bad\.jsonl, line 2 is no JSON object"):
            list(data.texts("train"))
    else:
        assert list(data.texts("train")) == ["one", "three"]
        assert "bad.jsonl, line 3" in capsys.readouterr().out


def test_a_changed_file_is_read_again(tmp_path):
    for count in (120, 150):
        rows = "".join(f"text {i},{i % 3}\n" for i in range(count))
        data = load(**classes(tmp_path, f"text,label\n{rows}"))
        assert sum(len(data.splits[name]) for name in SPLITS) == count


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_file_without_names_is_recognised(tmp_path, ending):
    """The fields of the first row were listed as columns."""
    rows = [(str(i % 4 + 1), f"Title {i}, in short", f"The text of number {i}, which is longer.") for i in range(90)]
    path = tmp_path / f"news.{ending}"
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t" if ending == "tsv" else ",").writerows(rows)
    message = error_of("sequence-classification", train_file=[str(path)])
    assert "is a row and not names of columns" in message
    option = message.rsplit("--column_names ")[1]
    assert option == "label,column2,text"
    data = load("sequence-classification", train_file=[str(path)], column_names=option)
    assert data.objective.labels.names == ("1", "2", "3", "4")
    assert {text for name in SPLITS for text in data.splits[name]["text"]} == {text for _, _, text in rows}


def test_words_in_the_first_line_may_be_names(tmp_path):
    message = error_of(**classes(tmp_path, "review,stars\nbad,1\ngood,5\n"))
    assert "No column 'text'" in message
    assert "its columns are: review, stars" in message
    assert message.endswith("If the first line is a row and not names, name the columns: --column_names text,label")
