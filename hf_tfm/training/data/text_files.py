"""Opens text files: plain or .gz; UTF-8, or UTF-16 and UTF-32 with a byte order mark. Other encodings are refused with
the command that converts the file."""

import codecs
import gzip
import shlex
from pathlib import Path
from typing import IO, Any, TextIO

__all__ = ["check_encoding", "open_bytes", "open_text"]

# UTF-32 first: its little-endian mark begins with that of UTF-16.
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
CHUNK = 1 << 20


def open_bytes(path: str) -> IO[bytes]:
    return gzip.open(path) if path.lower().endswith(".gz") else Path(path).open("rb")  # type: ignore[return-value]


def open_text(path: str, newline: str | None = None) -> TextIO:
    """A text file without its byte order mark. `newline`: as in `open`."""
    file: Any = gzip.open if path.lower().endswith(".gz") else open
    return file(path, "rt", encoding=encoding_of(path), newline=newline)


def encoding_of(path: str) -> str:
    with open_bytes(path) as file:
        start = file.read(4)
    return next((encoding for mark, encoding in BYTE_ORDER_MARKS.items() if start.startswith(mark)), "utf-8")


def check_encoding(path: str) -> None:
    """Raises ValueError with line and remedy for a file that is not text in a known encoding, has NUL characters, or
    cannot be unpacked."""
    try:
        with open_text(path) as file:
            while chunk := file.read(CHUNK):
                if "\0" in chunk:
                    raise ValueError(nul_message(path))
    except UnicodeDecodeError as error:
        raise ValueError(encoding_message(path)) from error
    except UnicodeError as error:
        raise ValueError(f"{path} is not valid {encoding_of(path).upper()}: {error}.") from error
    except (gzip.BadGzipFile, EOFError) as error:
        raise ValueError(f"{path} cannot be unpacked: {error}") from error


def nul_message(path: str) -> str:
    encoding = utf16_without_mark(path)
    if encoding:
        return f"{path} looks like {encoding} without a byte order mark. Convert it: {conversion(path, encoding)}"
    with open_text(path) as file:
        line = next(number for number, line in enumerate(file, start=1) if "\0" in line)
    return f"{path}, line {line} has a NUL character, so it is not plain text; remove the line, or give another file."


def encoding_message(path: str) -> str:
    encoding = encoding_of(path)
    if encoding.startswith(("utf-16", "utf-32")):
        return f"{path} begins as {encoding.upper()}, and is damaged or cut off; save it again."
    if found := utf16_without_mark(path):
        return f"{path} looks like {found} without a byte order mark. Convert it: {conversion(path, found)}"
    with open_bytes(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return (
                    f"{path} is not UTF-8: byte 0x{line[error.start]:02X} in line {number}. Convert the file, for "
                    f"instance: {conversion(path, 'LATIN1')}"
                )
    return f"{path} is not UTF-8: its end is cut off; save it again."


def utf16_without_mark(path: str) -> str | None:
    """UTF-16LE or UTF-16BE if NUL bytes are frequent and nearly all at odd or at even places, as in both for line
    breaks, blanks and Latin letters; else None."""
    with open_bytes(path) as file:
        start = file.read(CHUNK)
    low, high = start[::2].count(0), start[1::2].count(0)
    if max(low, high) < max(4, len(start) // 100) or min(low, high) * 10 > max(low, high):
        return None
    return "UTF-16LE" if high > low else "UTF-16BE"


def conversion(path: str, encoding: str) -> str:
    """The command that writes a UTF-8 copy of a file."""
    name = Path(path).name
    if path.lower().endswith(".gz"):
        return f"gunzip -c {shlex.quote(path)} | iconv -f {encoding} -t UTF-8 > {shlex.quote('utf8_' + name[:-3])}"
    return f"iconv -f {encoding} -t UTF-8 {shlex.quote(path)} > {shlex.quote('utf8_' + name)}"
