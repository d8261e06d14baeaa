"""The kept table speaks of the families and heads that are there, and of equal numbers."""

import json

import pytest

from hf_tfm import cli
from hf_tfm.conversion.families import FAMILIES, REFUSED, family_named
from hf_tfm.conversion.rows import ConversionError
from hf_tfm.conversion.table import rows


def test_the_kept_table_is_that_of_the_families() -> None:
    table = {entry["family"]: entry for entry in rows()}
    assert list(table) == list(FAMILIES)
    for name, entry in table.items():
        assert set(entry["heads"]) == set(FAMILIES[name].heads), name
        assert entry["max_difference"] <= 1e-5
        assert entry["text_equal"] in (True, None)
        assert entry["exact"] or FAMILIES[name].rounds


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["families"])
    said = capsys.readouterr().out
    assert all(f"| {name} |" in said for name in FAMILIES)
    assert all(name in said for name in REFUSED)
    cli.main(["families", "--json"])
    assert json.loads(capsys.readouterr().out) == rows()


def test_no_family_is_both_converted_and_refused() -> None:
    assert not FAMILIES.keys() & REFUSED.keys()


def test_a_refused_family_says_what_the_block_lacks() -> None:
    name, feature = next(iter(REFUSED.items()))
    with pytest.raises(ConversionError, match=feature[:20]):
        family_named(name)
    with pytest.raises(ConversionError, match="not among the families"):
        family_named("vit")
