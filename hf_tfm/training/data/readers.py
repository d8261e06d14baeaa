"""Files as tables: which files a pattern means, how each format is read, and what is said of one that cannot be."""

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
# ending -> the format
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
# A text such as "None" or "NA" is a text. What a column holds is told by many rows at once: by few, the "007" among the
# last texts of a file would become 7.
CSV_OPTIONS: dict[str, Any] = {"keep_default_na": False, "chunksize": 100_000}
# A .tsv has no quotes: its fields hold neither tabs nor line breaks.
TSV_OPTIONS = CSV_OPTIONS | {"sep": "\t", "quoting": csv.QUOTE_NONE}


def file_extension(path: str) -> str:
    """The ending that tells the format, in lower case: .csv of my.csv and of my.csv.gz."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes]
    suffixes = suffixes[:-1] if suffixes[-1:] == [".gz"] else suffixes
    return suffixes[-1] if suffixes else ""


def expand_patterns(option: str, patterns: list[str]) -> list[list[str]]:
    """For each pattern the existing, non-empty files of known format that it means, in order; a folder means all such
    files below it. Raises FileNotFoundError or ValueError for the first that is not one."""
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
        raise FileNotFoundError(f"{option} {pattern}: no such file (looked from {Path.cwd()}).")
    for path in paths:
        if file_extension(path) not in FILE_FORMATS:
            known = ", ".join(FILE_FORMATS)
            raise ValueError(f"{option} {path}: unknown format; known endings: {known}, each also .gz.")
        if path.lower().endswith(".parquet.gz"):
            raise ValueError(f"{option} {path}: a .parquet is compressed within; unpack the file: gunzip {path}")
        if Path(path).stat().st_size == 0:
            raise ValueError(f"{option} {path}: the file is empty; give a file with text, or leave it out.")
    return paths


def read_files(option: str, paths: list[str], sample_by: str, streaming: bool = False) -> Table:
    """All files, which must share one format, as one table. Raises ValueError that names the file, and the line where
    it is known."""
    kinds = {FILE_FORMATS[file_extension(path)] for path in paths}
    if len(kinds) > 1:
        raise ValueError(f"{option} mixes formats ({', '.join(sorted(kinds))}); give files of one format.")
    kind = kinds.pop()
    for path in paths if kind != "parquet" else []:
        check_utf8(path)
    if kind == "conll":
        return as_table_or_stream(read_conll_files(paths), streaming)
    if kind == "json" and all(is_squad(path) for path in paths):
        return as_table_or_stream(Dataset.from_list([row for path in paths for row in squad_rows(path)]), streaming)
    reader = {"tsv": "csv"}.get(kind, kind)
    options = {"text": {"sample_by": sample_by}, "csv": CSV_OPTIONS, "tsv": TSV_OPTIONS}.get(kind, {})
    try:
        table: Any = load_dataset(reader, data_files=paths, split="train", streaming=streaming, **options)
        return table if kind != "json" or not has_date_columns(table) else read_json_with_dates(paths, streaming)
    except (DatasetGenerationError, ValueError) as error:
        raise ValueError(f"Cannot read {', '.join(paths)} as {kind}: {root_cause(error)}") from error


def as_table_or_stream(table: Dataset, streaming: bool) -> Table:
    return table.to_iterable_dataset() if streaming else table


def root_cause(error: BaseException) -> str:
    """The message of the error at the beginning of a chain, in one line."""
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
                        f"{path} is not UTF-8: byte 0x{line[error.start]:02X} in line {number}. Convert it, for "
                        f"instance: iconv -f LATIN1 -t UTF-8 {path} > utf8_{Path(path).name}"
                    ) from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error


def read_conll_files(paths: list[str]) -> Dataset:
    tables = [read_conll(path) for path in paths]
    return Dataset.from_dict({key: [row for table in tables for row in table[key]] for key in ("tokens", "tags")})


def has_date_columns(table: Table) -> bool:
    # a stream of a list of rows does not say what it holds
    features = table.features or Dataset.from_list(list(table.take(1))).features
    return any("timestamp[" in str(field.type) for field in features.arrow_schema)


def read_json_with_dates(paths: list[str], streaming: bool) -> Table:
    """JSON files read without the library's reader, which takes columns of texts such as "2020-05-03" for times and
    forgets how they were written. Raises ValueError for a layout that is not one of rows."""
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
                    f"{path} holds dates, which stay texts only in a list of rows or with one row in each line; write "
                    "it as .jsonl."
                ) from None


def is_squad(path: str) -> bool:
    """Whether a JSON file has SQuAD's nesting: data, paragraphs, questions."""
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
    """SQuAD's questions (versions 1.1 and 2.0), one row each: id, title, context, question, answers. Raises ValueError
    for a question that says nothing of answers."""
    with open_bytes(path) as file:
        articles = json.load(file)["data"]
    for article in articles:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                if "answers" not in question:
                    raise ValueError(f"{path}: question {question['id']} has no answers; where none is right: [].")
    return [
        {
            "id": question["id"],
            "title": article.get("title", ""),
            "context": paragraph["context"],
            "question": question["question"],
            "answers": {
                "text": [answer["text"] for answer in question["answers"]],
                "answer_start": [answer["answer_start"] for answer in question["answers"]],
            },
        }
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
