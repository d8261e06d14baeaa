"""Files in CoNLL columns (Tjong Kim Sang and De Meulder 2003, arXiv:cs/0306050)."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["read_conll"]


def read_conll(path: str | Path) -> dict[str, list[list[str]]]:
    """Sentences of a file in CoNLL columns: `tokens` and `tags`, each a list of lists.

    A line holds one word: token first, tag last, other columns between them. All lines have the same number of columns,
    separated by tabs if the file has any, else by spaces. A blank line (empty or white space) or a -DOCSTART- line ends
    a sentence. Comments are skipped: lines that begin with "# ", have no tab, and do not have the number of columns.
    Raises ValueError with file and line for other lines, for bytes that are not UTF-8, and for a file without words."""
    lines = [(number, "" if line.startswith("-DOCSTART-") else line) for number, line in read_lines(Path(path))]
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
    tokens, tags = [[]], [[]]
    for number, line in lines:
        columns = separator.split(line)
        if not line:
            tokens.append([])
            tags.append([])
        elif len(columns) == width:
            tokens[-1].append(columns[0])
            tags[-1].append(columns[-1])
        elif not line.startswith("# ") or "\t" in line:
            raise ValueError(
                f"{path}, line {number}: {len(columns)} column(s) in {line!r}, but {width} in line {data[0][0]}; every "
                f"line needs {width} columns, separated by {'tabs' if is_tabbed else 'spaces'}."
            )
    return {"tokens": [row for row in tokens if row], "tags": [row for row in tags if row]}


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, stripped text) of every line. Raises ValueError for bytes that are not UTF-8."""
    # Split at \n only: str.splitlines also splits at characters that occur inside words.
    content = gzip.decompress(path.read_bytes()) if path.suffix.lower() == ".gz" else path.read_bytes()
    for number, raw in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}, line {number} is not UTF-8: byte 0x{raw[error.start]:02X} at position {error.start}. Convert "
                f"the file, for instance: iconv -f LATIN1 -t UTF-8 {path} > utf8_{path.name}"
            ) from error
        yield number, line.strip(" \t\r") if line.strip() else ""
