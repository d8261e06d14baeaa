"""Commands and options on the pages for users are accepted by the programs that they name."""

import argparse
import contextlib
import io
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser as torchrun_parser
from transformers import HfArgumentParser

from hf_tfm import cli
from hf_tfm.training.cli.parser import parse_arguments
from tests.documents import DOCUMENTS, ROOT, blocks, code_spans, named
from tests.ecosystem import __main__ as ecosystem
from tests.faults import __main__ as faults

PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
# programs that commands may name and whose arguments are not checked
FILE_TOOLS = ("cp", "head", "iconv", "lm_eval", "paste", "sed", "tail", "tr")


class ParsedError(Exception):
    """The parser has accepted its arguments."""


def problem_of(action: Callable[[], Any]) -> str:
    """What a parser says against its arguments; nothing if it accepts them."""
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(io.StringIO()):
        try:
            action()
        except ParsedError:
            pass
        except SystemExit as ended:
            return f"{said.getvalue()}{ended.code}" if ended.code else ""
    return ""


def parse_only(parser: argparse.ArgumentParser, arguments: Any = None, namespace: Any = None) -> None:
    """In the place of ArgumentParser.parse_args: takes no abbreviations and ends the program."""
    parser.allow_abbrev = False
    unknown = parser.parse_known_args(arguments, namespace)[1]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    raise ParsedError


def check_train(arguments: list[str]) -> str:
    return problem_of(lambda: parse_arguments(arguments[1:])) if arguments[0] == "train.py" else "another script"


def parse_only_by_typer(app: typer.Typer, args: list[str], prog_name: str) -> None:
    """In the place of Typer.__call__, by which transformers' own commands parse."""
    try:
        typer.main.get_command(app).make_context(prog_name, list(args))
    except Exception as error:
        raise SystemExit(str(error)) from error
    raise ParsedError


def check_hf_tfm(arguments: list[str]) -> str:
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse_only),
        mock.patch.object(typer.Typer, "__call__", parse_only_by_typer),
    ):
        return problem_of(lambda: cli.main(arguments))


def check_launcher(parser: argparse.ArgumentParser, arguments: list[str]) -> str:
    """The launcher's own options, its file, and the options of the script."""
    parser.allow_abbrev = False
    parsed: list[Any] = []
    problem = problem_of(lambda: parsed.append(parser.parse_args(arguments)))
    if problem:
        return problem
    file = vars(parsed[0]).get("config_file") or "."
    problem = "" if (ROOT / file).exists() else f"there is no {file}"
    return problem or check_train([parsed[0].training_script, *parsed[0].training_script_args])


def check_sbatch(arguments: list[str]) -> str:
    """One script, without options of sbatch."""
    return subprocess.run(["bash", "-n", ROOT / arguments[0]], capture_output=True, text=True, check=False).stderr


def existing(name: str) -> Path:
    if not (ROOT / name.partition("::")[0]).exists():
        raise argparse.ArgumentTypeError(f"there is no {name}")
    return ROOT / name


def check_pip(arguments: list[str]) -> str:
    """pip install -c FILE -e .[EXTRA,EXTRA], with a file and extras that exist."""
    section = PYPROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = re.findall(r"^(\w+) = \[", section, re.MULTILINE)
    parser = argparse.ArgumentParser("pip", allow_abbrev=False)
    parser.add_argument("command", choices=["install"])
    parser.add_argument("-c", type=existing)
    parser.add_argument("-e", type=lambda name: name.removeprefix(".[").removesuffix("]").split(","))
    parsed: list[Any] = []
    problem = problem_of(lambda: parsed.append(parser.parse_args(arguments)))
    return problem or ", ".join(sorted({*parsed[0].e} - {*extras}))


def check_pytest(arguments: list[str]) -> str:
    """Options -n and -m, a marker and files that exist."""
    section = PYPROJECT.partition("\nmarkers = [")[2].partition("\n]")[0]
    parser = argparse.ArgumentParser("pytest", allow_abbrev=False)
    parser.add_argument("-n", choices=["auto"])
    parser.add_argument("-m", choices=re.findall(r'^ *"(\w+):', section, re.MULTILINE))
    parser.add_argument("files", nargs="*", type=existing)
    return problem_of(lambda: parser.parse_args(arguments))


def check_python(arguments: list[str]) -> str:
    """A run of train.py, or of a command of the tests."""
    if arguments[:2] == ["-m", "tests.faults"]:
        return problem_of(lambda: faults.parse(arguments[2:]))
    if arguments[:2] == ["-m", "tests.ecosystem"]:
        return problem_of(lambda: ecosystem.parse(arguments[2:]))
    if arguments[:2] == ["-m", "tests.inspection.test_findings"]:
        return "" if len(arguments) == 3 else "it takes one folder"
    return check_train(arguments)


CHECKS: dict[str, Callable[[list[str]], str]] = {
    "python": check_python, "hf-tfm": check_hf_tfm, "sbatch": check_sbatch, "pip": check_pip, "pytest": check_pytest,
    "torchrun": lambda arguments: check_launcher(torchrun_parser(), arguments),
    "accelerate": lambda arguments: check_launcher(launch_command_parser(), arguments[1:]),
}  # fmt: skip


def check_command(command: list[str]) -> None:
    program, *arguments = command
    if program not in FILE_TOOLS and (program, tuple(arguments)) not in [("hf-tfm", tool) for tool in cli.TOOLS]:
        problem = CHECKS[program](arguments)
        assert not problem, f"{shlex.join(command)}\n{problem}"
    dashed = [word for word in arguments if re.match(r"--\w+-", word)] if program in ("python", "hf-tfm") else []
    assert not dashed, f"{shlex.join(command)}: {dashed} have underscores"


RECORDER = r"""#!/bin/sh
printf '%s\0' "${0##*/}" "$@" >> "$COMMANDS"
printf '\036\0' >> "$COMMANDS"
"""


def shell_commands(script: str, folder: Path) -> list[list[str]]:
    """The programs that bash starts for a script, with their arguments. None runs: each name is a script that writes
    down how it was called. Another name fails, as any program that does not exist."""
    programs, commands, bash = folder / "programs", folder / "commands", shutil.which("bash")
    programs.mkdir()
    commands.touch()
    for name in (*CHECKS, *FILE_TOOLS):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    variables = {"PATH": str(programs), "COMMANDS": str(commands), "DATA": "data"}
    line = [str(bash), "-euc", script]
    done = subprocess.run(line, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [record.removesuffix("\0").split("\0") for record in commands.read_text().split("\036\0") if record]


@named([path for path in DOCUMENTS if "```bash" in path.read_text(encoding="utf-8")])
def test_commands_are_accepted(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    script = "".join(block.text for block in blocks(document) if block.language == "bash")
    commands = shell_commands(script, tmp_path)
    assert any(command[0] in CHECKS for command in commands)
    for command in commands:
        check_command(command)


def option_parsers() -> list[argparse.ArgumentParser]:
    """Those of train.py and of every tool but transformers' own commands."""
    parsers, tools = [], [tool for tool in cli.TOOLS if not cli.TOOLS[tool].module.startswith("hf_tfm.serving")]

    def keep(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        parsers.append(parser)
        raise ParsedError

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", keep),
        mock.patch.object(HfArgumentParser, "parse_args_into_dataclasses", keep),
    ):
        for action in (lambda: parse_arguments([]), *(lambda tool=tool: cli.main([*tool]) for tool in tools)):
            problem_of(action)
    assert len(parsers) == len(tools) + 1
    return [*parsers, faults.parse([])[0], ecosystem.parse([])[0]]


def test_commands_and_options_in_sentences_are_accepted():
    parsers = option_parsers()
    for document in DOCUMENTS:
        for span in code_spans(document):
            if span.split()[0] in CHECKS and " " in span:
                check_command(shlex.split(span))
            for option in re.findall(r"--[a-z]\w*", span):
                assert any(option in parser._option_string_actions for parser in parsers), f"{document.name}: {span}"
            if span.startswith("--") and " " in span:
                actions = [lambda p=p, s=span: p.parse_args(shlex.split(s)) for p in parsers]
                assert "" in map(problem_of, actions), f"{document.name}: {span}"
