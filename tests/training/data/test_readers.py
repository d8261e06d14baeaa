"""Files are read without loss of words, quotes or lines, and errors name the file and the fix."""

import csv
import gzip
import json

import pytest
from datasets import Dataset

from hf_tfm.training.data.readers import expand_patterns, read_files

# texts that pandas reads as missing values by default
MISSING = ["None", "NA", "N/A", "null", "nan", "NULL", "-nan", "#N/A"]


def read(path, streaming=False, sample_by="paragraph"):
    return list(read_files("--train_file", [str(path)], sample_by, streaming))


def error_of(function, *arguments):
    with pytest.raises((ValueError, OSError)) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_texts_that_look_like_missing_values_are_kept(tmp_path, ending, streaming):
    path = tmp_path / f"words.{ending}"
    path.write_text("text\n" + "\n".join(MISSING) + "\n")
    assert [row["text"] for row in read(path, streaming)] == MISSING


def test_an_unmatched_quote_in_a_tsv_loses_no_line(tmp_path):
    texts = ['say "hello', "next", '"', 'it"s', '"whole"']
    path = tmp_path / "quotes.tsv"
    path.write_text("text\tnumber\n" + "".join(f"{text}\t{i}\n" for i, text in enumerate(texts)))
    assert [(row["text"], row["number"]) for row in read(path)] == [(text, i) for i, text in enumerate(texts)]


def test_quoted_fields_of_a_csv_may_contain_commas_quotes_and_line_breaks(tmp_path):
    texts = ["a, b", 'say "hello"', "two\nlines", " blanks ", "é"]
    with (tmp_path / "fields.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "number"], *((text, i) for i, text in enumerate(texts))])
    assert [row["text"] for row in read(tmp_path / "fields.csv")] == texts


def test_the_last_texts_of_a_long_csv_stay_texts(tmp_path):
    """With small chunks, the "007" at the end of a file became 7."""
    (tmp_path / "long.csv").write_text("text\n" + "word\n" * 10_000 + "007\n")
    assert read(tmp_path / "long.csv")[-1] == {"text": "007"}


ISO = ["2020-05-03", "2020-05-03T10:00:00Z", "2021-01-01 00:00:00"]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json"])
def test_dates_are_kept_as_text(tmp_path, name, streaming):
    """The JSON reader of datasets converts a column of dates to timestamps."""
    rows = [{"source": f"day {i}", "target": date, "tokens": [date, date], "n": i} for i, date in enumerate(ISO)]
    lines = json.dumps(rows) if name == "a.json" else "\n".join(map(json.dumps, rows)) + "\n"
    (tmp_path / name).write_bytes(gzip.compress(lines.encode()) if name.endswith("gz") else lines.encode())
    assert read(tmp_path / name, streaming) == rows


def test_dates_in_another_layout_are_refused(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"text": ISO[0]}, indent=1))
    assert "a.json holds dates" in error_of(read, tmp_path / "a.json")


def squad(answers):
    questions = [{"id": f"q{i}", "question": "What?", **fields} for i, fields in enumerate(answers)]
    return {"version": "x", "data": [{"title": "T", "paragraphs": [{"context": "Blue sky.", "qas": questions}]}]}


SKY = {"text": "sky", "answer_start": 5}
V1 = [{"answers": [SKY]}, {"answers": [SKY, SKY]}]
V2 = [
    {"answers": [SKY], "is_impossible": False},
    {"answers": [], "is_impossible": True, "plausible_answers": [{"text": "Blue", "answer_start": 0}]},
]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("ending", ["json", "json.gz"])
@pytest.mark.parametrize("version", [V1, V2], ids=["1.1", "2.0"])
def test_squad_files_give_one_row_per_question(tmp_path, version, ending, indent):
    content = json.dumps(squad(version), indent=indent).encode()
    path = tmp_path / f"squad.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    for streaming in (False, True):
        rows = read(path, streaming)
        assert [row["id"] for row in rows] == ["q0", "q1"]
        assert [row["answers"]["text"] for row in rows] == [
            [item["text"] for item in row["answers"]] for row in version
        ]
        assert rows[0]["answers"]["answer_start"] == [5]
        assert rows[0]["context"] == "Blue sky."


def test_squad_questions_without_the_field_answers_are_refused(tmp_path):
    (tmp_path / "squad.json").write_text(json.dumps(squad([{}])))
    assert "question q0 has no answers" in error_of(read, tmp_path / "squad.json")


@pytest.mark.parametrize("ending", ["conll", "conll.gz"])
def test_conll_files_give_one_row_per_sentence(tmp_path, ending):
    content = b"-DOCSTART- -X- O\n\nEU NNP B-ORG\nrejects VBZ O\n\nNA NNP B-LOC\n"
    path = tmp_path / f"words.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    assert read(path) == [
        {"tokens": ["EU", "rejects"], "tags": ["B-ORG", "O"]},
        {"tokens": ["NA"], "tags": ["B-LOC"]},
    ]


def test_patterns_expand_to_files_in_order(tmp_path):
    (tmp_path / "deep").mkdir()
    names = ["a.txt", "b.txt.gz", "deep/c.md"]
    for name in [*names, "picture.png"]:
        (tmp_path / name).write_text("x")
    paths = [str(tmp_path / name) for name in names]
    assert expand_patterns("--f", [str(tmp_path)]) == [paths]
    assert expand_patterns("--f", [str(tmp_path / "*.txt*")]) == [paths[:2]]
    assert expand_patterns("--f", [str(tmp_path / "**" / "*.md")]) == [paths[2:]]
    assert expand_patterns("--f", [paths[1], paths[0]]) == [[paths[1]], [paths[0]]]
    (tmp_path / "a[1].txt").write_text("x")
    assert expand_patterns("--f", [str(tmp_path / "a[1].txt")]) == [[str(tmp_path / "a[1].txt")]]


def test_patterns_without_readable_files_are_refused(tmp_path):
    (tmp_path / "text.docx").write_text("x")
    (tmp_path / "packed.parquet.gz").write_text("x")
    assert "nowhere.txt: no such file" in error_of(expand_patterns, "--f", [str(tmp_path / "nowhere.txt")])
    assert ".parquet" in error_of(expand_patterns, "--f", [str(tmp_path / "text.docx")])
    assert "gunzip" in error_of(expand_patterns, "--f", [str(tmp_path / "packed.parquet.gz")])
    (tmp_path / "none").mkdir()
    assert "no file of a known format" in error_of(expand_patterns, "--f", [str(tmp_path / "none")])


@pytest.mark.parametrize("names", [("a.txt", "b.csv"), ("a.csv", "b.tsv")])
def test_mixed_formats_are_refused(tmp_path, names):
    for name in names:
        (tmp_path / name).write_text("text\nx\n")
    paths = [str(tmp_path / name) for name in names]
    assert "mixes formats" in error_of(read_files, "--f", paths, "line")


LATIN = {"txt": "Caf\xe9", "csv": "text\nCaf\xe9", "tsv": "text\nCaf\xe9", "jsonl": '{"text": "Caf\xe9"}',
         "conll": "Caf\xe9 O"}  # fmt: skip


@pytest.mark.parametrize("ending", [*LATIN, *(f"{ending}.gz" for ending in LATIN)])
def test_other_encodings_are_refused_with_the_fix(tmp_path, ending):
    content = LATIN[ending.removesuffix(".gz")].encode("latin1")
    path = tmp_path / f"latin.{ending}"
    path.write_bytes(gzip.compress(content) if ending.endswith("gz") else content)
    message = error_of(read, path)
    assert f"latin.{ending} is not UTF-8: byte 0xE9" in message
    assert "iconv" in message


@pytest.mark.parametrize(("name", "content"), [("a.jsonl", '{"text": '), ("a.csv", "text,more\na,b\nc,d,e,f\n")])
def test_broken_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert f"{name} as" in error_of(read, tmp_path / name)


def test_a_broken_archive_is_named(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"some text" * 100)[:30])
    assert "cannot be unpacked" in error_of(read, tmp_path / "a.txt.gz")


def test_parquet_keeps_its_types(tmp_path):
    Dataset.from_dict({"text": ["a"], "label": [1.5]}).to_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [{"text": "a", "label": 1.5}]
