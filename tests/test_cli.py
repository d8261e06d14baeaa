"""`hf-tfm` finds its tools by their words."""

import importlib

import pytest

from hf_tfm import cli


@pytest.mark.parametrize("words", cli.TOOLS, ids=" ".join)
def test_every_tool_explains_itself(words, capsys):
    assert callable(importlib.import_module(cli.TOOLS[words].module).main)
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--help"])
    assert ended.value.code == 0
    assert f"usage: hf-tfm {' '.join(words)}" in capsys.readouterr().out


@pytest.mark.parametrize("given", [[], ["--help"], ["bench"], ["bench", "--help"]])
def test_tools_are_listed(given, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(given)
    listed = capsys.readouterr()
    assert "hf-tfm bench depth" in listed.out + listed.err
    assert ended.value.code == (0 if not given or given[-1] == "--help" else 2)


def test_an_unknown_word_is_refused_with_the_list(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["benhc"])
    assert ended.value.code == 2
    assert "hf-tfm bench length" in capsys.readouterr().err


def test_a_tool_gets_the_rest_of_the_words(monkeypatch):
    seen = []
    monkeypatch.setattr("hf_tfm.benchmark.length.main", lambda *given: seen.append(given))
    cli.main(["bench", "length", "--lengths", "8"])
    assert seen == [(["--lengths", "8"], "hf-tfm bench length")]
