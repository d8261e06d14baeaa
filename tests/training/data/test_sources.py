"""All sources give the same rows with the task's column names; errors name the file, the column and the fix."""

import csv
import gzip
import json
from collections import Counter

import pytest
from datasets import Dataset

from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import TaskData, load_data
from hf_tfm.training.data.splits import SPLITS, complete_splits
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.preprocessing.dataset_utils import map_rows

TEXTS = [f"Document number {i}, with a comma and a “quotation”.\nIt has two lines." for i in range(200)]
# without line breaks, which a .tsv cannot contain
FLAT = [text.replace("\n", " ") for text in TEXTS]


def write_text(path, texts):
    path.write_text("\n\n".join(texts), encoding="utf-8")


def write_jsonl(path, texts):
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")


def write_json(path, texts):
    path.write_text(json.dumps([{"text": text} for text in texts]), encoding="utf-8")


def write_csv(path, texts):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(texts)])


def write_tsv(path, texts):
    path.write_text("".join(f"{i}\t{text}\n" for i, text in [("id", "text"), *enumerate(texts)]), encoding="utf-8")


def write_parquet(path, texts):
    Dataset.from_dict({"text": texts}).to_parquet(path)


WRITERS = {
    "txt": write_text, "md": write_text, "jsonl": write_jsonl, "json": write_json, "csv": write_csv, "tsv": write_tsv,
    "parquet": write_parquet,
}  # fmt: skip
COMPRESSED = [f"{ending}.gz" for ending in WRITERS if ending != "parquet"]


def write(folder, ending, texts=FLAT):
    """Write the texts to a file with that extension, and return its path."""
    plain = ending.removesuffix(".gz")
    path = folder / f"texts.{plain}"
    WRITERS[plain](path, texts)
    if ending.endswith(".gz"):
        path, content = folder / f"texts.{ending}", path.read_bytes()
        path.write_bytes(gzip.compress(content))
    return str(path)


def load(task="causal-lm", max_eval_samples=None, task_choices=None, **choices):
    objective = OBJECTIVES[task](TaskArguments(**task_choices or {}))
    return load_data(objective, DataArguments(**choices), 0, max_eval_samples)


def texts_of(data):
    return {name: list(data.splits[name]["text"]) for name in SPLITS}


def error_of(task="causal-lm", **choices):
    with pytest.raises((ValueError, OSError)) as caught:
        load(task, **choices)
    return str(caught.value)


@pytest.mark.parametrize("ending", [*WRITERS, *COMPRESSED])
def test_all_formats_give_the_same_documents(tmp_path, ending):
    data = load(train_file=[write(tmp_path, ending)])
    expected, _ = complete_splits({"train": Dataset.from_dict({"text": FLAT})}, "text", (0.9, 0.05, 0.05))
    assert texts_of(data) == {name: list(expected[name]["text"]) for name in SPLITS}
    assert sum(data.source_bytes.values()) == sum(len(text.encode()) for text in FLAT)
    assert not data.is_default
    assert data.fingerprint in data.summary()


@pytest.mark.parametrize("ending", ["txt", "jsonl", "json", "csv", "parquet"])
def test_line_breaks_are_kept(tmp_path, ending):
    data = load(train_file=[write(tmp_path, ending, TEXTS)])
    assert sorted(text for texts in texts_of(data).values() for text in texts) == sorted(TEXTS)


@pytest.mark.parametrize("ending", ["txt", "jsonl", "csv", "tsv.gz", "parquet"])
def test_a_stream_gives_the_same_rows(tmp_path, ending):
    path = write(tmp_path, ending)
    choices = {"train_file": [path], "validation_file": [path], "test_file": [path]}
    stream, table = load(streaming=True, **choices), load(**choices)
    assert stream.streaming
    assert not table.streaming
    assert list(stream.texts("train")) == list(table.texts("train"))
    assert list(stream.texts("test")) == list(table.texts("test"))
    assert stream.fingerprint
    assert "streamed" in stream.summary()


def test_a_stream_is_shuffled_by_a_buffer_and_needs_the_other_splits(tmp_path):
    path = write(tmp_path, "jsonl")
    choices = {"validation_file": [path], "test_file": [path], "shuffle_buffer": 50}
    data = load(train_file=[path], streaming=True, **choices)
    shuffled = list(data.texts("train"))
    assert shuffled != FLAT
    assert sorted(shuffled) == sorted(FLAT)
    assert "--validation_file and --test_file" in error_of(train_file=[path], streaming=True)
    assert "leave out --streaming" in error_of(
        "sequence-classification", train_file=[str(write_labels(tmp_path))], streaming=True
    )


def write_labels(folder):
    path = folder / "labels.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"a {i}", "label": i % 2}) for i in range(40)))
    return path


def test_a_stream_of_questions_can_be_shuffled(tmp_path):
    question = {"id": "1", "question": "What?", "answers": [{"text": "sky", "answer_start": 5}]}
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "Blue sky.", "qas": [question]}]}]}))
    given = {"train_file": [str(path)], "validation_file": [str(path)], "test_file": [str(path)]}
    data = load("question-answering", streaming=True, shuffle_buffer=10, **given)
    assert next(iter(data.splits["train"]))["answers"] == {"text": ["sky"], "answer_start": [5]}


def test_given_splits_are_kept_and_only_missing_ones_are_cut(tmp_path):
    (tmp_path / "test.txt").write_text("My test.", encoding="utf-8")
    data = load(train_file=[write(tmp_path, "txt")], test_file=[str(tmp_path / "test.txt")])
    assert texts_of(data)["test"] == ["My test."]
    assert len(data.splits["train"]) + len(data.splits["validation"]) == len(TEXTS)


def test_validation_subset_is_evenly_spaced_rows_of_validation(tmp_path):
    """The first rows of a file that is sorted by label have one label."""
    path = write(tmp_path, "txt")
    data = load(max_eval_samples=4, train_file=[path], validation_file=[path])
    assert list(data.splits["validation_subset"]["text"]) == FLAT[::50]
    assert data.source_bytes["validation_subset"] == sum(len(text.encode()) for text in FLAT[::50])
    assert data.notes == ["4 of the 200 validation rows were evaluated during training, all of them at the end."]
    assert "validation_subset" not in load(max_eval_samples=999, train_file=[path], validation_file=[path]).splits


def test_large_validation_splits_are_limited_during_training(tmp_path, monkeypatch, capsys):
    path = write(tmp_path, "txt")
    given = {"train_file": [path], "validation_file": [path]}
    assert set(load(**given).splits) == set(SPLITS)
    assert "evaluated during training" not in capsys.readouterr().out
    for limit, value, count in (("EVAL_ROWS", 20, 20), ("EVAL_BYTES", 1000, 13), ("EVAL_BYTES", 1, 1)):
        with monkeypatch.context() as context:
            context.setattr(f"hf_tfm.training.data.sources.{limit}", value)
            assert len(load(**given).splits["validation_subset"]) == count
        assert f"{count} of the 200 validation rows are evaluated during training" in capsys.readouterr().out


def test_splits_that_are_cut_from_user_data_are_limited(tmp_path):
    path = write(tmp_path, "txt")
    data = load(train_file=[path], max_holdout_rows=2)
    assert [len(data.splits[name]) for name in SPLITS] == [196, 2, 2]
    assert data.notes[0].startswith("The splits that were cut from the training data were limited")
    assert load(train_file=[path], max_holdout_bytes=1).notes
    assert not load(train_file=[path], max_holdout_rows=0, max_holdout_bytes=0).notes


def test_globs_folders_and_several_files(tmp_path):
    (tmp_path / "deep").mkdir()
    for i in range(3):
        write_text(tmp_path / ("deep" if i == 2 else ".") / f"part{i}.txt", FLAT[i::3])
    for given in ([str(tmp_path / "part[01].txt"), str(tmp_path / "deep")], [str(tmp_path)]):
        found = texts_of(load(train_file=given))
        assert sorted(text for texts in found.values() for text in texts) == sorted(FLAT)


def test_documents_may_be_lines_or_whole_files(tmp_path):
    path = write(tmp_path, "txt", TEXTS)
    lines = load(train_file=[path], sample_by="line")
    assert sum(len(lines.splits[name]) for name in SPLITS) == 2 * len(TEXTS)
    whole = load(train_file=[path], validation_file=[path], test_file=[path], sample_by="document")
    assert len(whole.splits["train"]) == 1


# Mixtures


def test_a_mixture_samples_by_weight_until_one_entry_is_exhausted(tmp_path):
    for name, count in (("few", 300), ("many", 3000)):
        write_text(tmp_path / f"{name}.txt", [f"{name} {i}" for i in range(count)])
    files = [str(tmp_path / "few.txt"), str(tmp_path / "many.txt")]
    other_splits = {"validation_file": files[:1], "test_file": files[:1]}
    rows = list(load(train_file=files, mixture=[1, 3], **other_splits).texts("train"))
    counts = Counter(text.split()[0] for text in rows)
    assert counts["few"] == 300
    assert counts["many"] / len(rows) == pytest.approx(0.75, abs=0.05)
    for name in counts:
        sampled = [text for text in rows if text.startswith(name)]
        assert sampled == [f"{name} {i}" for i in range(len(sampled))]
    assert rows == list(load(train_file=files, mixture=[1, 3], **other_splits).texts("train"))
    stream = list(load(train_file=files, mixture=[1, 3], streaming=True, **other_splits).texts("train"))
    assert Counter(text.split()[0] for text in stream)["few"] == 300
    assert len(list(load(train_file=files, **other_splits).texts("train"))) == 3300


# Columns


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


# Rows that cannot be used

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


# Built-in datasets, the Hub, and errors


def test_default_is_the_documentation_of_this_python(documentation, monkeypatch):
    monkeypatch.setattr(
        "hf_tfm.training.builtin_data.builtin_datasets.read_stdlib_corpus", lambda library: documentation
    )
    data = load()
    assert data.is_default
    assert data.fingerprint in data.summary()
    fractions = {name: data.source_bytes[name] / sum(data.source_bytes.values()) for name in SPLITS}
    assert fractions["train"] > 0.8
    assert min(fractions.values()) > 0.02


def test_long_texts_are_truncated_in_builtin_data_and_refused_in_user_data(tmp_path, documentation, monkeypatch):
    monkeypatch.setattr(
        "hf_tfm.training.builtin_data.builtin_datasets.read_stdlib_corpus", lambda library: documentation
    )
    own = {"train_file": [write(tmp_path, "txt")]}
    assert load().objective.long_texts == "truncate"
    assert load(**own).objective.long_texts == "error"
    assert load(task_choices={"long_texts": "error"}).objective.long_texts == "error"
    assert load(task_choices={"long_texts": "truncate"}, **own).objective.long_texts == "truncate"


def test_builtin_datasets_that_are_unknown_or_do_not_fit_are_refused():
    assert "known sets" in error_of(builtin_dataset="nonsense")
    assert "the task reads text" in error_of(builtin_dataset="date_pairs")


def test_blank_and_empty_files_are_refused(tmp_path):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text("\n \n\n")
    assert "empty.txt: the file is empty" in error_of(train_file=[str(tmp_path / "empty.txt")])
    assert "blank.txt holds no rows" in error_of(train_file=[str(tmp_path / "blank.txt")])


def test_too_few_documents_name_the_missing_splits(tmp_path):
    (tmp_path / "one.txt").write_text("Only one document.")
    message = error_of(train_file=[str(tmp_path / "one.txt")])
    assert "1 training row(s)" in message
    assert "--validation_file" in message


def test_hub_name_without_network_points_to_files():
    assert "--train_file" in error_of(dataset_name="nobody/nothing")


def test_bytes_are_counted_as_utf8():
    splits = {name: Dataset.from_dict({"text": ["é", "ab"]}) for name in SPLITS}
    data = TaskData(splits, "", is_default=False, objective=OBJECTIVES["causal-lm"](TaskArguments()))
    assert data.source_bytes == dict.fromkeys(SPLITS, 4)


def test_fingerprints_depend_on_content_and_not_on_order():
    def fingerprint(texts):
        splits = {name: Dataset.from_dict({"text": texts}) for name in SPLITS}
        return TaskData(splits, "", is_default=False, objective=OBJECTIVES["causal-lm"](TaskArguments())).fingerprint

    assert fingerprint(["a", "b"]) == fingerprint(["b", "a"])
    assert fingerprint(["a", "b"]) != fingerprint(["a", "c"])


def test_cached_rows_are_not_reused_after_the_code_has_changed(tmp_path, monkeypatch):
    """datasets hashes functions by name only, and would reuse the rows of an older version."""
    table = Dataset.from_parquet(write(tmp_path, "parquet"))
    calls = []
    monkeypatch.setattr("hf_tfm.training.preprocessing.dataset_utils.code_digest", lambda: len(calls))
    first, again = (map_rows(table, dict)._fingerprint for _ in range(2))
    calls.append("an edit")
    assert first == again
    assert map_rows(table, dict)._fingerprint != first
