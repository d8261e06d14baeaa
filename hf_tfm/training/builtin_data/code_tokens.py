"""Words of Python code with their types: keyword, parameter, call, word of a comment, and so on."""

import ast
import contextlib
import itertools
import keyword
import re
import tokenize
from collections.abc import Iterator
from typing import NamedTuple

from .stdlib_functions import AnyFunction, nested_definitions, parameter_names

__all__ = ["TOKEN_TAGS", "tag_code_blocks"]

TOKEN_TAGS = (
    "keyword function class parameter argument attribute call decorator import variable number string comment operator"
).split()
MAX_WORDS = 40
WORD_PATTERN = re.compile(r"\w+|[^\w\s]")
# f-strings are one token up to Python 3.11, and several since 3.12.
FSTRING_START, FSTRING_END = getattr(tokenize, "FSTRING_START", None), getattr(tokenize, "FSTRING_END", None)
UNNAMED_NODES = (ast.expr_context, ast.Constant, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
Position = tuple[int, int]
"""line, from 1, and column in bytes, as in syntax trees"""


class TaggedWord(NamedTuple):
    """A token, or a word of a string or comment. The tag is empty if it must come from the syntax tree."""

    text: str
    tag: str
    line: int
    column: int
    """in characters"""


class CodeBlock(NamedTuple):
    """Consecutive lines of a file: a definition, or statements between definitions."""

    nodes: list[ast.stmt]
    first_line: int
    last_line: int
    is_definition: bool


def tag_code_blocks(tree: ast.Module, lines: list[str]) -> Iterator[tuple[list[str], list[str]]]:
    """(words, tags) of whole statements, up to 40 words at a time, from two of three blocks: the beginning of functions
    and classes, and all statements between them. Strings and comments are split into words; docstrings are left out."""
    for number, block in enumerate(split_blocks(tree)):
        if number % 3 == 2:
            continue
        rows = pack_lines(logical_lines(lines, block.first_line, block.last_line))
        for words in itertools.islice(rows, 1) if block.is_definition else rows:
            # If the first line of a definition is too long, the first row comes from its body and is dropped.
            if not block.is_definition or words[0].line == block.first_line:
                tags = tags_from_syntax_tree(block.nodes, words[-1].line)
                yield [word.text for word in words], [word.tag or syntax_tag(word, tags, lines) for word in words]


def split_blocks(tree: ast.Module) -> Iterator[CodeBlock]:
    """All definitions of a file (a class ends before its first method), then the statements between its top-level
    definitions."""
    for _, node in nested_definitions(tree):
        last_line = node.end_lineno or node.lineno
        if isinstance(node, ast.ClassDef):
            last_line = min([last_line, *(first_line(inner) - 1 for _, inner in nested_definitions(node))])
        yield CodeBlock([node], first_line(node), last_line, is_definition=True)
    for is_definition, run in itertools.groupby(tree.body, key=contains_definition):
        if not is_definition:
            nodes = list(run)
            yield CodeBlock(nodes, nodes[0].lineno, nodes[-1].end_lineno or nodes[-1].lineno, is_definition=False)


def first_line(node: AnyFunction | ast.ClassDef) -> int:
    """The first line of a definition, including its decorators."""
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def contains_definition(node: ast.stmt) -> bool:
    """Whether a statement is or contains a definition."""
    return isinstance(node, AnyFunction | ast.ClassDef) or any(True for _ in nested_definitions(node))


def logical_lines(lines: list[str], first: int, last: int) -> Iterator[list[TaggedWord]]:
    """Words of the statements and headers in a range of lines, each with the comments above it; without docstrings."""
    words: list[TaggedWord] = []
    code: list[str] = []  # all tokens but strings and comments
    for kind, text, line, column in tokens_with_whole_fstrings(lines, first, last):
        if kind == tokenize.NEWLINE:
            if code:
                yield words
            words, code = [], []
        elif kind == tokenize.NAME:
            words.append(TaggedWord(text, tag_from_context(code, text), line, column))
            code.append(text)
        elif kind == tokenize.OP or kind == tokenize.NUMBER:
            words.append(TaggedWord(text, "operator" if kind == tokenize.OP else "number", line, column))
            code.append(text)
        elif kind == tokenize.STRING or kind == tokenize.COMMENT:
            tag = "string" if kind == tokenize.STRING else "comment"
            words += [TaggedWord(word, tag, line, column) for word in WORD_PATTERN.findall(text)]


def tokens_with_whole_fstrings(lines: list[str], first: int, last: int) -> Iterator[tuple[int, str, int, int]]:
    """(type, text, line, column) of the tokens in a range of lines, f-strings as one token; stops at invalid code."""
    source = iter([f"{line}\n" for line in lines[first - 1 : last]])
    start, depth = (0, 0), 0
    with contextlib.suppress(tokenize.TokenError, SyntaxError):
        for kind, text, begin, end, _ in tokenize.generate_tokens(lambda: next(source, "")):
            if kind == FSTRING_START:
                start, depth = (start if depth else begin), depth + 1
            elif kind == FSTRING_END:
                depth -= 1
                if not depth:
                    inside = lines[first + start[0] - 2 : first + end[0] - 1]
                    inside[-1] = inside[-1][: end[1]]
                    inside[0] = inside[0][start[1] :]
                    yield tokenize.STRING, "\n".join(inside), first - 1 + start[0], start[1]
            elif not depth:
                yield kind, text, first - 1 + begin[0], begin[1]


def tag_from_context(code: list[str], name: str) -> str:
    """The tag of a name if the code before it in its line decides it, else an empty string."""
    if keyword.iskeyword(name):
        return "keyword"
    if code and code[-1] in ("def", "class"):
        return "function" if code[-1] == "def" else "class"
    return "import" if code and code[0] in ("import", "from") else ""


def pack_lines(lines: Iterator[list[TaggedWord]]) -> Iterator[list[TaggedWord]]:
    """Joins lines to rows of up to 40 words; longer lines are left out."""
    row: list[TaggedWord] = []
    for words in lines:
        if len(row) + len(words) > MAX_WORDS:
            if row:
                yield row
            row = []
        if len(words) <= MAX_WORDS:
            row = row + words
    if row:
        yield row


def tags_from_syntax_tree(nodes: list[ast.stmt], last_line: int) -> dict[Position, str]:
    """Tags of names by position, up to a line. A parameter keeps its tag everywhere in its function."""
    tags: dict[Position, str] = {}
    stack: list[tuple[ast.AST, frozenset[str]]] = [(node, frozenset()) for node in nodes]
    while stack:
        node, parameters = stack.pop()
        if isinstance(node, UNNAMED_NODES) or getattr(node, "lineno", 0) > last_line:
            continue
        # A call is visited before its function's name, so setdefault keeps the tag "call".
        if isinstance(node, ast.Name):
            tags.setdefault(name_position(node), "parameter" if node.id in parameters else "variable")
            continue
        if isinstance(node, ast.Attribute):
            tags.setdefault(name_position(node), "attribute")
        elif isinstance(node, ast.Call):
            tags.setdefault(name_position(node.func), "call")
        elif isinstance(node, ast.arg | ast.keyword):
            tags[node.lineno, node.col_offset] = "parameter" if isinstance(node, ast.arg) else "argument"
        elif isinstance(node, AnyFunction | ast.Lambda):
            parameters |= {"self", "cls", *parameter_names(node.args)}
        for decorator in getattr(node, "decorator_list", ()):
            tags[name_position(decorator.func if isinstance(decorator, ast.Call) else decorator)] = "decorator"
        stack += [(child, parameters) for child in ast.iter_child_nodes(node)]
    return tags


def name_position(node: ast.expr) -> Position:
    """Position of the name in an expression: of `c` in `a.b.c`."""
    if isinstance(node, ast.Attribute):
        return node.end_lineno or 0, (node.end_col_offset or 0) - len(node.attr.encode())
    return node.lineno, node.col_offset


def syntax_tag(word: TaggedWord, tags: dict[Position, str], lines: list[str]) -> str:
    """The tag of a name from the syntax tree. Names without a node are soft keywords, or bound by `except`, `global` or
    a pattern."""
    column = len(lines[word.line - 1][: word.column].encode())
    return tags.get((word.line, column), "keyword" if keyword.issoftkeyword(word.text) else "variable")
