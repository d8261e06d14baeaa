"""The built-in datasets are large enough, correct, and equal in every process."""

import ast
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from hf_tfm.training.builtin_data import builtin_datasets, stdlib_functions
from hf_tfm.training.builtin_data.builtin_datasets import BUILTIN_DATASETS, LABELLED_PACKAGES
from hf_tfm.training.builtin_data.code_tokens import TOKEN_TAGS, tag_code_blocks
from hf_tfm.training.builtin_data.stdlib_corpus import parse_source
from hf_tfm.training.builtin_data.stdlib_functions import (
    DocumentedFunction,
    described_names,
    documented_functions,
    first_sentence,
)
from hf_tfm.training.utils.hashing import fingerprint

pytestmark = pytest.mark.xdist_group("builtin_datasets")

SIZES = {
    "documentation": (5_000, 8_000),
    "labelled_docstrings": (2_300, 2_800),
    "date_pairs": (20_000, 20_000),
    "code_summaries": (2_800, 3_500),
    "token_types": (8_000, 15_000),
    "questions": (1_900, 2_600),
    "summary_choices": (3_500, 4_500),
    "conversations": (4_300, 5_500),
    "function_descriptions": (4_000, 5_000),
}
# columns whose values are unique
UNIQUE_COLUMNS = {
    "documentation": ["text"],
    "labelled_docstrings": ["text"],
    "date_pairs": ["source", "target"],
    "code_summaries": ["source", "target"],
    "token_types": ["tokens"],
    "questions": ["id"],
    "summary_choices": ["stem"],
    "conversations": ["messages"],
    "function_descriptions": ["anchor", "positive"],
}


@pytest.fixture(scope="session")
def rows_of():
    """The rows of each dataset, read once."""
    return {name: builtin_dataset.read() for name, builtin_dataset in BUILTIN_DATASETS.items()}


def as_text(value) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def fraction(rows, condition) -> float:
    return sum(map(condition, rows)) / len(rows)


# All datasets


@pytest.mark.parametrize("name", BUILTIN_DATASETS)
def test_sizes_and_columns(name, rows_of):
    low, high = SIZES[name]
    assert low <= len(rows_of[name]) <= high
    assert len({tuple(row) for row in rows_of[name]}) == 1, "rows with different columns"
    assert BUILTIN_DATASETS[name].split_column in rows_of[name][0]


@pytest.mark.parametrize("name", BUILTIN_DATASETS)
def test_rows_are_unique(name, rows_of):
    for column in UNIQUE_COLUMNS[name]:
        counts = Counter(as_text(row[column]) for row in rows_of[name])
        assert max(counts.values()) == 1, counts.most_common(3)


@pytest.mark.parametrize("name", BUILTIN_DATASETS)
def test_rows_can_be_written_and_read_back(name, rows_of):
    text = "\n".join(map(as_text, rows_of[name]))
    assert list(map(json.loads, text.encode().decode().split("\n"))) == rows_of[name]


# The other datasets are read again by the process in the next test.
@pytest.mark.parametrize("name", ["date_pairs", "code_summaries", "questions", "summary_choices", "conversations"])
def test_two_calls_are_equal(name, rows_of):
    assert BUILTIN_DATASETS[name].read() == rows_of[name]


def test_another_process_with_other_hashes_reads_the_same_rows(rows_of):
    code = (
        "import json, sys, types; package = types.ModuleType('training'); package.__path__ = [sys.argv[1]];"
        "sys.modules['training'] = package; from training.utils.hashing import fingerprint;"
        "from training.builtin_data.builtin_datasets import BUILTIN_DATASETS;"
        "text = lambda row: json.dumps(row, sort_keys=True, ensure_ascii=False);"
        "read = {name: [text(row) for row in one.read()] for name, one in BUILTIN_DATASETS.items()};"
        "print({name: (fingerprint(rows), rows[0], rows[-1]) for name, rows in read.items()})"
    )
    # -OO strips docstrings from imported modules; the datasets read sources instead.
    folder = str(Path(builtin_datasets.__file__).parents[1])
    command = [sys.executable, "-OO", "-W", "ignore", "-X", "utf8", "-c", code, folder]
    environment = {"PYTHONHASHSEED": "12345", "PATH": "", "LC_ALL": "C"}
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, check=True)
    texts = {name: list(map(as_text, rows)) for name, rows in rows_of.items()}
    assert ast.literal_eval(printed.stdout) == {
        name: (fingerprint(rows), rows[0], rows[-1]) for name, rows in texts.items()
    }


@pytest.mark.parametrize("name", [name for name in BUILTIN_DATASETS if name not in ("date_pairs", "documentation")])
def test_without_sources_the_error_asks_for_a_file(name, tmp_path):
    with pytest.raises(ValueError, match="--train_file"):
        getattr(builtin_datasets, name)(tmp_path)


def test_descriptions_are_short_phrases():
    descriptions = [builtin_dataset.description for builtin_dataset in BUILTIN_DATASETS.values()]
    assert all(20 < len(text) < 100 and not text.endswith(".") for text in descriptions)
    assert set(BUILTIN_DATASETS) == set(SIZES) == set(UNIQUE_COLUMNS)


# Labelled docstrings


def test_every_package_has_a_hundred_docstrings(rows_of):
    counts = Counter(row["label"] for row in rows_of["labelled_docstrings"])
    assert set(counts) == set(LABELLED_PACKAGES)
    assert min(counts.values()) >= 100
    assert max(counts.values()) < 0.16 * sum(counts.values())


def test_a_text_of_two_packages_is_left_out(tmp_path):
    for package, text in (("email", "Shared."), ("http", "Shared."), ("http", "Own.")):
        folder = tmp_path / package
        folder.mkdir(exist_ok=True)
        (folder / f"{text.lower()}py").write_text(f'"""{text}"""\n')
    assert builtin_datasets.labelled_docstrings(tmp_path) == [{"text": "Own.", "label": "http"}]


# Code and summaries


def test_code_is_complete_and_has_no_docstring(rows_of):
    for row in rows_of["code_summaries"]:
        [function] = ast.parse(row["source"]).body
        assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        assert first_sentence(ast.get_docstring(function) or "-") != row["target"]
        assert len(row["source"]) <= 600
        assert 0 < len(row["target"]) <= 120
        assert "\n" not in row["target"]


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("Return the value.", "Return the value."),
        ("Return the value\nof a key, e.g. Monday.  More.", "Return the value of a key, e.g. Monday."),
        ("Return it, if there!  Else not.\n\nAnd more.", "Return it, if there!"),
        (">>> f()\n1", ""),
        ("f(a, b) -> int\n\nReturn it.", ""),
        ("f(a, b)\n\nReturn it.", ""),
        ("Deprecated", ""),
    ],
)
def test_summary_is_the_first_sentence(docstring, expected):
    assert first_sentence(docstring) == expected


def test_choices_are_four_and_labels_are_balanced(rows_of):
    rows = rows_of["summary_choices"]
    counts = Counter(row["label"] for row in rows)
    assert set(counts) == {0, 1, 2, 3}
    assert max(counts.values()) - min(counts.values()) <= 1
    correct = [row["choices"][row["label"]] for row in rows]
    assert len(set(correct)) == len(correct)
    assert all(len(set(row["choices"])) == 4 for row in rows)
    assert all(len(row["stem"]) <= 600 for row in rows)
    summaries = {row["source"]: row["target"] for row in rows_of["code_summaries"]}
    assert all(summaries.get(row["stem"], text) == text for row, text in zip(rows, correct, strict=True))


def test_wrong_choices_are_summaries_of_other_rows(rows_of):
    rows = rows_of["summary_choices"]
    correct = {row["choices"][row["label"]] for row in rows}
    assert all(correct.issuperset(row["choices"]) for row in rows)
    assert all(row["stem"].startswith(("def ", "async def ")) for row in rows)


# Token types


def test_tags_are_aligned_and_known(rows_of):
    rows = rows_of["token_types"]
    assert {tag for row in rows for tag in row["tags"]} == set(TOKEN_TAGS)
    assert all(len(row["tokens"]) == len(row["tags"]) for row in rows)
    assert all(3 <= len(row["tokens"]) <= 60 for row in rows)
    assert all(token and not re.search(r"\s", token) for row in rows for token in row["tokens"])


def test_tags_need_context(rows_of):
    """The most frequent tag of a word is correct for more than half of the words, but far from all."""
    tags_of = defaultdict(Counter)
    for row in rows_of["token_types"]:
        for token, tag in zip(row["tokens"], row["tags"], strict=True):
            tags_of[token][tag] += 1
    words = {token: tags for token, tags in tags_of.items() if token.isidentifier()}
    by_spelling = sum(max(tags.values()) for tags in words.values()) / sum(
        sum(tags.values()) for tags in words.values()
    )
    assert 0.5 < by_spelling < 0.85, by_spelling
    assert len(tags_of["name"]) >= 6, tags_of["name"]


CODE = '''
import os.path as p
LIMIT = 3  # if any
@wraps(f)
def read(self, name="a b", é=2):
    """Not this."""
    x = lambda y: self.open(y, mode=é).name
class A(Base, metaclass=M):
    match = f"{LIMIT} for"
    def method(): pass
'''


def test_tags_of_each_kind():
    tagged = [list(zip(*block, strict=True)) for block in tag_code_blocks(parse_source(CODE), CODE.split("\n"))]
    read, a = tagged[:2]
    tags = dict(read)
    assert (tags["wraps"], tags["f"], tags["def"], tags["read"]) == ("decorator", "variable", "keyword", "function")
    assert (tags["self"], tags["é"], tags["y"], tags["x"]) == ("parameter", "parameter", "parameter", "variable")
    assert (tags["open"], tags["mode"], tags["2"]) == ("call", "argument", "number")
    assert ("name", "parameter") in read
    assert ("name", "attribute") in read
    assert [word for word, tag in read if tag == "string"] == ['"', "a", "b", '"']
    assert dict(a).items() >= {"A": "class", "Base": "variable", "metaclass": "argument", "match": "variable"}.items()
    assert [word for word, tag in a if tag == "string"] == ["f", '"', "{", "LIMIT", "}", "for", '"']
    assert "method" not in dict(a)


def test_statements_between_definitions_are_tagged_too():
    code = "import os.path as p\nLIMIT = 3  # if any\nfor row in p: print(row)\n"
    [(words, tags)] = tag_code_blocks(parse_source(code), code.split("\n"))
    assert words[:6] == ["import", "os", ".", "path", "as", "p"]
    assert tags[:6] == ["keyword", "import", "operator", "import", "keyword", "import"]
    found = set(zip(words, tags, strict=True))
    assert {("3", "number"), ("#", "comment"), ("if", "comment"), ("print", "call"), ("row", "variable")} <= found


# Questions


def test_answers_are_at_their_answer_start(rows_of):
    for row in rows_of["questions"]:
        answers = row["answers"]
        assert len(answers["text"]) == len(answers["answer_start"]) <= 1
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text
            assert text == text.strip()
            assert 12 <= len(text) <= 300


def test_one_question_in_five_has_no_answer_and_its_name_is_not_in_the_docstring(rows_of):
    rows = rows_of["questions"]
    assert 0.17 < fraction(rows, lambda row: not row["answers"]["text"]) < 0.23
    assert all(len(row["context"]) <= 1_200 for row in rows)
    templates = [
        re.escape(template).replace(r"\{parameter\}", r"(?P<parameter>\w+)").replace(r"\{function\}", r"[\w.]+")
        for template in builtin_datasets.QUESTIONS
    ]
    for row in rows:
        found = next(filter(None, (re.fullmatch(template, row["question"]) for template in templates)))
        docstring = row["context"].partition("\n\n")[2]
        occurs = re.search(rf"\b{found['parameter']}\b", docstring, re.IGNORECASE)
        assert bool(occurs) == bool(row["answers"]["text"]), row


@pytest.mark.parametrize(
    ("docstring", "phrase"),
    [
        ("Wait.\n\ntimeout -- seconds to\n    wait\nloop -- another", "seconds to\n    wait"),
        ("Wait.\n\nArgs:\n  timeout: Seconds to wait.\n  loop: Another.", "Seconds to wait."),
        ("Wait.\n\n:param timeout: Seconds to wait.\n:return: nothing", "Seconds to wait."),
        ("Wait.\n\n- *timeout* (a float) - Seconds to wait", "Seconds to wait"),
        ("Wait.  If timeout is None, wait for ever.  Then return.", "If timeout is None, wait for ever."),
        ("Wait.  Then return.  The optional timeout ends\nit all. Done.", "The optional timeout ends\nit all."),
        ("Wait 'timeout' seconds.\n\n'timeout' must be positive.", "'timeout' must be positive."),
    ],
)
def test_the_phrase_that_describes_a_name(docstring, phrase):
    start, end = described_names(docstring)["timeout"]
    assert docstring[start:end] == phrase


def test_a_name_that_is_only_used_is_not_described():
    assert "timeout" not in described_names("Wait for a timeout of the process.\n\n>>> timeout is 3 or so, really")


# Conversations


def test_one_to_three_turns_alternate(rows_of):
    rows = rows_of["conversations"]
    lengths = Counter()
    for row in rows:
        roles = [message["role"] for message in row["messages"]]
        turns = roles[1:] if roles[0] == "system" else roles
        assert turns == ["user", "assistant"] * (len(turns) // 2)
        assert all(message["content"].strip() for message in row["messages"])
        lengths[len(turns) // 2] += 1
    assert set(lengths) == {1, 2, 3}
    assert min(lengths.values()) > len(rows) / 6
    assert 0.2 < fraction(rows, lambda row: row["messages"][0]["role"] == "system") < 0.3


# Functions


def test_functions_are_read_without_importing(tmp_path):
    code = (
        'raise SystemExit\nclass A:\n    """A class."""\n    def __init__(self, size, *rest): pass\n'
        '    @property\n    def f(self):\n        """Get it."""\n\n        # why\n        return 1\n'
        'def g(): "One line."; return 2\n'
    )
    (tmp_path / "abc.py").write_text(code)
    assert documented_functions(tmp_path) == (
        DocumentedFunction("abc", "A", "A(size, *rest)", ("size", "rest"), "A class.", ""),
        DocumentedFunction("abc", "A.f", "f()", (), "Get it.", "@property\ndef f(self):\n    # why\n    return 1"),
        DocumentedFunction("abc", "g", "g()", (), "One line.", ""),
    )


def test_a_file_that_cannot_be_decoded_is_empty(tmp_path):
    path = tmp_path / "abc.py"
    path.write_bytes(b"# coding: utf-8\nx = '\xff'\n")
    assert stdlib_functions.decode_source(path) == ""
