"""Columns of the user's data get the names of the task; what does not fit is refused by name."""

import json

import pytest
from datasets import Dataset

from .data_files import error_of, load, write


def table_of(tmp_path, **columns):
    path = tmp_path / "table.parquet"
    Dataset.from_dict(columns).to_parquet(path)
    return [str(path)]


@pytest.mark.parametrize("streaming", [False, True])
def test_columns_are_renamed_even_when_they_swap_names(tmp_path, streaming):
    table = table_of(tmp_path, target=["a", "b"], source=["A", "B"], other=["x", "y"])
    given = {"train_file": table, "validation_file": table, "test_file": table, "streaming": streaming}

    def load_rows(**choices):
        return [{name: row[name] for name in ("source", "target")} for row in load(**choices).splits["train"]]

    rows = load_rows(task="seq2seq", columns=["source=target", "target=source"], **given)
    assert rows == [{"source": "a", "target": "A"}, {"source": "b", "target": "B"}]
    rows = load_rows(task="seq2seq", columns=["source=target", "target=other"], **given)
    assert rows == [{"source": "a", "target": "x"}, {"source": "b", "target": "y"}]
    rows = load_rows(task="seq2seq", columns=["target=other"], **given)
    assert rows == [{"source": "A", "target": "x"}, {"source": "B", "target": "y"}]


def test_several_columns_give_several_labels(tmp_path):
    table = table_of(tmp_path, body=["a", "b", "c"], rude=[0, 1, 1], long=[False, False, True])
    given = {"train_file": table, "validation_file": table, "test_file": table}
    data = load("sequence-classification", columns=["text=body", "label=rude,long"], **given)
    assert data.splits["test"]["labels"][:] == [[0, 0], [1, 0], [1, 1]]
    assert data.objective.labels.names == ("rude", "long")


def test_a_second_text_is_read_from_its_own_or_the_requested_column(tmp_path):
    table = table_of(tmp_path, text=["a", "b"], text_pair=["c", "d"], more=["e", "f"], label=[0, 1])
    given = {"train_file": table, "validation_file": table, "test_file": table}
    assert load("sequence-classification", **given).splits["test"]["text_pair"][:] == ["c", "d"]
    requested = load("sequence-classification", columns=["text_pair=more"], **given)
    assert requested.splits["test"]["text_pair"][:] == ["e", "f"]


def test_splits_with_different_columns_are_refused(tmp_path):
    """A second text that only some rows have would be dropped, or be empty, without a warning."""
    for name, pair in (("with", {"text_pair": ["c", "d"]}), ("without", {})):
        Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]} | pair).to_parquet(tmp_path / f"{name}.parquet")
    paths = [str(tmp_path / "with.parquet"), str(tmp_path / "without.parquet")]
    for given in ({"train_file": paths}, {"train_file": paths[:1], "test_file": paths[1:]}):
        assert "the same parts" in error_of("sequence-classification", **given)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["text"], "not part=column"),
        (["body=text"], "the parts of sequence-classification are: text, label, text_pair"),
        (["text="], "not part=column"),
        (["text=body"], "No column 'body'"),
        (["label=text"], "named twice"),
        (["text_pair=text"], "named twice"),
        (["text=text", "text=more"], "names text twice"),
        (["text=text,more"], "row 1 has a text that is no text: ['a', 'c']"),
    ],
)
def test_invalid_columns_are_refused(tmp_path, columns, message):
    table = table_of(tmp_path, text=["a", "b"], more=["c", "d"], label=["x", "y"], number=[1, 2])
    assert message in error_of("sequence-classification", train_file=table, columns=columns)


def test_missing_column_lists_the_columns(tmp_path):
    message = error_of(train_file=[write(tmp_path, "csv")], columns=["text=body"])
    assert "No column 'body'" in message
    assert "id, text" in message
    assert "--columns text=<column>" in message


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_numbers_are_text_where_text_is_read(tmp_path, ending):
    rows = [{"source": f"{i} + 1", "target": i + 1} for i in range(3)]
    path = tmp_path / f"sums.{ending}"
    if ending == "csv":
        path.write_text("source,target\n" + "".join(f"{row['source']},{row['target']}\n" for row in rows))
    elif ending == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        Dataset.from_list(rows).to_parquet(path)
    given = {"train_file": [str(path)], "validation_file": [str(path)], "test_file": [str(path)]}
    assert load("seq2seq", **given).splits["test"]["target"][:] == ["1", "2", "3"]
