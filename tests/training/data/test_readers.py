"""Files are read without loss of words, quotes or lines, and errors name the file and the fix."""

import codecs
import csv
import gzip
import json

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_tfm.training.data.readers import ReadOptions, check_files, expand_patterns, file_columns, read_file

# texts that pandas reads as missing values by default
MISSING = ["None", "NA", "N/A", "null", "nan", "NULL", "-nan", "#N/A"]
NUMBERS = ["007", "7", "01", "1.0", "1e3", "True", "2020-05-03", " 7"]


def read(path, sample_by="paragraph", names=None):
    """The values of all rows; ValueError for the first problem."""
    options = ReadOptions(sample_by, names)
    check_files("--train_file", [str(path)], options)
    rows = list(read_file(str(path), options))
    for row in rows:
        if row.problem:
            raise ValueError(f"{row.location} {row.problem}")
    return [row.values for row in rows]


def lines_of(path, **options):
    """The location of every row without the path."""
    return [row.location.removeprefix(f"{path}, ") for row in read_file(str(path), ReadOptions(**options))]


def error_of(function, *arguments):
    with pytest.raises((ValueError, OSError)) as caught:
        function(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_fields_stay_the_text_that_they_are(tmp_path, ending):
    path = tmp_path / f"words.{ending}"
    path.write_text("text\n" + "\n".join(MISSING + NUMBERS) + "\n")
    assert [row["text"] for row in read(path)] == MISSING + NUMBERS


def test_an_unmatched_quote_in_a_tsv_loses_no_line(tmp_path):
    texts = ['say "hello', "next", '"', 'it"s', '"whole"']
    path = tmp_path / "quotes.tsv"
    path.write_text("text\tnumber\n" + "".join(f"{text}\t{i}\n" for i, text in enumerate(texts)))
    assert read(path) == [{"text": text, "number": str(i)} for i, text in enumerate(texts)]


def test_quoted_fields_of_a_csv_may_contain_commas_quotes_and_line_breaks(tmp_path):
    texts = ["a, b", 'say "hello"', "two\nlines", " blanks ", "é"]
    with (tmp_path / "fields.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["text", "number"], *((text, i) for i, text in enumerate(texts))])
    assert [row["text"] for row in read(tmp_path / "fields.csv")] == texts


ISO = ["2020-05-03", "2020-05-03T10:00:00Z", "2021-01-01 00:00:00"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.json", "spread.json", "data.json", "list.jsonl"])
def test_all_layouts_of_json_keep_values_and_dates(tmp_path, name):
    """The JSON reader of datasets converts a column of dates to timestamps, and refuses a column of several types."""
    rows = [
        {"source": f"day {i}", "target": date, "tokens": [date], "n": [i, "007", None][i]} for i, date in enumerate(ISO)
    ]
    lines = "\n".join(map(json.dumps, rows)) + "\n"
    if name in ("a.json", "list.jsonl"):
        lines = json.dumps(rows)
    elif name == "spread.json":
        lines = "\n".join(json.dumps(row, indent=1) for row in rows)
    elif name == "data.json":
        lines = json.dumps({"version": 1, "data": rows}, indent=1)
    (tmp_path / name).write_bytes(gzip.compress(lines.encode()) if name.endswith("gz") else lines.encode())
    assert read(tmp_path / name) == rows
    assert file_columns(str(tmp_path / name), ReadOptions()) == ["source", "target", "tokens", "n"]


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
    rows = read(path)
    assert [row["id"] for row in rows] == ["q0", "q1"]
    assert [row["answers"] for row in rows] == [question["answers"] for question in version]
    assert rows[0]["context"] == "Blue sky."
    assert lines_of(path) == ["question q0", "question q1"]


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
    assert "mixes formats" in error_of(check_files, "--f", paths, False)


# Lines are counted from 1, as editors do.
LOCATED = {
    "a.txt": ("\n\none\nmore\n\n\ntwo\n", ["line 3", "line 7"]),
    "a.csv": ('text,label\n"two\nlines",a\n\nb,c\r\nd,e', ["line 2", "line 5", "line 6"]),
    "a.tsv": ("text\tlabel\n\na\tb\nc\td", ["line 3", "line 4"]),
    "a.jsonl": ('\n{"text": "a"}\n\n{"text": "b"}', ["line 2", "line 4"]),
    "a.json": ('[{"text": "a"},\n\n{"text": "b"}]', ["row 1", "row 2"]),
    "spread.json": ('\n{\n"text": "a"}\n\n{"text":\n"b"}', ["line 2", "line 5"]),
    "a.conll": ("\na O\n\n\nb O\nc O\n", ["line 2", "line 5"]),
}


@pytest.mark.parametrize("name", LOCATED)
def test_every_row_knows_its_line(tmp_path, name):
    text, lines = LOCATED[name]
    for content in (text.encode(), codecs.BOM_UTF8 + text.encode(), text.encode("utf-16")):
        (tmp_path / name).write_bytes(content)
        assert lines_of(tmp_path / name) == lines


def test_rows_of_parquet_are_counted_and_classes_named(tmp_path):
    features = Features(
        {"text": Value("string"), "label": ClassLabel(names=["bad", "good"]), "score": Value("float64")}
    )
    table = Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, -1], "score": [1.5, 2, 3]}, features=features)
    table.to_parquet(tmp_path / "a.parquet")
    assert [row["label"] for row in read(tmp_path / "a.parquet")] == ["good", "bad", None]
    assert [row["score"] for row in read(tmp_path / "a.parquet")] == [1.5, 2, 3]
    assert lines_of(tmp_path / "a.parquet") == ["row 1", "row 2", "row 3"]
    (tmp_path / "b.parquet").write_text("no parquet")
    assert "b.parquet cannot be read as parquet" in error_of(read, tmp_path / "b.parquet")


def problems(path, **options):
    return [
        (row.location.split(", ")[-1], row.problem)
        for row in read_file(str(path), ReadOptions(**options))
        if row.problem
    ]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_rows_with_another_number_of_fields_are_never_shifted(tmp_path, ending):
    """pandas took the first field of a row that is too long for an index."""
    path = tmp_path / f"a.{ending}"
    rows = ["text,label", "good,yes", "real text,topic words,yes", "alone", "good,no"]
    path.write_text("\n".join(rows).replace(",", "\t" if ending == "tsv" else ","))
    [long, short] = problems(path)
    assert long[0] == "line 3"
    assert long[1].startswith("has 3 fields instead of 2 (the names in line 1): real text | topic words | yes")
    assert short == ("line 4", "has 1 fields instead of 2 (the names in line 1): alone")
    assert [row.values["label"] for row in read_file(str(path)) if not row.problem] == ["yes", "no"]


def test_quotes_that_do_not_match_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\na,b\n"so" he said,b\nc,d\n')
    [(line, problem)] = problems(path)
    assert line == "line 3"
    assert "quotes that do not match" in problem
    # the rest of the file is one field, which must not count as one row
    path.write_text('text,label\na,b\n"never closed,b\n' + "c,d\n" * 50)
    message = error_of(read, path)
    assert "a.csv, line 3: a quote opens here" in message
    assert "lines 3 to 53" in message


def test_json_lines_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": \n[1]\n')
    assert [line for line, _ in problems(tmp_path / "a.jsonl")] == ["line 2", "line 3"]
    (tmp_path / "a.json").write_text('{"text": "a"}\n\n{"text":\n,}')
    assert [line for line, _ in problems(tmp_path / "a.json")] == ["line 3", "line 4"]
    (tmp_path / "b.json").write_text('{\n"text": "a"}\n{"text":\n,}')
    assert "b.json, line 4 is no JSON" in error_of(read, tmp_path / "b.json")


# Columns of CSV and TSV


def test_a_repeated_column_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,label\na,b,c\n")
    assert "a.csv, line 1 names the column 'label' twice" in error_of(
        file_columns, str(tmp_path / "a.csv"), ReadOptions()
    )


def test_given_names_make_the_first_line_a_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('"3","a title","some text"\n"4","b","c"\n')
    names = ["label", "title", "text"]
    assert file_columns(str(path), ReadOptions(names=names)) == names
    assert read(path, names=names)[0] == {"label": "3", "title": "a title", "text": "some text"}
    assert lines_of(path, names=names) == ["line 1", "line 2"]
    assert problems(path, names=names[:2])[0][1].startswith("has 3 fields instead of 2 (the names of --column_names)")
    path.write_text("label,title,text\na,b,c\n")
    assert "line 1 has these names already" in error_of(file_columns, str(path), ReadOptions(names=names))
    (tmp_path / "a.txt").write_text("x")
    assert "--column_names belongs to .csv and .tsv" in error_of(
        check_files, "--f", [str(tmp_path / "a.txt")], ReadOptions(names=["a"])
    )
