"""Reads files as tables: expands patterns, reads each format, and reports files that cannot be read."""

import codecs
import csv
import glob
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, load_dataset
from datasets.exceptions import DatasetGenerationError

from .conll import read_conll

__all__ = ["FILE_FORMATS", "Table", "expand_patterns", "read_files"]

Table = Dataset | IterableDataset
# file extension -> format
FILE_FORMATS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
}
# Texts such as "None" or "NA" are kept. Chunks are large because pandas infers a column's type per chunk: in a small
# chunk, a "007" among the last texts of a file would become 7.
CSV_OPTIONS: dict[str, Any] = {"keep_default_na": False, "chunksize": 100_000}
# A .tsv has no quotes: its fields contain neither tabs nor line breaks.
TSV_OPTIONS = CSV_OPTIONS | {"sep": "\t", "quoting": csv.QUOTE_NONE}


def file_extension(path: str) -> str:
    """The extension of the format, in lower case: .csv for my.csv and for my.csv.gz."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    suffixes = suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes
    return suffixes[-1] if suffixes else ""


def expand_patterns(option: str, patterns: list[str]) -> list[list[str]]:
    """For each pattern, its files in order; a folder stands for all files of a known format below it. Raises
    FileNotFoundError or ValueError for the first file that is missing, empty or of an unknown format."""
    return [expand_pattern(option, pattern) for pattern in patterns]


def expand_pattern(option: str, pattern: str) -> list[str]:
    if Path(pattern).is_file():
        paths = [pattern]
    elif Path(pattern).is_dir():
        paths = [str(path) for path in sorted(Path(pattern).rglob("*")) if file_extension(str(path)) in FILE_FORMATS]
        if not paths:
            raise FileNotFoundError(f"{option} {pattern}: no file of a known format there ({', '.join(FILE_FORMATS)}).")
    else:
        paths = sorted(glob.glob(pattern, recursive=True))
    if not paths:
        raise FileNotFoundError(f"{option} {pattern}: no such file (current folder: {Path.cwd()}).")
    for path in paths:
        if file_extension(path) not in FILE_FORMATS:
            known = ", ".join(FILE_FORMATS)
            raise ValueError(
                f"{option} {path}: unknown format; known extensions: {known}; all but .parquet also as .gz."
            )
        if path.lower().endswith(".parquet.gz"):
            raise ValueError(f"{option} {path}: .parquet files are compressed already; unpack it: gunzip {path}")
        if Path(path).stat().st_size == 0:
            raise ValueError(f"{option} {path}: the file is empty; give a file with text, or leave it out.")
    return paths


def read_files(option: str, paths: list[str], sample_by: str, streaming: bool = False) -> Table:
    """One table of all files, which must have one format. Raises ValueError with the file, and with the line if it is
    known."""
    formats = {FILE_FORMATS[file_extension(path)] for path in paths}
    if len(formats) > 1:
        raise ValueError(f"{option} mixes formats ({', '.join(sorted(formats))}); give files of one format.")
    [file_format] = formats
    for path in paths if file_format != "parquet" else []:
        check_utf8(path)
    if file_format == "conll":
        return as_table_or_stream(read_conll_files(paths), streaming)
    if file_format == "json" and all(is_squad(path) for path in paths):
        return as_table_or_stream(Dataset.from_list([row for path in paths for row in squad_rows(path)]), streaming)
    builder = "csv" if file_format == "tsv" else file_format
    options = {"text": {"sample_by": sample_by}, "csv": CSV_OPTIONS, "tsv": TSV_OPTIONS}.get(file_format, {})
    try:
        table: Any = load_dataset(builder, data_files=paths, split="train", streaming=streaming, **options)
        if file_format == "json" and has_date_columns(table):
            return read_json_with_dates(paths, streaming)
        return table
    except (DatasetGenerationError, ValueError) as error:
        raise ValueError(f"Cannot read {', '.join(paths)} as {file_format}: {root_cause(error)}") from error


def as_table_or_stream(table: Dataset, streaming: bool) -> Table:
    return table.to_iterable_dataset() if streaming else table


def root_cause(error: BaseException) -> str:
    """The message of the first error of a chain, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__


def open_bytes(path: str) -> Any:
    return gzip.open(path) if path.lower().endswith(".gz") else Path(path).open("rb")


def check_utf8(path: str) -> None:
    """Raises ValueError with line and byte if a file is not UTF-8."""
    try:
        with open_bytes(path) as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise ValueError(
                        f"{path} is not UTF-8: byte 0x{line[error.start]:02X} in line {number}. Convert the file, for "
                        f"instance: iconv -f LATIN1 -t UTF-8 {path} > utf8_{Path(path).name}"
                    ) from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error


def read_conll_files(paths: list[str]) -> Dataset:
    tables = [read_conll(path) for path in paths]
    return Dataset.from_dict({key: [row for table in tables for row in table[key]] for key in ("tokens", "tags")})


def has_date_columns(table: Table) -> bool:
    # A stream of a JSON list has no features; they are inferred from its first row.
    features = table.features or Dataset.from_list(list(table.take(1))).features
    return any("timestamp[" in str(field.type) for field in features.arrow_schema)


def read_json_with_dates(paths: list[str], streaming: bool) -> Table:
    """Reads JSON files without datasets, which converts texts such as "2020-05-03" to timestamps and loses their
    spelling. Raises ValueError for files that are neither a list of rows nor one row per line."""
    if streaming:
        return IterableDataset.from_generator(json_rows, gen_kwargs={"paths": paths})
    return Dataset.from_list(list(json_rows(paths)))


def json_rows(paths: list[str]) -> Iterator[dict[str, Any]]:
    for path in paths:
        with open_bytes(path) as file:
            is_list = file.read(4096).lstrip(codecs.BOM_UTF8).lstrip().startswith(b"[")
            file.seek(0)
            try:
                yield from json.load(file) if is_list else (json.loads(line) for line in file if line.strip())
            except json.JSONDecodeError:
                raise ValueError(
                    f"{path} holds dates, which can be kept as text only in a list of rows or with one row per line; "
                    "save it as .jsonl."
                ) from None


def is_squad(path: str) -> bool:
    """Whether a JSON file is nested as in SQuAD: data, paragraphs, questions."""
    if file_extension(path) != ".json":
        return False
    with open_bytes(path) as file:
        start = file.read(4096).lstrip()
    if not start.startswith(b"{") or b"\n{" in start:
        return False
    with open_bytes(path) as file:
        try:
            content = json.load(file)
        except json.JSONDecodeError:
            return False
    articles = content.get("data") if isinstance(content, dict) else None
    return isinstance(articles, list) and all(isinstance(item, dict) and "paragraphs" in item for item in articles)


def squad_rows(path: str) -> list[dict[str, Any]]:
    """SQuAD's questions (versions 1.1 and 2.0), one per row: id, title, context, question, answers. Raises ValueError
    for a question without the field answers."""
    with open_bytes(path) as file:
        articles = json.load(file)["data"]
    rows = []
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                if "answers" not in question:
                    raise ValueError(
                        f'{path}: question {question["id"]} has no answers; an unanswerable one needs "answers": [].'
                    )
                answers = {
                    "text": [answer["text"] for answer in question["answers"]],
                    "answer_start": [answer["answer_start"] for answer in question["answers"]],
                }
                rows.append(
                    {
                        "id": question["id"],
                        "title": article.get("title", ""),
                        "context": paragraph["context"],
                        "question": question["question"],
                        "answers": answers,
                    }
                )
    return rows
