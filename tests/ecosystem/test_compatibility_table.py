"""The compatibility table: what it holds, and how it is written."""

import ast
from pathlib import Path

from .compatibility_table import Row, read_page, write_page

PAGE = Path(__file__).parents[2] / "model_cards" / "compatibility.md"
ROW = Row(
    "trl", "1.0", "SFTTrainer, a|b", "works", "works", "fails: ValueError: no", "pytest tests/test_trl.py::test_sft"
)


def declared_rows() -> dict[str, str]:
    """What is run -> test, of every test with a row in the table."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for call in getattr(node, "decorator_list", ()):
                values = {keyword.arg: keyword.value for keyword in getattr(call, "keywords", ())}
                if "what" in values:
                    found[ast.literal_eval(values["what"])] = f"{path.name}::{node.name}"
    return found


def test_table_has_the_rows_of_the_tests_and_no_others():
    rows = {row.what: row for row in read_page(PAGE)}
    declared = declared_rows()
    assert sorted(rows) == sorted(declared), f"write {PAGE.name} anew; the command stands in it"
    assert not [row.what for row in rows.values() if "fails" in (row.package, row.remote)]


def test_written_rows_are_read_alike_and_replace_those_of_the_same_run(tmp_path):
    page = tmp_path / "page.md"
    other = Row("captum", "2.0", *["works"] * 4, "python -m captum")
    write_page(page, [ROW])
    write_page(page, [other, ROW])
    assert read_page(page) == [other, ROW]


def test_row_of_a_failed_test_does_not_say_that_ours_works():
    statuses = {"package": "works", "remote": "fails: OSError", "native": "works"}
    row = Row.of_test("tests/test_x.py::test_x", {"tool": "torch", "what": "x"}, statuses, passed=False)
    assert (row["package"], row["remote"], row["native"]) == ("fails", "fails: OSError", "works")
