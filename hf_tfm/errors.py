"""How a command ends: an error that a person can correct is one line on stderr, and never a traceback.

It decides nothing about the commands themselves, which only raise."""

import contextlib
import os
import re
import select
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
from huggingface_hub.errors import (
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage]
    StrictDataclassError,
)
from huggingface_hub.utils import validate_repo_id
from safetensors import SafetensorError

from .privacy import without_secrets

__all__ = ["DEBUG", "describe", "missing_folder_errors", "one_line_errors"]

DEBUG = "--debug"
PACKAGE = Path(__file__).parent
# What a file, an option, the network, the memory or the disk of a person can cause; ValueError includes damaged JSON
# and text, OSError the Hub's errors.
EXPECTED = (
    ValueError, OSError, ImportError, MemoryError, StrictDataclassError, HTTPError, SafetensorError, UnpicklingError,
    BadZipFile, torch.OutOfMemoryError,
)  # fmt: skip
# Parts of the RuntimeErrors by which torch reports a full memory, a full disk, or a killed process.
EXPECTED_TEXTS = re.compile(
    "out of memory|can't allocate memory|No space left|failed writing file|DataLoader worker|Connection closed by peer"
)
# Exit codes of shells for a process that Ctrl-C or a closed pipe ends.
INTERRUPTED, CLOSED_PIPE = 130, 141


@contextlib.contextmanager
def one_line_errors(prog: str = "", extra: str = "", debug: bool | None = None) -> Iterator[None]:
    """Runs a command, also as a decorator. An error that a person can cause is printed in one line, and the process
    ends with status 1; Ctrl-C ends it with 130, and a closed pipe (`| head`) silently with 141. Any other error is a
    mistake in the code, and keeps its traceback, since a long run cannot be repeated for it.

    `prog`: name of the command (default: that of the script). `extra`: the extra of the package with what the command
    imports. `debug`: let every error through (default: whether --debug is among the arguments of the process)."""
    prog = prog or Path(sys.argv[0]).name
    try:
        try:
            yield
        finally:
            # a closed pipe is met here, not when the interpreter ends
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, BrokenPipeError) and silence_closed_output():
            sys.exit(CLOSED_PIPE)
        if debug or (debug is None and DEBUG in sys.argv):
            raise
        if isinstance(error, KeyboardInterrupt):
            print(f"\n{prog}: interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        if not is_expected(error):
            print(f"{prog}: error: unexpected {type(error).__name__}; please report what follows.", file=sys.stderr)
            raise
        print(f"{prog}: error: {describe(error, extra)}", file=sys.stderr)
        sys.exit(1)


@contextlib.contextmanager
def missing_folder_errors(source: str) -> Iterator[None]:
    """Reads a checkpoint, a tokenizer or a configuration. Raises ValueError that says so if `source` is no folder or
    file here, and either no name on the Hub, or one that cannot be read from there."""
    if Path(source).exists():
        yield
        return
    try:
        validate_repo_id(source)
    except HFValidationError as error:
        raise ValueError(
            f"The folder {source} does not exist; give one that does, or a name on the Hub, such as "
            "google-bert/bert-base-uncased."
        ) from error
    try:
        yield
    except OSError as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise ValueError(f"There is no folder {source}, and from the Hub it was not read: {reason}") from error


def is_expected(error: BaseException) -> bool:
    """Whether a person can have caused an error."""
    datasets = sys.modules.get("datasets.exceptions")
    expected = (*EXPECTED, datasets.DatasetsError) if datasets else EXPECTED
    is_resource_error = isinstance(error, RuntimeError) and EXPECTED_TEXTS.search(str(error)) is not None
    return isinstance(error, expected) or is_resource_error


def describe(error: BaseException, extra: str) -> str:
    """An error in one line without secrets, that of a configuration's field in our words. What this package
    raises explains itself; other errors get their class in front, and how to see where they come from."""
    if isinstance(error, StrictDataclassError) and error.__cause__ and is_raised_here(error.__cause__):
        error = error.__cause__
    text = without_secrets(" ".join(str(error).split()))
    if is_raised_here(error) or isinstance(error, StrictDataclassError):
        return text
    if isinstance(error, ModuleNotFoundError) and extra:
        return f'the package {error.name} is missing: pip install "hf_tfm[{extra}]"'
    return f"{type(error).__name__}{': ' * bool(text)}{text} ({DEBUG} shows where)"


def is_raised_here(error: BaseException) -> bool:
    """Whether a `raise` in this package made an error."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and PACKAGE in Path(frames[-1].filename).parents and str(frames[-1].line).startswith("raise")


def silence_closed_output() -> bool:
    """Whether the reader of stdout or stderr is gone; what is still written there is then dropped."""
    closed = False
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream, select.POLLERR)
        if poll.poll(0):
            closed = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return closed
