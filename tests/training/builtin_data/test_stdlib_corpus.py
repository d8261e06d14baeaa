"""The documentation corpus is equal in every process, its hashes ignore order, and missing sources give an error."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from hf_tfm.training.builtin_data import stdlib_corpus
from hf_tfm.training.builtin_data.stdlib_corpus import is_valid_text, read_docstrings, read_stdlib_corpus
from hf_tfm.training.utils.hashing import content_digest, fingerprint


def test_documents_are_many_and_all_different(documentation):
    assert len(documentation) == len(set(documentation))
    assert 5_000 < len(documentation) < 8_000
    assert 1_500_000 < sum(len(text.encode()) for text in documentation) < 2_500_000


def test_another_process_without_docstrings_reads_the_same_corpus(documentation):
    code = (
        "import sys, types; package = types.ModuleType('training'); package.__path__ = [sys.argv[1]];"
        "sys.modules['training'] = package; from training.utils.hashing import fingerprint;"
        "from training.builtin_data.stdlib_corpus import read_stdlib_corpus;"
        "print(fingerprint(read_stdlib_corpus()))"
    )
    command = [sys.executable, "-OO", "-W", "ignore", "-c", code, str(Path(stdlib_corpus.__file__).parents[1])]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert printed == fingerprint(documentation)


def test_fingerprint_depends_on_content_and_not_on_order():
    texts = [f"document {i}" for i in range(20)]
    shuffled = random.Random(0).sample(texts, len(texts))
    assert fingerprint(texts) == fingerprint(shuffled)
    assert fingerprint(texts) != fingerprint([*texts[:-1], "another"])


def test_digest_is_fixed():
    # Fixed, so that splits stay comparable between releases.
    assert content_digest("Return the value.").hex() == "94a5f9bbb18c736ba63fd5af5e8e45ff"


def test_docstrings_are_read_from_top_to_bottom_without_importing(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""First."""\nraise SystemExit\nclass A:\n    """Second."""\n    def f(self):\n        "Third."\n')
    assert [text for text in read_docstrings(path) if text] == ["First.", "Second.", "Third."]


def test_a_file_that_cannot_be_parsed_has_no_docstrings(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("def broken(:\n")
    assert list(read_docstrings(path)) == []


def test_lone_surrogates_are_not_valid_text():
    assert is_valid_text("café 😀")
    assert not is_valid_text("\ud800")
    assert not is_valid_text("")


def test_without_sources_the_topics_are_used(tmp_path):
    assert set(read_stdlib_corpus(tmp_path)) == set(stdlib_corpus.help_topics())


def test_without_sources_and_topics_the_error_asks_for_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(stdlib_corpus, "help_topics", list)
    with pytest.raises(ValueError, match="--train_file"):
        read_stdlib_corpus(tmp_path)
