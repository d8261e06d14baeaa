"""README.md and the pages in model_cards: every Python block runs and prints what is shown below it, every command is
accepted by its program, every link leads somewhere, and fields, options and names are those of the code."""

import argparse
import ast
import contextlib
import io
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser as torchrun_parser
from transformers import HfArgumentParser
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

import hf_tfm
from hf_tfm import TfmDecoderConfig, TfmDecoderForCausalLM, cli
from hf_tfm.conversion.registry import FAMILIES
from hf_tfm.modeling import configuration_tfm
from hf_tfm.modeling.recipes import RECIPES
from hf_tfm.training.cli.parser import parse_arguments
from hf_tfm.training.objectives import OBJECTIVES
from tests.faults import __main__ as faults
from tests.parallel.process_group import run_in_two_processes

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
README_TEXT = README.read_text(encoding="utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
TEST_COMMAND = 'pip install -c constraints.txt -e ".[test]" && pytest -n auto'
# cards of runs whose models are not here: their Python is not run, all else is checked
MEASURED_CARDS = {"causal-lm", "multi30k", "small-sets", "tinyshakespeare"}
DOCUMENTS = [README, *sorted((ROOT / "model_cards").glob("*.md"))]
PAGES = [path for path in DOCUMENTS if path.stem not in MEASURED_CARDS]
# programs that commands may name and whose arguments are not checked
FILE_TOOLS = ("cp", "head", "iconv", "paste", "sed", "tail", "tr")
# fields of the table of choices, and their registries
REGISTRIES = {
    "position_type": "POSITIONS", "residual_type": "WIRINGS", "norm_type": "NORMS", "mlp_type": "FEED_FORWARDS",
    "qk_norm": "QK_NORMS", "depth_scaling": "DEPTH_SCALINGS", "pooling": "POOLINGS",
}  # fmt: skip
RETIRED = (
    r"\blean\b", r"lean_loss", r"banded", r"eager_blocks", r"hf_tfm\.onednn", r"--work\b", r"--against\b",
    r"--python_set\b", r"--long_texts (refuse|cut)", r"as-they-come", r"\bhosts?\b", r"\bdice\b", r"contenders?\b",
)  # fmt: skip
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def named(documents: list[Path]) -> Any:
    return pytest.mark.parametrize("document", documents, ids=lambda path: path.name)


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line of the document on which the text begins."""

    language: str
    text: str
    line: int


def blocks(document: Path) -> list[Block]:
    text = document.read_text(encoding="utf-8")
    return [Block(found[1], found[2], text[: found.start(2)].count("\n") + 1) for found in FENCE.finditer(text)]


def prose(document: Path) -> str:
    """The document without its fenced blocks."""
    return FENCE.sub("", document.read_text(encoding="utf-8"))


def code_spans(document: Path) -> list[str]:
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(document))]


# Python


def run_python(document: Path, block: Block) -> str:
    """What the block prints. Tracebacks name the document and its line."""
    code = compile("\n" * (block.line - 1) + block.text, str(document), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {"__name__": "__main__"})
    return printed.getvalue()


def is_distributed(block: Block) -> bool:
    return block.text.startswith("# torchrun --nproc-per-node 2 ")


@named(PAGES)
def test_python_blocks_print_what_is_shown(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block, following in pairwise([*blocks(document), Block("", "", 0)]):
        assert following.language != "text" or block.language == "python", f"{document.name}:{following.line}"
        if block.language == "python" and not is_distributed(block):
            shown = following.text if following.language == "text" else ""
            assert run_python(document, block) == shown, f"{document.name}:{block.line} prints something else"


def test_distributed_blocks_run_in_two_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = {"vocab_size": 100, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    TfmDecoderForCausalLM(TfmDecoderConfig(**sizes)).save_pretrained("my-model")
    found = [block.text for path in PAGES for block in blocks(path) if is_distributed(block)]
    assert found
    for text in found:
        run_in_two_processes(exec, text)


# Commands


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
            return said.getvalue() if ended.code else ""
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


def check_hf_tfm(arguments: list[str]) -> str:
    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_only):
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
    if not (ROOT / name).exists():
        raise argparse.ArgumentTypeError(f"there is no {name}")
    return ROOT / name


def check_pip(arguments: list[str]) -> str:
    """pip install -c FILE -e .[EXTRA], with a file and an extra that exist."""
    section = PYPROJECT.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    parser = argparse.ArgumentParser("pip", allow_abbrev=False)
    parser.add_argument("command", choices=["install"])
    parser.add_argument("-c", type=existing)
    parser.add_argument("-e", choices=[f".[{extra}]" for extra in re.findall(r"^(\w+) = \[", section, re.MULTILINE)])
    return problem_of(lambda: parser.parse_args(arguments))


def check_pytest(arguments: list[str]) -> str:
    """Options -n and -m, a marker and files that exist."""
    section = PYPROJECT.partition("\nmarkers = [")[2].partition("\n]")[0]
    parser = argparse.ArgumentParser("pytest", allow_abbrev=False)
    parser.add_argument("-n", choices=["auto"])
    parser.add_argument("-m", choices=re.findall(r'^ *"(\w+):', section, re.MULTILINE))
    parser.add_argument("files", nargs="*", type=existing)
    return problem_of(lambda: parser.parse_args(arguments))


def check_python(arguments: list[str]) -> str:
    """A run of train.py, or of the command of faults."""
    if arguments[:2] == ["-m", "tests.faults"]:
        return problem_of(lambda: faults.parse(arguments[2:]))
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
    """Those of train.py and of every tool."""
    parsers = []

    def keep(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> None:
        parsers.append(parser)
        raise ParsedError

    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", keep),
        mock.patch.object(HfArgumentParser, "parse_args_into_dataclasses", keep),
    ):
        for action in (lambda: parse_arguments([]), *(lambda tool=tool: cli.main([*tool]) for tool in cli.TOOLS)):
            problem_of(action)
    assert len(parsers) == len(cli.TOOLS) + 1
    return [*parsers, faults.parse([])[0]]


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


# Names and numbers


@named(DOCUMENTS)
def test_fields_in_sentences_exist(document):
    """`field=value`, where the value is a constant."""
    for span in code_spans(document):
        if not re.fullmatch(r"""[a-z_]+=("\w+"|\w+)""", span):
            continue
        tree: Any = ast.parse(f"f({span})", mode="eval").body
        name, value = tree.keywords[0].arg, tree.keywords[0].value
        if name == "attn_implementation":
            assert value.value in ALL_ATTENTION_FUNCTIONS, span
        elif isinstance(value, ast.Constant) and name != "trust_remote_code":
            TfmDecoderConfig(**{name: value.value})


def test_table_of_choices_names_every_value():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", README_TEXT, re.MULTILINE))
    for field, registry in REGISTRIES.items():
        assert re.findall(r"`(\w+)`", rows[field]) == list(getattr(configuration_tfm, registry)), field


def test_every_recipe_task_and_class_is_named():
    missing = [name for name in RECIPES if f'"{name}"' not in README_TEXT]
    missing += [task for task in OBJECTIVES if f"`{task}`" not in README_TEXT]
    for name in hf_tfm.__all__:
        base, is_head, head = name.partition("For")
        if name.startswith("Tfm") and not name.endswith("Config"):
            rows = [line for line in README_TEXT.splitlines() if f"`{base}For`" in line or not is_head]
            missing += [] if f"`{head or name}`" in "".join(rows) else [name]
    assert not missing


def test_numbers_of_readme_are_those_of_the_pages():
    rows = re.findall(r"^\| [^|]* (\| [^|]* \| [\d., ;]+ \|)$", README_TEXT, re.MULTILINE)
    assert len(rows) == 6
    assert [row for row in rows if row not in (ROOT / "model_cards/speed.md").read_text(encoding="utf-8")] == []
    assert f"{len(FAMILIES)} Hugging Face model types" in README_TEXT


@named(DOCUMENTS)
def test_retired_words_are_gone(document):
    assert [word for word in RETIRED if re.search(word, document.read_text(encoding="utf-8"), re.IGNORECASE)] == []


# Links and size


def anchors(document: Path) -> set[str]:
    """The names of headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@named(DOCUMENTS)
def test_links_and_files_exist(document):
    missing = []
    for target in re.findall(r"\]\(((?!https?:)[^)\s]+)\)", prose(document)):
        name, _, anchor = target.partition("#")
        file = document.parent / name if name else document
        missing += [] if file.exists() and (not anchor or anchor in anchors(file)) else [target]
    for span in code_spans(document):
        if re.fullmatch(r"(hf_tfm|tests|model_cards)/[\w./-]*|constraints[\w-]*\.txt|train\.py", span):
            missing += [] if (ROOT / span).exists() else [span]
    assert not missing


def test_readme_is_short_and_links_every_page():
    assert len(README.read_bytes()) < 14_000
    assert [path.name for path in PAGES[1:] if f"(model_cards/{path.name})" not in README_TEXT] == []


def test_ci_finds_the_test_command():
    assert re.findall(r"^pip install .*pytest.*$", README_TEXT, re.MULTILINE) == [TEST_COMMAND]
