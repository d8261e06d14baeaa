"""The documented functions of the standard library: name, signature, docstring, and code without the docstring."""

import ast
import functools
import importlib.util
import itertools
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from .stdlib_corpus import is_valid_text, parse_source, stdlib_source_files

__all__ = [
    "DocumentedFunction",
    "decode_source",
    "described_names",
    "documented_functions",
    "first_sentence",
    "introduction",
    "stdlib_modules",
]

SELF_PARAMETER = re.compile(r"^(?:self|cls)\b(?:, /)?(?:, )?")
AnyFunction = ast.FunctionDef | ast.AsyncFunctionDef


class DocumentedFunction(NamedTuple):
    """A function, method or class (with the signature of its constructor) that has a docstring."""

    module: str
    """dotted: "asyncio.tasks" """
    name: str
    """qualified within the module: "Task.cancel" """
    signature: str
    """of a call: "cancel(msg=None)" """
    parameters: tuple[str, ...]
    """names without stars, without self and cls"""
    docstring: str
    code: str
    """from the decorators to the last line, without indentation and docstring; empty for classes and empty bodies"""


def stdlib_modules(
    library: Path | None, purpose: str, packages: Sequence[str] | None = None
) -> Iterator[tuple[str, Path]]:
    """(dotted module name, path) of the source files of the standard library, or of some `packages` of it. `purpose` is
    the text of the progress bar. Raises ValueError if there are no sources."""
    library = library or Path(sysconfig.get_path("stdlib"))
    files = stdlib_source_files(library)
    if not files:
        raise ValueError(
            f"This Python ({sys.executable}) has no sources of its standard library (looked in {library}), so "
            "there is no default data for this task. Pass your own: --train_file my_data.jsonl"
        )
    names = [".".join(path.relative_to(library).with_suffix("").parts).removesuffix(".__init__") for path in files]
    modules = list(zip(names, files, strict=True))
    if packages is not None:
        modules = [(name, path) for name, path in modules if name.partition(".")[0] in packages]
    yield from tqdm(modules, desc=purpose, unit="file", leave=False)


def decode_source(path: Path) -> str:
    """The text of a source file, decoded by its coding line; empty if that fails."""
    try:
        return importlib.util.decode_source(path.read_bytes())
    except (SyntaxError, UnicodeDecodeError):
        return ""


def child_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Direct child statements of a module, class, function, loop, branch or handler, in reading order."""
    for block in ("body", "handlers", "orelse", "finalbody"):
        yield from getattr(node, block, ())


def nested_definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, AnyFunction | ast.ClassDef]]:
    """(qualified name, definition) of all classes and functions, nested ones included, in reading order."""
    for child in child_statements(node):
        if isinstance(child, AnyFunction | ast.ClassDef):
            yield prefix + child.name, child
            yield from nested_definitions(child, f"{prefix}{child.name}.")
        else:
            yield from nested_definitions(child, prefix)


def constructor(node: ast.ClassDef) -> AnyFunction | None:
    """`__init__` or `__new__`, if the class body defines one."""
    methods = {child.name: child for child in child_statements(node) if isinstance(child, AnyFunction)}
    return methods.get("__init__", methods.get("__new__"))


@functools.cache
def documented_functions(library: Path | None = None) -> tuple[DocumentedFunction, ...]:
    """All functions with a docstring. Of equal docstrings, only the first in reading order is kept.

    The result (a few MB) is cached, because several datasets are made from it."""
    found: dict[str, DocumentedFunction] = {}
    for module, path in stdlib_modules(library, "Reading functions"):
        text = decode_source(path)
        lines = text.split("\n")
        for name, node in nested_definitions(parse_source(text)):
            docstring = (ast.get_docstring(node) or "").strip()
            function = constructor(node) if isinstance(node, ast.ClassDef) else node
            if function and is_valid_text(docstring) and docstring not in found:
                signature = f"{node.name}({SELF_PARAMETER.sub('', ast.unparse(function.args))})"
                code = "" if isinstance(node, ast.ClassDef) else code_without_docstring(node, lines)
                found[docstring] = DocumentedFunction(
                    module, name, signature, parameter_names(function.args), docstring, code
                )
    return tuple(found.values())


def parameter_names(arguments: ast.arguments) -> tuple[str, ...]:
    """Names in the order of the signature, without self and cls."""
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
    ordered = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]
    return tuple(argument.arg for argument in ordered if argument.arg not in ("self", "cls"))


def code_without_docstring(node: AnyFunction, lines: list[str]) -> str:
    """The source of a function without its docstring and indentation. Empty if nothing else remains, if the docstring
    shares a line with code, or if the code is not valid text."""
    docstring, *rest = node.body
    if not rest or rest[0].lineno <= (docstring.end_lineno or 0) or docstring.lineno == node.lineno:
        return ""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    body = itertools.dropwhile(lambda line: not line.strip(), lines[docstring.end_lineno : node.end_lineno])
    kept = [*lines[first - 1 : docstring.lineno - 1], *body]
    margin = " " * node.col_offset
    code = "\n".join(line.removeprefix(margin).rstrip() for line in kept)
    return code if is_valid_text(code) else ""


# A definition of a name at the start of a line: "- timeout -- seconds", "timeout: seconds", ":param timeout: seconds".
LIST_ITEM = r"[ \t]*(?:[-*+] +)?(?::\w+ +)?['\"`*]{0,2}(?P<name>\w+)['\"`*]{0,2}(?: *\([^()\n]*\))?(?: *:| +--?)(?=\s)"
NEXT_LIST_ITEM = rf"(?!{LIST_ITEM.replace('?P<name>', '')}|[ \t]*(?:[-*+] |:\w))"
DEFINITION = re.compile(
    rf"^{LIST_ITEM}\s+{NEXT_LIST_ITEM}(?P<text>\S.*(?:\n{NEXT_LIST_ITEM}[ \t]*\S.*)*)", re.MULTILINE
)
BULLET = re.compile(r"\s*(?:[-+*]\s+)?")
PARAGRAPH = re.compile(r"\S.*(?:\n[ \t]*\S.*)*")
# Between sentences: a full stop before a capital letter or a mark, a full stop and several spaces, or a new list item.
SENTENCE_BREAK = re.compile(
    r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!cf\.)(?:\s+(?=[A-Z*'`\"(<])|  +|\n)|(?<=:)\n|\n(?=[ \t]*[-*+] )"
)
SIGNATURE = re.compile(r"[\w.]+\(.*\)|[\w-]+ = .*")
# Sentences about a name, the most explicit pattern first.
MENTIONS = [
    re.compile(pattern, re.ASCII)
    for pattern in (
        r"(?<![\w.])['\"`*]{0,2}(\w+)['\"`*]{0,2},? (?:is|are|must|should|may|can|specif\w+|defaults?|gives|contains"
        r"|names|indicates|controls|determines|has|denotes|means|represents|holds|sets|tells) ",
        r"(?:[Aa]rguments?|[Pp]arameters?|[Oo]ptional|[Kk]eyword) ['\"`*]{0,2}(\w+)\b",
        r"\b(\w+)['\"`*]{0,2} (?:argument|parameter|keyword)\b",
        r"(?<![\w.=])['\"`*]{1,2}(\w+)['`*\"]{1,2}(?!\w)",
    )
]
DESCRIPTION_CHARACTERS = range(12, 301)


def sentence_spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of the sentences of a docstring, without bullets; interpreter sessions are skipped."""
    for paragraph in PARAGRAPH.finditer(text):
        if ">>>" in paragraph[0]:
            continue
        gaps = [(gap.start(), gap.end()) for gap in SENTENCE_BREAK.finditer(text, paragraph.start(), paragraph.end())]
        edges = [paragraph.start(), *(edge for gap in gaps for edge in gap), paragraph.end()]
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            yield start + len(BULLET.match(text, start, end)[0]), end  # pyright: ignore[reportOptionalSubscript]


def described_names(docstring: str) -> dict[str, tuple[int, int]]:
    """(start, end) of the phrase that describes each name that the docstring says something about.

    The phrase is a definition after the name, or else the first sentence that has the name as its subject, next to the
    word "argument", or in quotation marks. Names need not be parameters; the caller selects."""
    found: dict[str, tuple[int, int]] = {}
    for definition in DEFINITION.finditer(docstring):
        found.setdefault(definition["name"], definition.span("text"))
    spans = list(sentence_spans(docstring))
    for mention in MENTIONS:
        for start, end in spans:
            for name in mention.findall(docstring, start, end):
                found.setdefault(name, (start, end))
    return {name: (start, end) for name, (start, end) in found.items() if end - start in DESCRIPTION_CHARACTERS}


def first_sentence(docstring: str) -> str:
    """The first sentence of a docstring on one line; empty if the docstring begins with a signature, an interpreter
    session or a single word."""
    text = first_paragraph(docstring)
    gap = SENTENCE_BREAK.search(text)
    return text[: gap.start()] if gap else text


def introduction(docstring: str) -> str:
    """The first paragraph of a docstring on one line; only its first sentence if it is longer than 300 characters."""
    text = first_paragraph(docstring)
    return text if len(text) in DESCRIPTION_CHARACTERS else first_sentence(docstring)


def first_paragraph(docstring: str) -> str:
    text = " ".join(docstring.split("\n\n", 1)[0].split())
    is_prose = text[0].isalpha() and " " in text and not any(mark in text for mark in (">>>", "->", "):"))
    return text if is_prose and not SIGNATURE.fullmatch(text) else ""
