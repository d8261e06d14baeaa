"""CSV and TSV files. Every field is text; a row with another number of fields than the header has a problem, instead of
columns that are shifted. A .tsv with tabs has no quotes: its fields contain neither tabs nor line breaks."""

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

from ..preprocessing.labels import parse_number
from ..preprocessing.rows import SourceRow
from .text_files import open_text

__all__ = ["Layout", "column_names_hint", "delimited_columns", "read_delimited"]

# What separates fields unless --delimiter says so, and what may separate them in other people's files.
DELIMITERS = {"csv": ",", "tsv": "\t"}
KNOWN_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}

# A name of a column is shorter and has fewer words than these.
LONG_CELL, MANY_WORDS = 40, 4
ROWS_SEARCHED = 200


class Layout(NamedTuple):
    """What separates the fields of a file, and whether quotes surround some of them."""

    delimiter: str
    quotes: bool

    @classmethod
    def of(cls, kind: str, delimiter: str | None) -> "Layout":
        """That of a format, a key of DELIMITERS. `delimiter`: that of --delimiter, if it is given."""
        chosen = delimiter or DELIMITERS[kind]
        return cls(chosen, quotes=(kind, chosen) != ("tsv", "\t"))


class BrokenRow(list[str]):
    """A row whose quotes do not match; it holds the reason."""


def numbered_rows(path: str, layout: Layout) -> Iterator[tuple[int, list[str]]]:
    """(first line, fields) of every row that is not blank. Raises ValueError for quotes that break several lines
    apart."""
    with open_text(path, newline="") as file:
        if not layout.quotes:
            for number, line in enumerate(file, start=1):
                if line.strip("\r\n"):
                    yield number, line.rstrip("\r\n").split(layout.delimiter)
            return
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader(file, delimiter=layout.delimiter, strict=True)
        line = 1
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                if reader.line_num > line:
                    raise ValueError(
                        f"{path}, line {line}: a quote opens here, and lines {line} to {reader.line_num} are one "
                        f'field then ({error}); write "" for a quote inside a field, and quotes around that field.'
                    ) from error
                row = BrokenRow([f'has quotes that do not match ({error}); write "" for a quote inside a quoted field'])
            if row is None:
                return
            if row:
                yield line, row
            line = reader.line_num + 1


def read_delimited(path: str, layout: Layout, names: list[str] | None) -> Iterator[SourceRow]:
    """The rows of a file. `names`: those of the columns if the file has none (--column_names)."""
    rows = numbered_rows(path, layout)
    source = "of --column_names"
    if names is None:
        line, names = next(rows, (1, []))
        source = f"in line {line}"
    width = len(names)
    for line, fields in rows:
        location = f"{path}, line {line}"
        if len(fields) == width and not isinstance(fields, BrokenRow):
            yield SourceRow(location, dict(zip(names, fields, strict=True)))
        elif isinstance(fields, BrokenRow):
            yield SourceRow(location, {}, fields[0])
        else:
            shown = " | ".join(field if len(field) <= 30 else f"{field[:27]}..." for field in fields[:6])
            yield SourceRow(location, {}, f"has {len(fields)} fields instead of {width} (the names {source}): {shown}")


def delimited_columns(path: str, layout: Layout, names: list[str] | None) -> list[str]:
    """The names of the columns: `names`, or those in the first line. Raises ValueError if one occurs twice, if `names`
    are those in the file, and if something else separates the fields."""
    line, header = next(numbered_rows(path, layout), (1, []))
    if len(header) == 1 and (found := other_delimiter(path, header[0])):
        option = "tab" if found == "\t" else f"'{found}'"
        expected = KNOWN_DELIMITERS.get(layout.delimiter, repr(layout.delimiter))
        raise ValueError(
            f"{path}, line {line}: {KNOWN_DELIMITERS[found]} separate the fields, not {expected}; say so with "
            f"--delimiter {option}"
        )
    if names:
        if header == names:
            raise ValueError(f"{path}, line {line} has these names already; leave out --column_names.")
        return names
    repeated = [name for name, count in Counter(header).items() if count > 1 and name]
    if repeated and not looks_like_data(header):
        raise ValueError(f"{path}, line {line} names the column {repeated[0]!r} twice; give each column its own name.")
    return header


def other_delimiter(path: str, header: str) -> str | None:
    """What separates the fields of a file whose first line is one field by its format: the known delimiter by which the
    first rows have an equal number of fields, several; of several such, the one with most fields."""
    widths = {}
    for delimiter in KNOWN_DELIMITERS:
        if delimiter in header:
            first = [fields for _, fields in islice(numbered_rows(path, Layout(delimiter, True)), ROWS_SEARCHED)]
            if len({len(fields) for fields in first}) == 1:
                widths[delimiter] = len(first[0])
    return max(widths, key=widths.__getitem__, default=None)


def looks_like_data(header: list[str]) -> bool:
    """Whether a first line can hardly be names: one is a number, long, or several words."""
    return any(
        parse_number(cell) is not None or len(cell) > LONG_CELL or len(cell.split()) >= MANY_WORDS for cell in header
    )


def column_names_hint(path: str, layout: Layout, columns: tuple[str, ...], missing: str) -> str:
    """What to do about a file that lacks a column of a task, as `missing` says. `columns`: those of the task."""
    rows = [fields for _, fields in islice(numbered_rows(path, layout), ROWS_SEARCHED)]
    header = rows[0] if rows else []
    names = ",".join(guess_names([row for row in rows if len(row) == len(header)], columns))
    if looks_like_data(header):
        shown = ", ".join(repr(cell if len(cell) <= LONG_CELL else f"{cell[:37]}...") for cell in header[:6])
        return (
            f"The first line of {path} is a row and not names of columns ({shown}). Name them: --column_names {names}"
        )
    return f"{missing}. If the first line is a row and not names, name the columns: --column_names {names}"


def guess_names(rows: list[list[str]], columns: tuple[str, ...]) -> list[str]:
    """A name for each column: a label has the fewest different values, texts are the longest, in their order."""
    fields = list(zip(*rows, strict=True))
    names = [f"column{number}" for number in range(1, len(fields) + 1)]
    free: list[Any] = list(range(len(fields)))
    texts = [column for column in columns if column not in ("label", "id")]
    if "label" in columns and free:
        label = min(free, key=lambda at: (len(set(fields[at])), sum(map(len, fields[at]))))
        names[label] = "label"
        free.remove(label)
    longest = sorted(sorted(free, key=lambda at: -sum(map(len, fields[at])))[: len(texts)])
    for at, column in zip(longest, texts, strict=False):
        names[at] = column
    return names
