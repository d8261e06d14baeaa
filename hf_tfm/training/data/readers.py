"""Reads files row by row: expands patterns, and gives every row with its file and line."""

import glob
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from ..preprocessing.labels import class_label_names
from ..preprocessing.rows import SourceRow, named_row
from .conll import read_conll
from .delimited import DELIMITERS, Layout, delimited_columns, read_delimited
from .json_files import read_json
from .text_files import check_encoding, open_text

__all__ = [
    "FILE_FORMATS",
    "ReadOptions",
    "check_files",
    "column_types",
    "expand_patterns",
    "file_columns",
    "file_format",
    "read_file",
]

# file extension -> format
FILE_FORMATS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "json lines",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".conll": "conll",
}
# Rows that are searched for the names of columns of JSON files.
ROWS_SEARCHED = 100


class ReadOptions(NamedTuple):
    """How files are read. `sample_by`: what a row of a text file is; `names`: those of the columns of files that have
    none (--column_names); `delimiter`: what separates fields (--delimiter; None: as usual in the format)."""

    sample_by: str = "paragraph"
    names: list[str] | None = None
    delimiter: str | None = None

    def layout(self, kind: str) -> Layout:
        """That of the lines of a format, "csv" or "tsv"."""
        return Layout.of(kind, self.delimiter)


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


def file_format(path: str) -> str:
    return FILE_FORMATS[file_extension(path)]


def check_files(option: str, paths: list[str], options: ReadOptions) -> None:
    """Raises ValueError for files of several formats, for one in an unknown encoding, and for names of columns or a
    delimiter where files have none."""
    formats = {file_format(path) for path in paths}
    if len(formats) > 1:
        raise ValueError(f"{option} mixes formats ({', '.join(sorted(formats))}); give files of one format.")
    given = {"--column_names": options.names, "--delimiter": options.delimiter}
    for name in [name for name, value in given.items() if value and not formats <= DELIMITERS.keys()]:
        raise ValueError(f"{name} belongs to .csv and .tsv files; leave it out for {paths[0]}.")
    for path in paths if "parquet" not in formats else []:
        check_encoding(path)


def file_columns(path: str, options: ReadOptions) -> list[str]:
    """The columns of a file."""
    kind = file_format(path)
    if kind in DELIMITERS:
        return delimited_columns(path, options.layout(kind), options.names)
    if kind == "parquet":
        return open_parquet(path).schema_arrow.names
    if kind == "text":
        return ["text"]
    rows = list(islice(read_file(path), ROWS_SEARCHED))
    # in the order of their first occurrence; one row without problem suffices
    return list(dict.fromkeys(name for row in rows for name in row.values))


def column_types(path: str) -> Features | None:
    """The types of a file's columns, which may name classes; None for text formats."""
    return Features.from_arrow_schema(open_parquet(path).schema_arrow) if file_format(path) == "parquet" else None


def read_file(path: str, options: ReadOptions | None = None) -> Iterator[SourceRow]:
    """The rows of a file. Raises ValueError with the file, and the line if it is known, for a file that cannot be
    read."""
    options = options or ReadOptions()
    kind = file_format(path)
    if kind in DELIMITERS:
        return read_delimited(path, options.layout(kind), options.names)
    if kind == "text":
        return read_text(path, options.sample_by)
    if kind == "parquet":
        return read_parquet(path)
    return read_conll(path) if kind == "conll" else read_json(path, is_lines=kind == "json lines")


def read_text(path: str, sample_by: str) -> Iterator[SourceRow]:
    """Paragraphs (separated by blank lines), lines, or the whole text."""
    with open_text(path) as file:
        if sample_by == "document":
            yield SourceRow(f"{path}, line 1", {"text": file.read()})
            return
        texts = enumerate(file, start=1) if sample_by == "line" else paragraphs(file)
        for number, text in texts:
            yield SourceRow(f"{path}, line {number}", {"text": text.removesuffix("\n")})


def paragraphs(file: TextIO) -> Iterator[tuple[int, str]]:
    """(first line, text) of every run of lines that are not empty."""
    first, lines = 1, []
    for number, line in enumerate(file, start=1):
        if line != "\n":
            first = first if lines else number
            lines.append(line)
        elif lines:
            yield first, "".join(lines)
            lines = []
    if lines:
        yield first, "".join(lines)


def read_parquet(path: str) -> Iterator[SourceRow]:
    types = column_types(path) or {}
    class_names = {name: names for name, kind in types.items() if (names := class_label_names(kind))}
    number = 0
    for batch in open_parquet(path).iter_batches(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield named_row(f"{path}, row {number}", row, class_names)


def open_parquet(path: str) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path} cannot be read as parquet: {' '.join(str(error).split())}") from error
