"""Who may import whom. The floor (hf_tfm/modeling) travels with every checkpoint and knows nothing but its siblings and
the host; rooms know only the rooms before them in ORDER; doors know every room and nobody knows them."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from transformers.dynamic_module_utils import get_relative_imports

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_tfm"
FLOOR = PACKAGE / "modeling"
# A room may import itself and the rooms before it.
ORDER = ("modeling", "conversion", "onednn", "inspection", "cards", "hub", "training", "benchmark")
DOORS = ("__init__", "__main__", "cli")
OUTER_DOORS = [path for path in (ROOT / "train.py",) if path.exists()]
HOST = {"torch", "transformers", "huggingface_hub"}


class Import(NamedTuple):
    """One module that is asked for. `level` counts leading dots; `names` are what is taken from it, if anything."""

    line: int
    level: int
    module: str
    names: tuple[str, ...]
    is_top_level: bool


def imports_of(tree: ast.Module) -> Iterator[Import]:
    top_level = set(map(id, tree.body))
    # a part of torch that older versions lack may be tried: the host's scan leaves `try` out, and has torch anyway
    tried = [part for node in tree.body if isinstance(node, ast.Try) for part in node.body]
    top_level |= {
        id(part) for part in tried if isinstance(part, ast.ImportFrom) and f"{part.module}".startswith("torch.")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.lineno, node.level, node.module or "", names, id(node) in top_level)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, 0, alias.name, (), id(node) in top_level)


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def files_under(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def refuse(offences: list[str]) -> None:
    assert not offences, "\n" + "\n".join(offences)


# The floor


def floor_offences(tree: ast.Module, siblings: set[str]) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and what to do) for what keeps a floor file from travelling."""
    for found in imports_of(tree):
        top = found.module.partition(".")[0]
        if found.level == 1 and not found.module:
            yield found.line, "`from . import x` is not seen by the host's scan; write `from .x import name`"
        elif found.level > 1 or (found.level and "." in found.module):
            yield found.line, f"{'.' * found.level}{found.module} is not beside this file; keep the floor flat"
        elif found.level and found.module not in siblings:
            yield found.line, f"there is no {found.module}.py beside this file"
        elif not found.level and top == "hf_tfm":
            yield found.line, "the host would demand the package hf_tfm of every reader; write `from .x import name`"
        elif not found.level and top not in HOST | sys.stdlib_module_names:
            yield found.line, f"the host would demand {top} of every reader; move what needs it out of the floor"
        if not found.is_top_level:
            yield found.line, "the host demands it at load whatever the condition; import at the top, or not here"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            yield node.lineno, "the host's scan does not see this import; write `from .x import name`"
        if isinstance(node, ast.ClassDef) and "Tokenizer" in node.name:
            yield node.lineno, "the host writes auto_map entries of names with Tokenizer differently; rename the class"


FLOOR_FILES = sorted(FLOOR.glob("*.py"))
SIBLINGS = {path.stem for path in FLOOR_FILES}


@pytest.mark.parametrize("path", FLOOR_FILES, ids=label)
def test_floor_imports_only_siblings_and_the_host(path):
    refuse([f"{label(path)}:{line}: {what}" for line, what in floor_offences(parse(path), SIBLINGS)])


@pytest.mark.parametrize("path", FLOOR_FILES, ids=label)
def test_the_hosts_text_scan_of_the_floor_finds_what_python_imports(path):
    """It copies what it finds, in docstrings too, and nothing else."""
    scanned = set(get_relative_imports(path))
    imported = {found.module for found in imports_of(parse(path)) if found.level}
    lines = path.read_text(encoding="utf-8").splitlines()
    offences = []
    for name in sorted(scanned ^ imported):
        line = next((number for number, text in enumerate(lines, 1) if f".{name}" in text), 1)
        what = (
            f"the text of an import of .{name} is not an import, but the host would copy {name}.py; reword it"
            if name in scanned
            else f"the host does not see the import of .{name}; write `from .{name} import X` on a line of its own"
        )
        offences.append(f"{label(path)}:{line}: {what}")
    refuse(offences)


def test_floor_is_flat_and_its_names_travel():
    offences = []
    for path in sorted(FLOOR.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            offences.append(f"{label(path)}:1: the host copies files only; move its files up into the floor")
        elif path.name.startswith("_") and path.name not in ("__init__.py", "__pycache__"):
            offences.append(f"{label(path)}:1: Trainer pushes no name with a leading underscore; rename the file")
        elif path.suffix == ".py" and "tokenizer" in path.name.lower():
            offences.append(f"{label(path)}:1: the host treats names with Tokenizer differently; rename the file")
    refuse(offences)


@pytest.mark.parametrize(
    "text",
    [
        "from . import sibling",
        "from ..cards import card",
        "from .sub.module import X",
        "from .stranger import X",
        "import hf_tfm",
        "from hf_tfm.modeling.sibling import X",
        "import numpy as np",
        "import torch, einops",
        "def f():\n    from .sibling import X",
        "try:\n    import torch\nexcept ImportError:\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch",
        "import importlib\nimportlib.import_module('x')",
        "class TfmTokenizer:\n    pass",
    ],
)
def test_floor_check_sees(text):
    assert list(floor_offences(ast.parse(text), {"sibling"})), "the check has gone blind"


@pytest.mark.parametrize(
    "text",
    ["from .sibling import X", "import math", "from torch import nn", "from huggingface_hub.dataclasses import strict"],
)
def test_floor_check_allows(text):
    assert not list(floor_offences(ast.parse(text), {"sibling"}))


# Rooms


def module_file(dotted: str) -> Path | None:
    """The file of a module of the package, `hf_tfm` and what is below it."""
    path = ROOT / Path(*dotted.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def modules_asked_for(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every module of the package, or outer door, that a file at `path` imports."""
    folder = path.relative_to(ROOT).parts[:-1]
    for found in imports_of(tree):
        if found.level:
            kept = folder[: len(folder) - found.level + 1]
            base = ".".join([*kept, *filter(None, [found.module])])
        else:
            base = found.module
        if base.partition(".")[0] not in {"hf_tfm", *(door.stem for door in OUTER_DOORS)}:
            continue
        below = [f"{base}.{name}" for name in found.names if module_file(f"{base}.{name}")]
        yield from ((found.line, name) for name in below)
        if len(below) < len(found.names) or not found.names:
            yield found.line, base


def room_of(dotted: str) -> str:
    """The room of a module, or the door that it is."""
    first, _, rest = dotted.partition(".")
    return (rest.partition(".")[0] or "__init__") if first == "hf_tfm" else first


def dotted_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


ROOM_FILES = files_under(PACKAGE)
ALL_DOORS = {*DOORS, *(door.stem for door in OUTER_DOORS)}


def room_offences(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and what to do) for what a file at `path` may not import."""
    own = room_of(dotted_name(path))
    if own not in {*ORDER, *ALL_DOORS}:
        yield 1, f"the room {own} has no place in ORDER; give it one in {label(Path(__file__))}"
        return
    before = ORDER if own in ALL_DOORS else ORDER[: ORDER.index(own) + 1]
    for line, dotted in modules_asked_for(path, tree):
        room = room_of(dotted)
        if room in ALL_DOORS:
            yield line, f"nobody imports the door {dotted}; import from the room that defines it (hf_tfm.modeling...)"
        elif room not in before:
            yield line, f"{own} must not know {room}; {own} may know {', '.join(before)}: move the shared part up"


@pytest.mark.parametrize("path", [*ROOM_FILES, *OUTER_DOORS], ids=label)
def test_rooms_know_only_the_rooms_before_them(path):
    refuse([f"{label(path)}:{line}: {what}" for line, what in room_offences(path, parse(path))])


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("cards.py", "from hf_tfm.training.data import load"),
        ("cards.py", "from .training import data"),
        ("modeling/block.py", "from ..cards import card"),
        ("training/data.py", "import hf_tfm"),
        ("training/data.py", "from hf_tfm import TfmDecoderConfig"),
        ("training/data.py", "from .. import TfmDecoderConfig"),
        ("training/data.py", "def f():\n    from hf_tfm.benchmark import run"),
        ("training/data.py", "import train"),
        ("attic/old.py", "import math"),
    ],
)
def test_room_check_sees(place, text):
    assert list(room_offences(PACKAGE / place, ast.parse(text))), "the check has gone blind"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("training/data.py", "from hf_tfm import modeling"),
        ("training/data.py", "from hf_tfm.modeling.recipes import RECIPES"),
        ("training/data.py", "from ..modeling import recipes"),
        ("training/data.py", "from .arguments import X"),
        ("cli.py", "from hf_tfm.training import data"),
        ("__init__.py", "from .modeling.recipes import RECIPES"),
    ],
)
def test_room_check_allows(place, text):
    assert not list(room_offences(PACKAGE / place, ast.parse(text)))


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Every circle that a walk along the arrows closes, as the names on it."""
    found, done = [], set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(arrows.get(name, ())):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(arrows):
        walk(name, [])
    return found


def arrows_from(files: list[Path]) -> dict[str, set[str]]:
    return {dotted_name(path): {dotted for _, dotted in modules_asked_for(path, parse(path))} for path in files}


@pytest.mark.parametrize("folder", [FLOOR, PACKAGE], ids=label)
def test_no_imports_run_in_a_circle(folder):
    refuse(
        [
            f"{label(module_file(circle[0]) or folder)}:1: {' -> '.join(circle)} is a circle; move what both ends need "
            "into a module that knows neither"
            for circle in circles(arrows_from(files_under(folder)))
        ]
    )


def test_circle_check_sees():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]], "the check has gone blind"
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


# Rooms say what they are for

ROOMS = sorted(PACKAGE.glob("*.py")) + [
    path / "__init__.py" for path in sorted(PACKAGE.iterdir()) if path.is_dir() and files_under(path)
]


@pytest.mark.parametrize("path", ROOMS, ids=label)
def test_room_says_what_it_is_for(path):
    assert path.exists(), f"{label(path)}:1: the folder is no package; add the file, with a docstring"
    said = ast.get_docstring(parse(path)) or ""
    assert said, f"{label(path)}:1: say in a docstring what the room is for and what it never does"
    assert len(said.split()) >= 5, f"{label(path)}:1: {said!r} does not say what the room is for"
    others = {other: ast.get_docstring(parse(other)) for other in ROOMS if other != path and other.exists()}
    same = [label(other) for other, text in others.items() if text == said]
    assert not same, f"{label(path)}:1: the docstring is that of {same}; say what this room is for"
