"""All sources give the same rows with the task's column names, cut into splits of the sizes asked for."""

import json
from collections import Counter

import pytest
from datasets import Dataset

from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import TaskData
from hf_tfm.training.data.splits import SPLITS, complete_splits
from hf_tfm.training.objectives import OBJECTIVES
from hf_tfm.training.preprocessing.dataset_utils import map_rows

from .data_files import COMPRESSED, FLAT, TEXTS, WRITERS, error_of, load, texts_of, write, write_text


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
