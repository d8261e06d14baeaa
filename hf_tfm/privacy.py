"""Keeps tokens, passwords and the folders of this machine out of what is written for others.

It works on text and plain values, and knows nothing about models, data or tasks."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from huggingface_hub import get_token

__all__ = [
    "find_private",
    "hide_secret_arguments",
    "hide_secret_values",
    "is_absolute",
    "shareable",
    "shareable_arguments",
    "without_secrets",
]

HIDDEN = "<HIDDEN>"
# Names of options, fields and variables whose value is secret; transformers hides those that end with _token.
SECRET_WORDS = r"token|api[_-]?key|secret|secret[_-]key|access[_-]key|password|passwd|credentials?|signature|sig"
SECRET_NAME = re.compile(rf"(?:.*[_-])?(?:{SECRET_WORDS})", re.I)
HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
# Patterns of secrets inside a text, each with what replaces it.
PATTERNS = (
    # https://user:password@machine
    (re.compile(r"(\w://)[^/\s\"'@]+@"), r"\1"),
    # https://...?X-Amz-Signature=..., token=..., "token": "..."
    (
        re.compile(rf"((?<![\w-])(?:[\w-]*[_-])?(?:{SECRET_WORDS})(?:=|[\"']\s*:\s*)[\"']?)[^\s\"'&#,}}]+", re.I),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b(Bearer|Basic)\s+[^\s\"']+", re.I), rf"\1 {HIDDEN}"),
    # a token of the Hub, wherever it stands
    (HUB_TOKEN, HIDDEN),
)
# An absolute path with at least one folder, up to its last part; not the path of a URL.
FOLDERS = re.compile(r"(?<![\w.:/\\~])(?:~[\w.-]*|[A-Za-z]:)?[/\\](?:[^/\\\s\"',;:=]+[/\\])+")
# Shorter values of variables are no secrets, and would be found in ordinary words.
MIN_SECRET_LENGTH = 8


def is_secret_name(name: str) -> bool:
    """Whether an option, a field or a variable of this name holds a secret: hub_token, --hub-token, WANDB_API_KEY."""
    return SECRET_NAME.fullmatch(name.lstrip("-")) is not None


def hide_secret_values(text: str, *values: str | None) -> str:
    """A text in which the given secrets and those of this process (environment, login to the Hub) are hidden."""
    for value in known_secrets(*values):
        text = text.replace(value, HIDDEN)
    return text


def known_secrets(*values: str | None) -> list[str]:
    """The given secrets and those of this process, longest first."""
    known = [*values, get_token(), *(value for name, value in os.environ.items() if is_secret_name(name))]
    return sorted({value for value in known if value and len(value) >= MIN_SECRET_LENGTH}, key=len, reverse=True)


def find_private(text: str, folders: Iterable[str] = ()) -> Iterator[tuple[int, str]]:
    """(line, what) of every secret of this process, token of the Hub, and folder of this machine in a text: the home
    folder, the current one, and the absolute `folders`. The secret itself is not repeated."""
    paths = {path for path in (str(Path.home()), str(Path.cwd()), *folders) if len(path) > 1}
    # paths as JSON writes them too; not as a part of a longer name
    escaped = "|".join(re.escape(form) for path in sorted(paths) for form in {path, json.dumps(path)[1:-1]})
    secrets = "|".join([HUB_TOKEN.pattern, *map(re.escape, known_secrets())])
    for found in re.finditer(rf"(?P<secret>{secrets})|(?<![\w.])(?:{escaped})(?![\w-])", text):
        line = text.count("\n", 0, found.start()) + 1
        yield line, "a token or password" if found["secret"] else f"the path {found[0]}"


def without_secrets(text: str) -> str:
    """A text in which the secrets of this process and what looks like a secret are hidden."""
    text = hide_secret_values(text)
    for pattern, replacement in PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def shareable(value: Any) -> Any:
    """A value whose texts, also in lists and dictionaries, have no secrets, and of absolute paths only the last part:
    a folder names a person or a machine. A value of another type is returned as it is."""
    if isinstance(value, dict):
        return {key: HIDDEN if is_secret_name(str(key)) and item else shareable(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(shareable, value))
    # not of an Enum, which may be a text too
    if type(value) is not str:
        return value
    if is_absolute(value):
        return PureWindowsPath(value).name or value
    return FOLDERS.sub("", without_secrets(value))


def is_absolute(path: str) -> bool:
    """Whether a text is one absolute path, or a path from a home folder or from above the current one."""
    relative_to_above = re.match(r"(~[\w.-]*|\.\.)[/\\]", path) is not None
    return relative_to_above or PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()


def hide_secret_arguments(arguments: list[str]) -> list[str]:
    """Command-line arguments in which the values of secret options, and secrets inside other values, are hidden."""
    hidden, previous = [], ""
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        if is_option(previous) and is_secret_name(previous):
            hidden.append(HIDDEN)
        elif equals and is_option(name) and is_secret_name(name):
            hidden.append(f"{name}={HIDDEN}")
        else:
            hidden.append(without_secrets(argument))
        previous = argument
    return hidden


def shareable_arguments(arguments: list[str]) -> list[str]:
    """Command-line arguments for others, without secrets and without folders of this machine."""
    shared = []
    for argument in hide_secret_arguments(arguments):
        name, equals, value = argument.partition("=")
        shared.append(f"{name}={shareable(value)}" if equals and is_option(name) else shareable(argument))
    return shared


def is_option(argument: str) -> bool:
    return argument.startswith("--")
