"""A dataset for every training task, made from files that come with Python: no download and no shipped text.

Rows come from the sources of the running interpreter, so they differ slightly between Python patch releases: report a
fingerprint with every result. The caller assigns rows to splits by a hash of `split_column`."""

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
    "function_descriptions",
    "labelled_docstrings",
    "questions",
    "summary_choices",
    "token_types",
]

Item = TypeVar("Item")
# Packages with more than 100 docstrings, in every CPython since 3.10 and every Linux distribution.
LABELLED_PACKAGES = (
    "_pydecimal asyncio email http importlib logging mailbox multiprocessing tarfile unittest urllib xml".split()
)
MIN_WORDS = 6
MAX_CODE_CHARACTERS = 600
MAX_SUMMARY_CHARACTERS = 120
MAX_CONTEXT_CHARACTERS = 1_200


def sample_by_hash(pool: Sequence[Item], count: int, *key: str) -> list[Item]:
    """Up to `count` items of the pool. Which ones, and in which order, depends only on the text of `key`."""
    number = int.from_bytes(content_digest("\n".join(key)), "big")
    remaining, sampled = list(pool), []
    while remaining and len(sampled) < count:
        number, index = divmod(number, len(remaining))
        sampled.append(remaining.pop(index))
    return sampled


def documentation(library: Path | None = None) -> list[dict[str, str]]:
    """6,000 rows {"text": document}: the documentation topics and the docstrings of the standard library."""
    return [{"text": text} for text in read_stdlib_corpus(library)]


def labelled_docstrings(library: Path | None = None) -> list[dict[str, str]]:
    """2,500 rows {"text": docstring, "label": package}, one of `LABELLED_PACKAGES`. Split by "text".

    Texts are unique, and texts of two packages are left out. Raises ValueError if Python has no sources."""
    found: dict[str, set[str]] = {}
    for module, path in stdlib_modules(library, "Reading labelled docstrings", LABELLED_PACKAGES):
        for text in filter(is_valid_text, read_docstrings(path)):
            found.setdefault(text, set()).add(module.partition(".")[0])
    return [{"text": text, "label": label} for text, (label, *others) in found.items() if not others]


def code_summaries(library: Path | None = None) -> list[dict[str, str]]:
    """3,000 rows {"source": function without docstring, "target": the docstring's first sentence}. Split by "target".

    Functions have up to 600 characters and summaries up to 120; both are unique.
    Raises ValueError if Python has no sources."""
    found = functions_with_summaries(library)
    return [{"source": code, "target": text} for function, code, text in found if code == function.code]


def functions_with_summaries(library: Path | None) -> list[tuple[DocumentedFunction, str, str]]:
    """(function, beginning of its code, summary of up to 120 characters) of all functions that have both. Codes are
    unique, and so are summaries, compared without case and punctuation."""
    found = []
    seen: set[str] = set()
    for function in documented_functions(library):
        code, text = truncate_code(function.code), first_sentence(function.docstring)
        normalized = normalized_words(text)
        if code and 0 < len(text) <= MAX_SUMMARY_CHARACTERS and seen.isdisjoint((code, normalized)):
            seen |= {code, normalized}
            found.append((function, code, text))
    return found


def normalized_words(text: str) -> str:
    """The words of a text in lower case, without punctuation."""
    return " ".join(re.findall(r"\w+", text.lower()))


def function_descriptions(library: Path | None = None) -> list[dict[str, str]]:
    """4,400 rows {"anchor": name and signature, "positive": the docstring's first sentence, "group": package}. Split by
    "group", since modules of a package describe their functions in similar words.

    Sentences have up to 120 characters and are unique without case and punctuation; so are names and signatures, such
    as "asyncio.tasks.Task.cancel(msg=None)". Raises ValueError if Python has no sources."""
    rows = []
    seen: set[str] = set()
    for function in documented_functions(library):
        owner = f"{function.module}.{function.name}".rpartition(".")[0]
        anchor, text = f"{owner}.{function.signature}", first_sentence(function.docstring)
        normalized = normalized_words(text)
        if 0 < len(text) <= MAX_SUMMARY_CHARACTERS and seen.isdisjoint((anchor, normalized)):
            seen |= {anchor, normalized}
            rows.append({"anchor": anchor, "positive": text, "group": function.module.partition(".")[0]})
    return rows


def truncate_code(code: str) -> str:
    """As many whole lines as fit into 600 characters."""
    if len(code) <= MAX_CODE_CHARACTERS:
        return code
    return code[:MAX_CODE_CHARACTERS].rpartition("\n")[0].rstrip()


def token_types(library: Path | None = None) -> list[dict[str, list[str]]]:
    """9,900 rows {"tokens": words of code, "tags": their types}, 6 to 40 words each. Split by "tokens".

    Tags of names: function or class (where it is defined), parameter (also where it is used), argument (name=value in a
    call), attribute, call, decorator, import and variable. Other tags: keyword, number, operator, string and comment.
    Raises ValueError if Python has no sources."""
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

    The context is a signature and its docstring, up to 1,200 characters. Each question about a parameter that the
    docstring describes has the answer {"text": [phrase], "answer_start": [its position]}. One row in five asks about a
    name that the docstring does not contain, and has two empty lists. Raises ValueError if Python has no sources."""
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
        # One unanswerable question for four answerable ones, so one row in five has no answer.
        count = sum(sample_by_hash((1, 0, 0, 0), 1, context, name)[0] for name in described)
        for name in unmentioned_names(function, names, count):
            rows.append(make_question(function, context, name, {"text": [], "answer_start": []}))
    return rows


def make_question(
    function: DocumentedFunction, context: str, parameter: str, answers: dict[str, list[Any]]
) -> dict[str, Any]:
    [template] = sample_by_hash(QUESTIONS, 1, context, parameter)
    question = template.format(parameter=parameter, function=function.name)
    question_id = content_digest(f"{context}\n{question}").hex()
    return {"id": question_id, "context": context, "question": question, "answers": answers}


def unmentioned_names(function: DocumentedFunction, names: list[str], count: int) -> list[str]:
    """Names that the docstring does not contain: first the function's own parameters, then those of other functions."""
    candidates = [*function.parameters, *sample_by_hash(names, 20, function.docstring)] if count else []
    words = set(re.findall(r"\w+", function.docstring.lower()))
    return [name for name in dict.fromkeys(candidates) if name.lower() not in words][:count]


def summary_choices(library: Path | None = None) -> list[dict[str, Any]]:
    """3,800 rows {"stem": the first two lines of a function, "choices": four summaries, "label": 0 to 3}. Split by
    "stem".

    Docstring and decorators are left out of the stem. The wrong summaries belong to other functions. Each label occurs
    in a quarter of the rows. Correct choices are unique, and stems of two functions are left out.
    Raises ValueError if Python has no sources."""
    found: dict[str, list[str]] = defaultdict(list)
    for _, code, text in functions_with_summaries(library):
        found[function_head(code)].append(text)
    summary_of = {stem: texts[0] for stem, texts in found.items() if len(texts) == 1}
    label_of = {stem: rank % 4 for rank, stem in enumerate(sorted(summary_of, key=content_digest))}
    summaries, rows = list(summary_of.values()), []
    for stem, text in summary_of.items():
        choices = [other for other in sample_by_hash(summaries, 4, stem) if other != text][:3]
        choices.insert(label_of[stem], text)
        rows.append({"stem": stem, "choices": choices, "label": label_of[stem]})
    return rows


def function_head(code: str) -> str:
    """The line with `def` and the next line, without decorators."""
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

    One to three questions of the "user" with answers of the "assistant"; one row in four starts with "system".
    A row is about one function: what it does, then its module, signature or a parameter. No two rows are about the same
    docstring. Raises ValueError if Python has no sources."""
    rows = []
    for function in documented_functions(library):
        if answer := introduction(function.docstring):
            [has_system] = sample_by_hash((True, False, False, False), 1, function.docstring, "system")
            [system] = sample_by_hash(SYSTEM_MESSAGES, 1, function.docstring)
            messages = [make_message("system", system)] if has_system else []
            for question, reply in make_turns(function, answer):
                messages += [make_message("user", question), make_message("assistant", reply)]
            rows.append({"messages": messages})
    return rows


def make_message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def make_turns(function: DocumentedFunction, summary: str) -> list[tuple[str, str]]:
    """One to three questions about a function, with their answers."""

    def make_question(templates: Sequence[str], parameter: str = "") -> str:
        [template] = sample_by_hash(templates, 1, function.docstring, parameter)
        return template.format(function=f"`{function.name}`", module=f"`{function.module}`", parameter=f"`{parameter}`")

    is_property = function.code.startswith("@property")
    follow_ups = [] if is_property else [(make_question(ABOUT_SIGNATURE), f"`{function.signature}`")]
    spans = described_names(function.docstring)
    for name in filter(spans.__contains__, function.parameters):
        start, end = spans[name]
        phrase = " ".join(function.docstring[start:end].split())
        # The first answer must not contain the second.
        if phrase not in summary:
            follow_ups.append((make_question(ABOUT_PARAMETER, name), phrase))
    [count] = sample_by_hash((0, 1, 2), 1, function.docstring, "turns")
    chosen = sample_by_hash(follow_ups, count, function.docstring)
    if len(chosen) == count:
        return [(make_question(ABOUT_FUNCTION), summary), *chosen]
    location = f"`{function.name}` is in the module `{function.module}`."
    return [(make_question(ABOUT_MODULE), location), ("What does it do?", summary), *chosen]


class BuiltinDataset(NamedTuple):
    """A function that reads one dataset, and its metadata."""

    read: Callable[[], list[dict[str, Any]]]
    split_column: str
    """rows with equal values in this column (compared as JSON if they are lists) belong to the same split"""
    description: str
    """completes "trained on ..." in a model card"""


BUILTIN_DATASETS: dict[str, BuiltinDataset] = {
    "documentation": BuiltinDataset(
        documentation, "text", "documentation topics and docstrings of the standard library"
    ),
    "labelled_docstrings": BuiltinDataset(
        labelled_docstrings, "text", "docstrings of twelve packages of Python's standard library"
    ),
    "date_pairs": BuiltinDataset(date_pairs, "target", "dates from 1900 to 2099 in thirteen formats, made by rules"),
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
        summary_choices, "stem", "functions of Python's standard library with four summaries each, one of them correct"
    ),
    "conversations": BuiltinDataset(
        conversations, "messages", "conversations made by rules from docstrings of Python's standard library"
    ),
    "function_descriptions": BuiltinDataset(
        function_descriptions, "group", "names and signatures of Python's functions and what their docstrings say first"
    ),
}
