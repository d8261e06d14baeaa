"""`hf-tfm` finds its tools by their names."""

import importlib

import pytest

from hf_tfm import cli


@pytest.mark.parametrize("name", cli.TOOLS, ids=" ".join)
def test_every_tool_has_help(name, capsys):
    assert callable(importlib.import_module(cli.TOOLS[name].module).main)
    with pytest.raises(SystemExit) as ended:
        cli.main([*name, "--help"])
    assert ended.value.code == 0
    assert f"usage: hf-tfm {' '.join(name)}" in capsys.readouterr().out.lower()


@pytest.mark.parametrize("given", [[], ["--help"], ["bench"], ["bench", "--help"]])
def test_tools_are_listed(given, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(given)
    output = capsys.readouterr()
    assert "hf-tfm bench depth" in output.out + output.err
    assert ended.value.code == (0 if not given or given[-1] == "--help" else 2)


def test_unknown_tool_is_refused_with_the_list(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["benhc"])
    assert ended.value.code == 2
    assert "hf-tfm bench length" in capsys.readouterr().err


def test_tool_gets_the_remaining_arguments(monkeypatch):
    seen = []
    monkeypatch.setattr("hf_tfm.benchmark.tools.length.main", lambda *given: seen.append(given))
    cli.main(["bench", "length", "--lengths", "8"])
    assert seen == [(["--lengths", "8"], "hf-tfm bench length")]
