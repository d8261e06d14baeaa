"""A data set for every training task from what every Python carries: no network, no shipped text, no arguments.

Rows come from the running interpreter's own sources, so they differ a little between Python patch releases: report a
fingerprint beside every result. Splits are for the caller to cut, by a hash of each row's `split_column`."""

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from ..utils.hashing import content_digest
from .code_tokens import tag_code_blocks
from .date_pairs import date_pairs
from .stdlib_corpus import is_valid_text, parse_source, read_docstrings, read_stdlib_corpus
from .stdlib_functions import (
    DocumentedFunction,
    decode_source,
    described_names,
    documented_functions,
    first_sentence,
    introduction,
    stdlib_modules,
)

__all__ = [
    "BUILTIN_DATASETS",
    "BuiltinDataset",
    "code_summaries",
    "conversations",
    "documentation",
    "labelled_docstrings",
    "questions",
    "summary_choices",
    "token_types",
]

Item = TypeVar("Item")
# Packages with more than a hundred docstrings that every CPython from 3.10 on and every Linux distribution carries.
LABELLED_PACKAGES = (
    "_pydecimal asyncio email http importlib logging mailbox multiprocessing tarfile unittest urllib xml".split()
)
MIN_WORDS = 6
MAX_CODE_CHARACTERS = 600
MAX_SUMMARY_CHARACTERS = 120
MAX_CONTEXT_CHARACTERS = 1_200


def sample_by_hash(pool: Sequence[Item], count: int, *key: str) -> list[Item]:
    """`count` members of the pool (all, if it has no more) in an order that depends on the key's text alone."""
    number = int.from_bytes(content_digest("\n".join(key)), "big")
    left, drawn = list(pool), []
    while left and len(drawn) < count:
        number, index = divmod(number, len(left))
        drawn.append(left.pop(index))
    return drawn


def documentation(library: Path | None = None) -> list[dict[str, str]]:
    """6,000 rows {"text": document}: the documentation topics and the docstrings of the standard library."""
    return [{"text": text} for text in read_stdlib_corpus(library).documents]


def labelled_docstrings(library: Path | None = None) -> list[dict[str, str]]:
    """2,500 rows {"text": docstring, "label": package}, one of `LABELLED_PACKAGES`. Split by "text".

    No two texts are alike; those that occur in two packages are left out. Raises ValueError without sources."""
    found: dict[str, set[str]] = {}
    for module, path in stdlib_modules(library, "Reading labelled docstrings", LABELLED_PACKAGES):
        for text in filter(is_valid_text, read_docstrings(path)):
            found.setdefault(text, set()).add(module.partition(".")[0])
    return [{"text": text, "label": label} for text, (label, *others) in found.items() if not others]


def code_summaries(library: Path | None = None) -> list[dict[str, str]]:
    """3,000 rows {"source": function without docstring, "target": the docstring's first sentence}. Split by "target".

    Code of up to 600 characters, summaries of up to 120; no two codes and no two summaries are alike.
    Raises ValueError without sources."""
    found = functions_with_summaries(library)
    return [{"source": code, "target": text} for function, code, text in found if code == function.code]


def functions_with_summaries(library: Path | None) -> list[tuple[DocumentedFunction, str, str]]:
    """(function, beginning of its code, summary of up to 120 characters), wherever there are both; no two codes are
    alike, and no two summaries, whatever their case and punctuation."""
    found = []
    seen: set[str] = set()
    for function in documented_functions(library):
        code, text = truncate_code(function.code), first_sentence(function.docstring)
        words = " ".join(re.findall(r"\w+", text.lower()))
        if code and 0 < len(text) <= MAX_SUMMARY_CHARACTERS and seen.isdisjoint((code, words)):
            seen |= {code, words}
            found.append((function, code, text))
    return found


def truncate_code(code: str) -> str:
    """Whole lines of up to 600 characters in all."""
    if len(code) <= MAX_CODE_CHARACTERS:
        return code
    return code[:MAX_CODE_CHARACTERS].rpartition("\n")[0].rstrip()


def token_types(library: Path | None = None) -> list[dict[str, list[str]]]:
    """9,900 rows {"tokens": words of code, "tags": what each is}, 6 to 40 words each. Split by "tokens".

    A name is a function or class where it is defined, a parameter (also where it is used), an argument (name=value in a
    call), attribute, call, decorator, import or variable; the rest are keyword, number, operator, string and comment.
    Raises ValueError without sources."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for _, path in stdlib_modules(library, "Reading token types"):
        text = decode_source(path)
        for words, tags in tag_code_blocks(parse_source(text), text.split("\n")):
            if len(words) >= MIN_WORDS and is_valid_text("".join(words)):
                rows.setdefault(tuple(words), tags)
    return [{"tokens": list(words), "tags": tags} for words, tags in rows.items()]


QUESTIONS = (
    "What is {parameter} of {function}?",
    "What does {parameter} mean in {function}?",
    "What does {function} say about {parameter}?",
    "How is the parameter {parameter} of {function} described?",
    "What should be passed to {function} as {parameter}?",
)


def questions(library: Path | None = None) -> list[dict[str, Any]]:
    """2,200 rows {"id", "context", "question", "answers"} as in SQuAD v2. Split by "context".

    The context is a signature and its docstring, up to 1,200 characters; a question for each parameter that it
    describes has the answer {"text": [phrase], "answer_start": [its place]}. One row in five asks for what the
    docstring never names: two empty lists. Raises ValueError without sources."""
    functions = documented_functions(library)
    names = list(dict.fromkeys(name for function in functions for name in function.parameters))
    rows = []
    for function in functions:
        context = f"{function.signature}\n\n{function.docstring}"
        offset = len(context) - len(function.docstring)
        spans = described_names(function.docstring) if len(context) <= MAX_CONTEXT_CHARACTERS else {}
        described = [name for name in function.parameters if name in spans]
        for name in described:
            start, end = spans[name]
            answers = {"text": [function.docstring[start:end]], "answer_start": [offset + start]}
            rows.append(make_question(function, context, name, answers))
        # one in four, so that one row in five has no answer
        count = sum(sample_by_hash((1, 0, 0, 0), 1, context, name)[0] for name in described)
        for name in unmentioned_names(function, names, count):
            rows.append(make_question(function, context, name, {"text": [], "answer_start": []}))
    return rows


def make_question(
    function: DocumentedFunction, context: str, parameter: str, answers: dict[str, list[Any]]
) -> dict[str, Any]:
    asked = sample_by_hash(QUESTIONS, 1, context, parameter)[0].format(parameter=parameter, function=function.name)
    identity = content_digest(f"{context}\n{asked}").hex()
    return {"id": identity, "context": context, "question": asked, "answers": answers}


def unmentioned_names(function: DocumentedFunction, names: list[str], count: int) -> list[str]:
    """Names that a docstring does not contain: the function's own parameters first, then those of other functions."""
    candidates = [*function.parameters, *sample_by_hash(names, 20, function.docstring)] if count else []
    words = set(re.findall(r"\w+", function.docstring.lower()))
    return [name for name in dict.fromkeys(candidates) if name.lower() not in words][:count]


def summary_choices(library: Path | None = None) -> list[dict[str, Any]]:
    """3,800 rows {"stem": the first two lines of a function, "choices": four summaries, "label": 0 to 3}. Split by
    "stem".

    The docstring and decorators are left out, and the wrong summaries are those of any other functions. Each label is
    that of a quarter of the rows. No two right choices are alike; a stem that begins two functions is left out.
    Raises ValueError without sources."""
    found: dict[str, list[str]] = defaultdict(list)
    for _, code, text in functions_with_summaries(library):
        found[function_head(code)].append(text)
    own = {stem: texts[0] for stem, texts in found.items() if len(texts) == 1}
    label_of = {stem: rank % 4 for rank, stem in enumerate(sorted(own, key=content_digest))}
    every, rows = list(own.values()), []
    for stem, text in own.items():
        choices = [other for other in sample_by_hash(every, 4, stem) if other != text][:3]
        choices.insert(label_of[stem], text)
        rows.append({"stem": stem, "choices": choices, "label": label_of[stem]})
    return rows


def function_head(code: str) -> str:
    """The line of `def` and the next one, without the decorators before."""
    lines = itertools.dropwhile(lambda line: not line.startswith(("def ", "async def ")), code.split("\n"))
    return "\n".join(itertools.islice(lines, 2)).rstrip()


SYSTEM_MESSAGES = (
    "You answer questions about Python's standard library.",
    "You are a helpful assistant who knows the documentation of Python.",
    "Answer briefly, in the words of the documentation.",
)
ABOUT_FUNCTION = (
    "What does {function} from {module} do?",
    "What is {function} in the module {module} for?",
    "Explain {function} ({module}).",
    "I found {function} in {module}. What is it?",
)
ABOUT_MODULE = ("Which module has {function}?", "Where do I find {function}?", "Where is {function} defined?")
ABOUT_PARAMETER = (
    "What is its parameter {parameter}?",
    "And what does {parameter} mean?",
    "What should I pass as {parameter}?",
    "Tell me about {parameter}.",
)
ABOUT_SIGNATURE = ("How is it called?", "What is its signature?", "Which parameters does it take?")


def conversations(library: Path | None = None) -> list[dict[str, list[dict[str, str]]]]:
    """4,800 rows {"messages": [{"role", "content"}, ...]}. Split by "messages".

    One to three questions by "user" and answers by "assistant", in one row of four after a message by "system". A row
    is about one function, and no two are about the same docstring: what it does, and then its module, its
    signature or a parameter. Raises ValueError without sources."""
    rows = []
    for function in documented_functions(library):
        if answer := introduction(function.docstring):
            [system] = sample_by_hash((True, False, False, False), 1, function.docstring, "system")
            messages = (
                [make_message("system", *sample_by_hash(SYSTEM_MESSAGES, 1, function.docstring))] if system else []
            )
            for asked, answered in make_turns(function, answer):
                messages += [make_message("user", asked), make_message("assistant", answered)]
            rows.append({"messages": messages})
    return rows


def make_message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def make_turns(function: DocumentedFunction, about: str) -> list[tuple[str, str]]:
    """One to three questions about a function, with their answers."""

    def ask(templates: Sequence[str], parameter: str = "") -> str:
        [template] = sample_by_hash(templates, 1, function.docstring, parameter)
        return template.format(function=f"`{function.name}`", module=f"`{function.module}`", parameter=f"`{parameter}`")

    is_called = not function.code.startswith("@property")
    follow_ups = [(ask(ABOUT_SIGNATURE), f"`{function.signature}`")] if is_called else []
    spans = described_names(function.docstring)
    for name in filter(spans.__contains__, function.parameters):
        start, end = spans[name]
        phrase = " ".join(function.docstring[start:end].split())
        # it would be said twice
        if phrase not in about:
            follow_ups.append((ask(ABOUT_PARAMETER, name), phrase))
    [count] = sample_by_hash((0, 1, 2), 1, function.docstring, "turns")
    chosen = sample_by_hash(follow_ups, count, function.docstring)
    if len(chosen) == count:
        return [(ask(ABOUT_FUNCTION), about), *chosen]
    place = f"`{function.name}` is in the module `{function.module}`."
    return [(ask(ABOUT_MODULE), place), ("What does it do?", about), *chosen]


class BuiltinDataset(NamedTuple):
    """One data set of this file."""

    read: Callable[[], list[dict[str, Any]]]
    split_column: str
    """rows that agree in this column belong to the same split; as JSON where it holds a list"""
    description: str
    """for a model card: "trained on ..." """


BUILTIN_DATASETS: dict[str, BuiltinDataset] = {
    "documentation": BuiltinDataset(
        documentation, "text", "documentation topics and docstrings of the standard library"
    ),
    "labelled_docstrings": BuiltinDataset(
        labelled_docstrings, "text", "docstrings of twelve packages of Python's standard library"
    ),
    "date_pairs": BuiltinDataset(date_pairs, "target", "dates from 1900 to 2099 in fourteen formats, made by rules"),
    "code_summaries": BuiltinDataset(
        code_summaries, "target", "functions of Python's standard library and the first sentences of their docstrings"
    ),
    "token_types": BuiltinDataset(
        token_types, "tokens", "code of Python's standard library and the types of its tokens"
    ),
    "questions": BuiltinDataset(
        questions, "context", "questions about parameters, made by rules, on docstrings of Python's standard library"
    ),
    "summary_choices": BuiltinDataset(
        summary_choices, "stem", "functions of Python's standard library with four summaries each, one of them right"
    ),
    "conversations": BuiltinDataset(
        conversations, "messages", "conversations made by rules from docstrings of Python's standard library"
    ),
}
