"""`hf-tfm families`, the registry behind it, and the file of results."""

import json
from pathlib import Path

import pytest

from hf_tfm import cli
from hf_tfm.conversion import ConversionError
from hf_tfm.conversion.families_command import markdown_table
from hf_tfm.conversion.llama_cpp import LLAMA_CPP_ARCHITECTURES
from hf_tfm.conversion.parity_results import PARITY_RESULTS, read_results, update_results, write_results
from hf_tfm.conversion.registry import FAMILIES, UNSUPPORTED, get_family


def test_the_command_prints_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["families"])
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in FAMILIES)
    assert all(name in printed for name in UNSUPPORTED)
    cli.main(["families", "--json"])
    assert json.loads(capsys.readouterr().out) == read_results()


def test_llama_cpp_architectures_are_those_of_families() -> None:
    assert LLAMA_CPP_ARCHITECTURES.keys() <= FAMILIES.keys()
    names = {name: LLAMA_CPP_ARCHITECTURES.get(name) for name in ("mistral", "phi", "opt")}
    assert names == {"mistral": "llama", "phi": "phi2", "opt": None}
    lines = markdown_table(read_results()).splitlines()
    assert next(line for line in lines if line.startswith("| mistral |")).endswith("| llama |")


def test_no_family_is_both_supported_and_unsupported() -> None:
    assert not FAMILIES.keys() & UNSUPPORTED.keys()


def test_an_unsupported_family_is_refused_with_the_missing_feature() -> None:
    name, feature = next(iter(UNSUPPORTED.items()))
    with pytest.raises(ConversionError, match=feature[:20]):
        get_family(name)
    with pytest.raises(ConversionError, match="not a supported family"):
        get_family("vit")


def test_the_file_has_one_line_per_family(tmp_path: Path) -> None:
    lines = PARITY_RESULTS.read_text(encoding="utf-8").splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", len(FAMILIES) + 2)
    write_results(read_results(), tmp_path / "results.json")
    assert (tmp_path / "results.json").read_bytes() == PARITY_RESULTS.read_bytes()


def test_only_measured_families_are_updated() -> None:
    measurement = {"family": "bert", "head": "base", "exact": False, "max_difference": 0.5, "text_equal": None}
    old = read_results()
    new = update_results(old, {"bert": [measurement]})
    assert [result["family"] for result in new] == list(FAMILIES)
    assert new[0] == {"family": "bert", "heads": ["base"], "exact": False, "max_difference": 0.5, "text_equal": None}
    assert new[1:] == old[1:]
