"""Files in CoNLL columns (Tjong Kim Sang and De Meulder 2003, arXiv:cs/0306050)."""

import re
from collections.abc import Iterator

from ..preprocessing.rows import SourceRow
from .text_files import open_text

__all__ = ["read_conll"]


def read_conll(path: str) -> Iterator[SourceRow]:
    """Sentences of a file in CoNLL columns: `tokens` and `tags`, located at the line of their first word.

    A line holds one word: token first, tag last, other columns between them. All lines have the same number of columns,
    separated by tabs if the file has any, else by spaces. A blank line (empty or white space) or a -DOCSTART- line ends
    a sentence. Comments are skipped: lines that begin with "# ", have no tab, and do not have the number of columns.
    A sentence with another line has a problem. Raises ValueError for a file without words."""
    lines = [(number, "" if line.startswith("-DOCSTART-") else line) for number, line in read_lines(path)]
    data = [(number, line) for number, line in lines if line and not line.startswith("# ")]
    is_tabbed = any("\t" in line for _, line in data)
    separator = re.compile(r" *\t[ \t]*" if is_tabbed else " +")
    number, line = data[0] if data else (1, "")
    width = len(separator.split(line))
    if width < 2:
        raise ValueError(
            f"{path}, line {number}: no token and tag in {line!r}; write one word per line with its tag last, after a "
            "tab or space, and a blank line after each sentence."
        )
    tokens: list[str] = []
    tags: list[str] = []
    first, problem = 0, None
    for number, line in [*lines, (len(lines) + 1, "")]:
        columns = separator.split(line)
        if not line:
            if tokens or problem:
                yield SourceRow(f"{path}, line {first}", {"tokens": tokens, "tags": tags}, problem)
            tokens, tags, first, problem = [], [], 0, None
            continue
        first = first or number
        if len(columns) == width:
            tokens.append(columns[0])
            tags.append(columns[-1])
        elif not line.startswith("# ") or "\t" in line:
            problem = problem or (
                f"has {len(columns)} column(s) in line {number} ({line!r}), but {width} in line {data[0][0]}; every "
                "line "
                f"needs {width} columns, separated by {'tabs' if is_tabbed else 'spaces'}"
            )


def read_lines(path: str) -> Iterator[tuple[int, str]]:
    """(number from 1, stripped text) of every line."""
    # Split at \n only: str.splitlines also splits at characters that occur inside words.
    with open_text(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            yield number, line.strip(" \t\r\n") if line.strip() else ""
