"""Every source gives the same documents; splits follow content; errors name the file, the column and the way out."""

import csv
import json
import random

import pytest
from datasets import Dataset, DatasetDict

from hf_tfm.training.arguments import DataArguments
from hf_tfm.training.data import SPLITS, Documents, complete_splits, load_documents

TEXTS = [f"Document number {i}, with a comma and a “quotation”.\nIt has two lines." for i in range(200)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write_text(path):
    path.write_text("\n\n".join(TEXTS), encoding="utf-8")


def write_jsonl(path):
    path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")


def write_csv(path, delimiter=","):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *enumerate(TEXTS)])


def write_tsv(path):
    write_csv(path, "\t")


def write_parquet(path):
    Dataset.from_dict({"text": TEXTS}).to_parquet(path)


WRITERS = {"txt": write_text, "jsonl": write_jsonl, "csv": write_csv, "tsv": write_tsv, "parquet": write_parquet}


@pytest.mark.parametrize("ending", WRITERS)
def test_all_formats_give_the_same_documents(tmp_path, ending):
    path = tmp_path / f"texts.{ending}"
    WRITERS[ending](path)
    documents = load_documents(DataArguments(train_file=[str(path)]))
    expected = complete_splits(DatasetDict({"train": Dataset.from_dict({"text": TEXTS})}))
    assert {name: list(documents.splits[name]["text"]) for name in SPLITS} == {
        name: list(expected[name]["text"]) for name in SPLITS
    }
    assert sum(documents.source_bytes.values()) == sum(len(text.encode()) for text in TEXTS)
    assert not documents.is_default


def test_splits_follow_content_and_not_order():
    def split(texts):
        cut = complete_splits(DatasetDict({"train": Dataset.from_dict({"text": texts})}))
        return {name: set(cut[name]["text"]) for name in SPLITS}

    assert split(TEXTS) == split(random.Random(0).sample(TEXTS, len(TEXTS)))
    whole = split(TEXTS)
    assert set.union(*whole.values()) == set(TEXTS)
    assert sum(map(len, whole.values())) == len(TEXTS)


def test_twins_share_a_split():
    cut = complete_splits(DatasetDict({"train": Dataset.from_dict({"text": TEXTS * 2})}))
    for first in SPLITS:
        for second in SPLITS:
            assert first == second or set(cut[first]["text"]).isdisjoint(cut[second]["text"])


def test_given_splits_are_kept_and_only_missing_ones_cut(tmp_path):
    write_text(tmp_path / "train.txt")
    (tmp_path / "test.txt").write_text("My test.", encoding="utf-8")
    args = DataArguments(train_file=[str(tmp_path / "train.txt")], test_file=[str(tmp_path / "test.txt")])
    documents = load_documents(args)
    assert list(documents.splits["test"]["text"]) == ["My test."]
    assert len(documents.splits["train"]) + len(documents.splits["validation"]) == len(TEXTS)


def test_globs_and_several_files(tmp_path):
    for i in range(3):
        (tmp_path / f"part{i}.txt").write_text("\n\n".join(TEXTS[i::3]), encoding="utf-8")
    documents = load_documents(DataArguments(train_file=[str(tmp_path / "part[01].txt"), str(tmp_path / "part2.txt")]))
    assert sum(len(documents.splits[name]) for name in SPLITS) == len(TEXTS)


def test_lines_can_be_documents(tmp_path):
    write_text(tmp_path / "lines.txt")
    documents = load_documents(DataArguments(train_file=[str(tmp_path / "lines.txt")], sample_by="line"))
    assert sum(len(documents.splits[name]) for name in SPLITS) == 2 * len(TEXTS)


def test_default_is_the_documentation_of_this_python(documentation, monkeypatch):
    monkeypatch.setattr("hf_tfm.training.data.standard_library_corpus", lambda: documentation)
    documents = load_documents(DataArguments())
    assert documents.is_default
    assert documents.fingerprint in documents.summary()
    shares = {name: documents.source_bytes[name] / sum(documents.source_bytes.values()) for name in SPLITS}
    assert shares["train"] > 0.8
    assert min(shares.values()) > 0.02


def error_of(args):
    with pytest.raises((ValueError, OSError)) as caught:
        load_documents(args)
    return str(caught.value)


def test_missing_file_is_named(tmp_path):
    assert "nowhere.txt: no such file" in error_of(DataArguments(train_file=[str(tmp_path / "nowhere.txt")]))


def test_empty_file_is_named(tmp_path):
    (tmp_path / "empty.txt").touch()
    assert "empty.txt: the file is empty" in error_of(DataArguments(train_file=[str(tmp_path / "empty.txt")]))


def test_blank_file_is_named(tmp_path):
    (tmp_path / "blank.txt").write_text("\n \n\n")
    assert "blank.txt holds no text" in error_of(DataArguments(train_file=[str(tmp_path / "blank.txt")]))


def test_missing_column_lists_the_columns(tmp_path):
    write_csv(tmp_path / "table.csv")
    message = error_of(DataArguments(train_file=[str(tmp_path / "table.csv")], text_column="body"))
    assert 'No column "body"' in message
    assert "id, text" in message
    assert "--text_column" in message


def test_column_of_numbers_is_refused(tmp_path):
    write_csv(tmp_path / "table.csv")
    message = error_of(DataArguments(train_file=[str(tmp_path / "table.csv")], text_column="id"))
    assert 'Column "id"' in message
    assert "int64" in message


@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl"])
def test_other_encodings_are_named_with_the_fix(tmp_path, ending):
    path = tmp_path / f"latin.{ending}"
    path.write_bytes(
        {"txt": "Caf\xe9", "csv": "text\nCaf\xe9", "jsonl": '{"text": "Caf\xe9"}'}[ending].encode("latin1")
    )
    message = error_of(DataArguments(train_file=[str(path)]))
    assert f"latin.{ending} is not UTF-8: byte 0xE9" in message
    assert "iconv" in message


def test_unknown_format_lists_the_known_ones(tmp_path):
    (tmp_path / "text.docx").write_text("x")
    assert ".parquet" in error_of(DataArguments(train_file=[str(tmp_path / "text.docx")]))


def test_mixed_formats_are_refused(tmp_path):
    write_text(tmp_path / "a.txt")
    write_csv(tmp_path / "a.csv")
    assert "mixes formats" in error_of(DataArguments(train_file=[str(tmp_path / "a.*")]))


def test_too_few_documents_name_the_missing_splits(tmp_path):
    (tmp_path / "one.txt").write_text("Only one document.")
    message = error_of(DataArguments(train_file=[str(tmp_path / "one.txt")]))
    assert "1 training document(s)" in message
    assert "--validation_file" in message


def test_hub_name_without_network_points_to_files():
    assert "--train_file" in error_of(DataArguments(dataset_name="nobody/nothing"))


def test_two_sources_are_refused(tmp_path):
    assert "give one of them" in error_of(DataArguments(train_file=["a.txt"], dataset_name="nobody/nothing"))


def test_evaluation_files_need_training_files():
    assert "add --train_file" in error_of(DataArguments(test_file=["a.txt"]))


def test_bytes_are_counted_as_utf8():
    splits = DatasetDict({name: Dataset.from_dict({"text": ["é", "ab"]}) for name in SPLITS})
    assert Documents(splits, "", is_default=False).source_bytes == dict.fromkeys(SPLITS, 4)
