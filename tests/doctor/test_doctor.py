"""`hf-tfm doctor` finds nothing in healthy checkpoints, and names each fault of broken ones."""

import re

import pytest

from hf_tfm import cli
from hf_tfm.doctor.doctor_command import CHECKS, MODEL_CHECKS
from tests.doctor.broken_checkpoints import FAULTS, write_healthy, write_native
from tests.modeling.remote_code.checkpoints import KINDS, make_head

# one process for these tests: codes of one name meet in the cache of modules
pytestmark = pytest.mark.xdist_group("doctor")

LINE = re.compile(r"^(ok|BROKEN|skipped) +(\w[\w ]*?)  +(.*)$", re.MULTILINE)


def doctor(capsys, *arguments):
    """Exit code, title -> (status, text), and all that was printed."""
    code = 0
    try:
        cli.main(["doctor", *map(str, arguments)])
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    found = {title: (status, text) for status, title, text in LINE.findall(printed.out)}
    return code, found, printed.out + printed.err


def broken(found):
    return {title: text for title, (status, text) in found.items() if status == "BROKEN"}


@pytest.mark.parametrize("name", KINDS)
def test_our_checkpoints_are_healthy(tmp_path, capsys, name):
    make_head(name).save_pretrained(tmp_path / "ours")
    code, found, printed = doctor(capsys, tmp_path / "ours")
    assert (code, broken(found)) == (0, {}), printed
    assert {*found} == {*CHECKS}
    assert "Next: hf-tfm push" in printed


def test_a_native_checkpoint_is_healthy(tmp_path, capsys):
    code, found, printed = doctor(capsys, write_native(tmp_path / "native"))
    assert (code, broken(found)) == (0, {}), printed
    # it has no code
    assert {title for title, (status, _) in found.items() if status == "skipped"} == {"code", "imports"}


def test_a_checkpoint_with_its_own_code_is_healthy(tmp_path, capsys):
    code, found, printed = doctor(capsys, write_healthy(tmp_path / "own"), "--trust_remote_code")
    assert code == 0, printed
    assert {status for status, _ in found.values()} == {"ok"}, printed


def test_code_is_not_run_without_the_word(tmp_path, capsys):
    folder = write_healthy(tmp_path / "own")
    (folder / "parts.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    code, found, printed = doctor(capsys, folder)
    assert code == 1
    assert not {*found} & {*MODEL_CHECKS}
    assert "--trust_remote_code" in printed
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_named(tmp_path, capsys, fault):
    checks, break_it, word = FAULTS[fault]
    folder = write_healthy(tmp_path / re.sub(r"\W", "_", fault))
    break_it(folder)
    code, found, printed = doctor(capsys, folder, "--trust_remote_code")
    assert code == 1, printed
    assert {*broken(found)} == checks, printed
    assert any(word in text for text in broken(found).values()), printed


def test_there_is_a_fault_for_every_check():
    assert set().union(*(checks for checks, _, _ in FAULTS.values())) == {*CHECKS}


def test_a_folder_without_a_model_is_refused(tmp_path, capsys):
    code, found, printed = doctor(capsys, tmp_path)
    assert (code, found) == (1, {})
    assert "has no config.json" in printed
