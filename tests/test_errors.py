"""Every command ends in one line for what a person can cause, silently for a closed pipe, and with a traceback for a
mistake in the code."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from zipfile import BadZipFile

import pytest
import torch
from safetensors import SafetensorError

from hf_tfm import TfmDecoderConfig, cli
from hf_tfm.errors import one_line_errors

from .training.test_train import SERVER

ROOT = Path(__file__).parents[1]
EXPECTED = [
    ValueError("no such value"), FileNotFoundError(2, "No such file or directory", "x.csv"), PermissionError("no"),
    OSError(28, "No space left on device"), ImportError("no peft"), MemoryError(), ConnectionError("offline"),
    SafetensorError("I/O error: No space left on device"), BadZipFile("cut short"), torch.OutOfMemoryError("full"),
    RuntimeError("[enforce fail at inline_container.cc:659] . PytorchStreamWriter failed writing file data/3"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
]  # fmt: skip


def ending(error, capsys, **options):
    """Exit status and error output of a command that raises an error."""
    with pytest.raises(SystemExit) as ended, one_line_errors("tool", **options):
        raise error
    return ended.value.code, capsys.readouterr().err


@pytest.mark.parametrize("error", EXPECTED, ids=repr)
def test_what_a_person_can_cause_is_one_line(error, capsys):
    code, text = ending(error, capsys)
    assert code == 1
    assert text.startswith("tool: error: ")
    assert text.count("\n") == 1
    assert str(error) in text


def test_a_sentence_of_the_package_stands_alone(capsys):
    with pytest.raises(SystemExit), one_line_errors("tool"):
        TfmDecoderConfig(hidden_size=30, num_attention_heads=4)
    text = capsys.readouterr().err
    assert text.startswith("tool: error: hidden_size (30) ")
    assert "--debug" not in text


def test_an_error_of_another_package_says_how_to_see_more(capsys):
    assert ending(ValueError("axis 3 is out of bounds"), capsys)[1] == (
        "tool: error: ValueError: axis 3 is out of bounds (--debug shows where)\n"
    )


def test_a_missing_package_is_answered_by_the_extra_that_has_it(capsys):
    error = ModuleNotFoundError("No module named 'datasets'", name="datasets")
    assert 'pip install "hf_tfm[train]"' in ending(error, capsys, extra="train")[1]


def test_interrupt_is_one_line(capsys):
    code, text = ending(KeyboardInterrupt(), capsys)
    assert (code, text.strip()) == (130, "tool: interrupted")


@pytest.mark.parametrize("error", [KeyError("x"), AttributeError("x"), RuntimeError("mat1 and mat2"), TypeError("x")])
def test_a_mistake_in_the_code_keeps_its_traceback(error, capsys):
    with pytest.raises(type(error)), one_line_errors("tool"):
        raise error
    assert "please report" in capsys.readouterr().err


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_debug_lets_every_error_through(error, monkeypatch):
    with pytest.raises(type(error)), one_line_errors("tool", debug=True):
        raise error
    monkeypatch.setattr(sys, "argv", ["train.py", "--debug"])
    with pytest.raises(type(error)), one_line_errors():
        raise error


def test_secrets_are_hidden_in_errors(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    text = ending(OSError("https://jane:pass@host/x?token=abc and 0123456789abcdef"), capsys)[1]
    assert not [secret for secret in ("jane", "pass@", "abc ", "0123456789") if secret in text], text


# Every tool, in which something goes wrong


@pytest.mark.parametrize("name", cli.TOOLS, ids=" ".join)
@pytest.mark.parametrize("error", [OSError("disk"), KeyboardInterrupt()], ids=repr)
def test_every_tool_ends_in_one_line(name, error, monkeypatch, capsys):
    def fail(arguments, prog):
        raise error

    monkeypatch.setattr(f"{cli.TOOLS[name].module}.main", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main([*name, "--any", "option"])
    assert ended.value.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    text = capsys.readouterr().err.strip()
    assert text.startswith(f"hf-tfm {' '.join(name)}: ")
    assert "\n" not in text


WRONG = {
    "convert broken new": (1, "broken/config.json"),
    "convert broken new --head heads": (2, "--head"),
    "convert broken": (2, "destination"),
    "bench depth --json text": (1, "text is no report"),
    "bench infer --json text/x.json": (2, "text/x.json cannot be written"),
    "bench train --png text/x.png": (2, "text/x.png cannot be written"),
    "bench length --json text/x.json": (2, "text/x.json cannot be written"),
    "bench all --output_dir text/x": (2, "cannot be written"),
    "bench all --only nothing": (2, "--only"),
    "bench infer --batch_size 0": (2, "--batch_size: 0 is not a whole number of 1 or more"),
    "bench length --lengths 8 0": (2, "--lengths: 0"),
    "bench train --hidden_size 30 --heads 7": (1, "(30) is not a multiple"),
    "bench train --peers x-transformers": (1, "x-transformers"),
    "families --x": (2, "--x"),
}


@pytest.mark.parametrize("command", WRONG)
def test_what_is_wrong_is_said_before_anything_runs(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "x_transformers", None)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    (tmp_path / "text").write_text("{")
    code, expected = WRONG[command]
    with pytest.raises(SystemExit) as ended:
        cli.main(command.split())
    assert ended.value.code == code
    *usage, last = capsys.readouterr().err.splitlines()
    assert expected in last
    assert last.startswith(f"hf-tfm {command.split()[0]}")
    assert bool(usage) == (code == 2)
    assert not (tmp_path / "new").exists()


# Ctrl-C


@pytest.mark.parametrize("command", ["train.py", "hf-tfm"])
def test_ctrl_c_while_a_command_imports_is_one_line(tmp_path, command):
    (tmp_path / "hf-tfm").write_text("from hf_tfm.cli import main\n")
    script = ROOT / command if command == "train.py" else tmp_path / command
    # what the package imports first presses Ctrl-C
    (tmp_path / "transformers.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    ended = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr.strip()) == (130, f"{command}: interrupted")


# Closed pipes


def write_into_closed_pipe(folder, command):
    """In a process of its own: run a command whose reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
    sys.path.insert(0, str(ROOT))
    import train

    program, *sys.argv[1:] = command.split()
    sys.argv[0] = program
    with (
        open(1, "w", closefd=False) as out,
        open(folder / "stderr", "w", buffering=1) as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        train.main() if program == "train.py" else cli.main()


# argparse drops what it cannot write
@pytest.mark.xdist_group("train")
@pytest.mark.parametrize(("command", "code"), [("hf-tfm families", 141), ("hf-tfm", 141), ("train.py --help", 0)])
def test_a_closed_pipe_ends_a_command_silently(command, code, tmp_path):
    process = SERVER.Process(target=write_into_closed_pipe, args=(tmp_path, command))
    process.start()
    process.join(120)
    assert process.exitcode == code
    assert (tmp_path / "stderr").read_text() == ""
