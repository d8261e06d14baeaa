"""JSON files: one row per line, a list of rows, or SQuAD's nesting (versions 1.1 and 2.0)."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ..preprocessing.rows import SourceRow
from .text_files import open_text

__all__ = ["read_json"]

DECODER = json.JSONDecoder()
BEGINNING = 4096
SPACE: Any = re.compile(r"\s*")


def read_json(path: str, is_lines: bool) -> Iterator[SourceRow]:
    """The rows of a file. `is_lines`: one per line, unless the file is a list; else the layout is recognised. Raises
    ValueError for a file that is no JSON."""
    with open_text(path) as file:
        is_list = file.read(BEGINNING).lstrip().startswith("[")
    if (is_lines and not is_list) or starts_with_a_row(path):
        yield from json_lines(path)
        return
    with open_text(path) as file:
        text = file.read()
    try:
        content = DECODER.decode(text)
    except json.JSONDecodeError:
        yield from concatenated_rows(path, text)
        return
    if isinstance(content, dict) and isinstance(content.get("data"), list):
        articles = content["data"]
        if articles and all(isinstance(item, dict) and "paragraphs" in item for item in articles):
            yield from squad_rows(path, articles)
            return
        content = articles
    for number, row in enumerate(content if isinstance(content, list) else [content], start=1):
        yield json_row(f"{path}, row {number}", row)


def starts_with_a_row(path: str) -> bool:
    """Whether the first line is an object, and there is a second line."""
    with open_text(path) as file:
        first, second = file.readline(), file.readline()
    try:
        return isinstance(DECODER.decode(first), dict) and bool(second)
    except json.JSONDecodeError:
        return False


def json_lines(path: str) -> Iterator[SourceRow]:
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            location = f"{path}, line {number}"
            try:
                yield json_row(location, DECODER.decode(line))
            except json.JSONDecodeError as error:
                yield SourceRow(location, {}, f"is no JSON object: {error.msg} at character {error.pos + 1}")


def concatenated_rows(path: str, text: str) -> Iterator[SourceRow]:
    """Objects that take several lines each, one after the other."""
    line, end = 1, 0
    while (start := SPACE.match(text, end).end()) < len(text):
        line += text.count("\n", end, start)
        try:
            row, end = DECODER.raw_decode(text, start)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {error.lineno} is no JSON: {error.msg}.") from error
        yield json_row(f"{path}, line {line}", row)
        line += text.count("\n", start, end)


def json_row(location: str, row: Any) -> SourceRow:
    if isinstance(row, dict):
        return SourceRow(location, row)
    return SourceRow(location, {}, f"is no object with named values: {str(row)[:60]!r}")


def squad_rows(path: str, articles: list[dict[str, Any]]) -> Iterator[SourceRow]:
    """One row per question: id, title, context, question, answers, is_impossible."""
    for article in articles:
        for paragraph in article["paragraphs"]:
            for number, question in enumerate(paragraph.get("qas") or (), start=1):
                location = f"{path}, question {question.get('id', number)}"
                shared = {"title": article.get("title", ""), "context": paragraph.get("context")}
                yield SourceRow(location, shared | question)
