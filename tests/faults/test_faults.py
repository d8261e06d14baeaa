"""The table of faults is that of the code, and its command works."""

from pathlib import Path

import pytest

from tests.faults.__main__ import main
from tests.faults.table import ROWS, conditions, read_page, write_page

PAGE = Path(__file__).parents[2] / "model_cards/reliability.md"
# no processes are started for it
CHEAPEST = "checkpoint with code that is not trusted"


def test_the_page_has_the_rows_of_the_code_and_nothing_is_lost():
    _, rows = read_page(PAGE)
    assert list(rows) == list(ROWS), "python -m tests.faults --write model_cards/reliability.md"
    assert all(trials > 0 for trials, _ in rows.values())
    assert {name: lost for name, (_, lost) in rows.items() if lost} == {}


def test_the_command_measures_a_row_and_writes_the_page(tmp_path, capsys):
    main(["--only", CHEAPEST, "--trials", "1", "--jobs", "1", "--seed", "3", "--write", str(tmp_path / "page.md")])
    assert "1 trials of 1 faults, 0 lost\nWrote " in capsys.readouterr().out
    assert read_page(tmp_path / "page.md") == (conditions(3), {CHEAPEST: (1, 0)})


def test_what_is_lost_is_counted_and_its_folder_remains(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(tmp_path))
    monkeypatch.setattr("tests.faults.hostile_files.opened", lambda *arguments, **options: 1 / 0)
    main(["--only", CHEAPEST, "--trials", "2", "--jobs", "1"])
    printed = capsys.readouterr()
    assert "2 trials of 1 faults, 2 lost" in printed.out
    assert "ZeroDivisionError" in printed.out + printed.err
    assert list(tmp_path.iterdir())


def test_an_unknown_row_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "earthquake"])
    assert f"no row is called earthquake; rows: {next(iter(ROWS))}, " in capsys.readouterr().err


def test_rows_of_other_conditions_do_not_stand_side_by_side(tmp_path):
    names, page = list(ROWS), tmp_path / "page.md"
    write_page(page, 0, {names[0]: (5, 0)})
    write_page(page, 0, {names[1]: (7, 1)})
    with pytest.raises(ValueError, match=r"seed 0.*cannot stand beside.*seed 1"):
        write_page(page, 1, {names[1]: (9, 0)})
    assert read_page(page)[1] == {names[0]: (5, 0), names[1]: (7, 1)}
    write_page(page, 1, {names[0]: (9, 0), names[1]: (9, 0)})
    assert read_page(page)[0] == conditions(1)
