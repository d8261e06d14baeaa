"""A text corpus that comes with Python: the documentation topics and the docstrings of the standard library.

It is read with `ast` from the sources of the running interpreter, so nothing is imported, downloaded or shipped. The
text differs slightly between Python patch releases: report `fingerprint` with every result."""

import ast
import importlib.util
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from tqdm.auto import tqdm

__all__ = [
    "help_topics",
    "is_valid_text",
    "parse_source",
    "read_docstrings",
    "read_stdlib_corpus",
    "stdlib_source_files",
]

# Missing in some distributions, removed or moved between 3.10 and 3.13, or not useful as text.
# fmt: off
EXCLUDED_MODULES = frozenset({
    "antigravity", "asynchat", "asyncore", "binhex", "cgi", "cgitb", "chunk", "crypt", "distutils", "ensurepip",
    "idlelib", "imghdr", "imp", "lib2to3", "mailcap", "msilib", "nntplib", "pipes", "pydoc_data", "smtpd", "sndhdr",
    "sunau", "telnetlib", "test", "this", "tkinter", "tomllib", "turtle", "turtledemo", "uu", "venv", "xdrlib",
})
# fmt: on
EXCLUDED_FOLDERS = frozenset({"test", "tests", "site-packages", "dist-packages", "__pycache__"})
DOCSTRING_NODES = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def help_topics() -> list[str]:
    """The texts of `help("topics")`, sorted by name; an empty list if this Python is installed without them."""
    if importlib.util.find_spec("pydoc_data") is None or importlib.util.find_spec("pydoc_data.topics") is None:
        return []
    from pydoc_data.topics import topics

    return [topics[name].strip() for name in sorted(topics)]


def stdlib_source_files(library: Path) -> list[Path]:
    """Python files of the standard library that every CPython since 3.10 has, in a platform-independent order."""
    modules = sys.stdlib_module_names - EXCLUDED_MODULES
    candidates = (path.relative_to(library) for path in library.rglob("*.py"))
    chosen = [
        path
        for path in candidates
        if path.parts[0].removesuffix(".py") in modules and EXCLUDED_FOLDERS.isdisjoint(path.parts)
    ]
    return [library / path for path in sorted(chosen, key=lambda path: path.as_posix())]


def parse_source(source: str | bytes) -> ast.Module:
    """The syntax tree of source code; an empty one if this Python cannot parse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def read_docstrings(path: Path) -> Iterator[str]:
    """Docstrings of one file from top to bottom, without indentation; none if this Python cannot parse the file."""
    tree = parse_source(path.read_bytes())
    nodes = [node for node in ast.walk(tree) if isinstance(node, DOCSTRING_NODES)]
    for node in sorted(nodes, key=lambda node: getattr(node, "lineno", 0)):
        if docstring := (ast.get_docstring(node) or "").strip():
            yield docstring


def is_valid_text(text: str) -> bool:
    """Whether a text is not empty and can be encoded as UTF-8 (lone surrogates cannot)."""
    return bool(text) and text.encode("utf-8", "ignore").decode() == text


def read_stdlib_corpus(library: Path | None = None) -> list[str]:
    """The unique documents of the running interpreter: about 6,000 with 1.8 MB in all, read in about three seconds.

    `library` is the folder of the standard library (default: the running interpreter's). If it has no sources, as in a
    frozen or embedded Python, only the topics are used. Raises ValueError if both are missing."""
    library = library or Path(sysconfig.get_path("stdlib"))
    files = stdlib_source_files(library)
    progress = tqdm(files, desc="Reading docstrings", unit="file", leave=False)
    found = [text for path in progress for text in read_docstrings(path)]
    documents = [text for text in dict.fromkeys([*help_topics(), *found]) if is_valid_text(text)]
    if not documents:
        raise ValueError(
            f"This Python ({sys.executable}) has neither pydoc_data.topics nor the sources of its standard library "
            f"(looked in {library}), so there is no default text. Pass your own: --train_file my_text.txt"
        )
    return documents
