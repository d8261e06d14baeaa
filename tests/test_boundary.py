"""Which module may import which. The floor (hf_tfm/modeling) is copied into every checkpoint and imports only its own
files, torch, transformers and huggingface_hub. A room (a module or a sub-package) imports only the rooms before it in
ORDER. Entry points may import every room, and no module imports an entry point."""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from transformers.dynamic_module_utils import get_relative_imports

import hf_tfm
from hf_tfm.modeling.auto_map import CONFIGURATION_FILE, MODEL_FILES
from tests.import_graph import (
    PACKAGE,
    ROOT,
    SCRIPT_NAMES,
    SCRIPTS,
    Graph,
    circles,
    dotted_name,
    files_under,
    imported_modules,
    imports_of,
    module_file,
    module_graph,
    parse,
)

FLOOR = PACKAGE / "modeling"
# package -> its rooms: a room may import itself and those before it; a package without an entry is one room
ORDER: dict[str, tuple[str, ...]] = {
    "hf_tfm": (
        "modeling", "privacy", "errors", "quiet", "usage", "evaluate_command", "conversion", "cpu_inference",
        "inspection", "cards", "hub", "doctor", "serving", "training", "comparison", "benchmark",
    ),
    "hf_tfm.conversion": (
        "errors", "weight_transforms", "weight_map", "weight_transfer", "auto_classes", "checkpoint_files",
        "undeclared_fields", "family", "bidirectional", "rope_and_window_mappings", "config_diff", "width_scaling",
        "parity_check", "families", "registry", "llama_cpp", "parity_results", "whole_checkpoints",
        "native_checkpoints", "convert", "sentence_transformers_files", "card", "convert_command", "families_command",
    ),
    "hf_tfm.benchmark": ("harness", "tools"),
    "hf_tfm.training": (
        "utils", "arguments", "builtin_data", "metrics", "preprocessing", "objectives", "data", "loop",
        "report", "training_run", "cli",
    ),
}  # fmt: skip
# package -> modules that may import all of its rooms, and that no module imports
ENTRY_POINTS: dict[str, tuple[str, ...]] = {"hf_tfm": ("__init__", "cli"), "hf_tfm.training": ("__init__", "__main__")}
FLOOR_DEPENDENCIES = {"torch", "transformers", "huggingface_hub"}


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def refuse(offences: list[str]) -> None:
    assert not offences, "\n" + "\n".join(offences)


# The floor


def floor_offences(tree: ast.Module, siblings: set[str]) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and what to do) for every import that the loader of transformers cannot follow."""
    for found in imports_of(tree):
        top = found.module.partition(".")[0]
        if found.level == 1 and not found.module:
            yield found.line, "`from . import x` is not seen by the scan of transformers; write `from .x import name`"
        elif found.level > 1 or (found.level and "." in found.module):
            yield found.line, f"{'.' * found.level}{found.module} is not beside this file; keep the floor flat"
        elif found.level and found.module not in siblings:
            yield found.line, f"there is no {found.module}.py beside this file"
        elif not found.level and top == "hf_tfm":
            yield found.line, "transformers would require the package hf_tfm of every user; write `from .x import name`"
        elif not found.level and top not in FLOOR_DEPENDENCIES | sys.stdlib_module_names:
            yield found.line, f"transformers would require {top} of every user; move what needs it out of the floor"
        if not found.is_top_level:
            yield found.line, "transformers requires it at load whatever the condition; import at the top, or not here"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
            yield node.lineno, "the scan of transformers does not see this import; write `from .x import name`"
        if isinstance(node, ast.ClassDef) and "Tokenizer" in node.name:
            yield (
                node.lineno,
                "transformers treats an auto_map entry with Tokenizer in its name as a tokenizer; rename the class",
            )


FLOOR_FILES = sorted(FLOOR.glob("*.py"))
SIBLINGS = {path.stem for path in FLOOR_FILES}
ENTRY_FILES = {
    reference.partition(".")[0]
    for name in hf_tfm.__all__
    for reference in getattr(getattr(hf_tfm, name), "_auto_map", {}).values()
}


def test_files_of_models_are_those_that_define_one():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in FLOOR_FILES if path.stem != "modeling_tfm"}
    models = {name for name, text in texts.items() if re.search(r"^class \w+\(.*PreTrainedModel", text, re.MULTILINE)}
    assert models == set(MODEL_FILES), "MODEL_FILES of auto_map.py: models in other files count as a user's"


def siblings_imported(path: Path) -> set[str]:
    return {found.module for found in imports_of(parse(path)) if found.level}


@cache
def siblings_needed(path: Path) -> set[str]:
    imported = siblings_imported(path)
    return imported.union(*(siblings_needed(FLOOR / f"{name}.py") for name in imported))


def siblings_to_name(path: Path) -> set[str]:
    """What a file must name. The scan of a load does not pass through files already there, so one that an `auto_map`
    names must name all that it needs, except what the configuration names, which is loaded before."""
    if path.stem not in ENTRY_FILES:
        return siblings_imported(path)
    before = set() if path.stem == CONFIGURATION_FILE else siblings_needed(FLOOR / f"{CONFIGURATION_FILE}.py")
    return siblings_imported(path) | siblings_needed(path) - before


@pytest.mark.parametrize("path", FLOOR_FILES, ids=label)
def test_floor_imports_only_siblings_and_its_dependencies(path):
    refuse([f"{label(path)}:{line}: {what}" for line, what in floor_offences(parse(path), SIBLINGS)])


@pytest.mark.parametrize("path", FLOOR_FILES, ids=label)
def test_text_scan_of_transformers_finds_what_python_imports(path):
    """The scan decides which files are copied into a checkpoint, and it matches text in docstrings too."""
    scanned, imported = set(get_relative_imports(path)), siblings_to_name(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    offences = []
    for name in sorted(scanned ^ imported):
        line = next((number for number, text in enumerate(lines, 1) if f".{name}" in text), 1)
        what = (
            f"the text of an import of .{name} is not an import, but transformers would copy {name}.py; reword it"
            if name in scanned
            else f"transformers does not see the import of .{name}; write `from .{name} import X` on a line of its "
            "own, or add it to NEEDED_BESIDES of a file that an auto_map names"
        )
        offences.append(f"{label(path)}:{line}: {what}")
    refuse(offences)


def test_floor_is_flat_and_transformers_copies_its_file_names():
    offences = []
    for path in sorted(FLOOR.iterdir()):
        if path.is_dir() and path.name != "__pycache__":
            offences.append(f"{label(path)}:1: transformers copies files only; move its files up into the floor")
        elif path.name.startswith("_") and path.name not in ("__init__.py", "__pycache__"):
            offences.append(f"{label(path)}:1: Trainer pushes no name with a leading underscore; rename the file")
        elif path.suffix == ".py" and "tokenizer" in path.name.lower():
            offences.append(f"{label(path)}:1: transformers takes files named so for tokenizers; rename the file")
    refuse(offences)


@pytest.mark.parametrize(
    "text",
    [
        "from . import sibling",
        "from ..cards import card",
        "from .sub.module import X",
        "from .unknown import X",
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
def test_floor_check_finds(text):
    assert list(floor_offences(ast.parse(text), {"sibling"})), "the check finds nothing"


@pytest.mark.parametrize(
    "text",
    ["from .sibling import X", "import math", "from torch import nn", "from huggingface_hub.dataclasses import strict"],
)
def test_floor_check_allows(text):
    assert not list(floor_offences(ast.parse(text), {"sibling"}))


# Rooms


PACKAGE_FILES = files_under(PACKAGE)


def room_of(dotted: str, package: str) -> str | None:
    """The room of a module within a package, or "__init__" for the package itself; None if it is not in the package."""
    if dotted == package:
        return "__init__"
    return dotted.removeprefix(f"{package}.").partition(".")[0] if dotted.startswith(f"{package}.") else None


def entry_points(package: str) -> tuple[str, ...]:
    return ENTRY_POINTS.get(package, ("__init__",))


def room_offences(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and what to do) for every import that a file at `path` may not have."""
    imported = list(imported_modules(path, tree))
    for line, dotted in imported:
        if dotted in SCRIPT_NAMES:
            yield line, f"no module imports the script {dotted}; move what both need into the package"
    if path not in SCRIPTS:
        for package, rooms in ORDER.items():
            yield from order_offences(dotted_name(path), imported, package, rooms)


def order_offences(
    importer: str, imported: list[tuple[int, str]], package: str, rooms: tuple[str, ...]
) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and what to do) for imports against the order of the rooms of one package."""
    own = room_of(importer, package)
    if own is None:
        return
    if own not in {*rooms, *entry_points(package)}:
        yield 1, f"the room {own} has no place in ORDER[{package!r}]; give it one in {label(Path(__file__))}"
        return
    allowed = rooms if own in entry_points(package) else rooms[: rooms.index(own) + 1]
    for line, dotted in imported:
        room = room_of(dotted, package)
        if room in entry_points(package):
            yield line, f"no module imports the entry point {dotted}; import from the module that defines it"
        elif room is not None and room not in allowed:
            yield line, f"{own} must not import {room}, only {', '.join(allowed)}: move the shared part to one of those"


@pytest.mark.parametrize("path", [*PACKAGE_FILES, *SCRIPTS], ids=label)
def test_rooms_import_only_the_rooms_before_them(path):
    refuse([f"{label(path)}:{line}: {what}" for line, what in room_offences(path, parse(path))])


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("cards.py", "from hf_tfm.training.data import sources"),
        ("cards.py", "from .training import data"),
        ("modeling/block.py", "from ..cards import card"),
        ("training/data/splits.py", "import hf_tfm"),
        ("training/data/splits.py", "from hf_tfm import TfmDecoderConfig"),
        ("training/data/splits.py", "from ... import TfmDecoderConfig"),
        ("training/data/splits.py", "def f():\n    from hf_tfm.benchmark import run"),
        ("training/data/splits.py", "import train"),
        ("attic/old.py", "import math"),
        # sub-rooms
        ("training/data/splits.py", "from ..loop.trainer import TfmTrainer"),
        ("training/data/splits.py", "from ..loop import trainer"),
        ("training/data/splits.py", "from hf_tfm.training.loop.trainer import TfmTrainer"),
        ("training/data/splits.py", "def f():\n    from ..cli.parser import parse_arguments"),
        ("training/data/splits.py", "from .. import VERSION"),
        ("training/attic/old.py", "import math"),
        ("training/old.py", "import math"),
    ],
)
def test_room_check_finds(place, text):
    assert list(room_offences(PACKAGE / place, ast.parse(text))), "the check finds nothing"


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("training/data/splits.py", "from hf_tfm import modeling"),
        ("training/data/splits.py", "from hf_tfm.modeling.recipes import RECIPES; from ...modeling import recipes"),
        ("training/data/splits.py", "from .readers import X"),
        ("training/data/splits.py", "from ..objectives import OBJECTIVES"),
        ("training/__init__.py", "from .cli import parser"),
        ("cli.py", "from hf_tfm.training import data"),
        ("__init__.py", "from .modeling.recipes import RECIPES"),
    ],
)
def test_room_check_allows(place, text):
    assert not list(room_offences(PACKAGE / place, ast.parse(text)))


def room_graph(modules: Graph, package: str) -> Graph:
    """Room of a package -> the other rooms that its modules import."""
    rooms: Graph = {}
    for importer, imported in modules.items():
        own = room_of(importer, package)
        if own is not None:
            rooms.setdefault(own, set()).update(filter(None, (room_of(dotted, package) for dotted in imported)))
    return {room: others - {room} for room, others in rooms.items()}


@pytest.mark.parametrize("folder", [FLOOR, PACKAGE], ids=label)
def test_no_modules_import_each_other_in_a_circle(folder):
    refuse(
        [
            f"{label(module_file(circle[0]) or folder)}:1: {' -> '.join(circle)} is a circle; move what both ends need "
            "into a module that imports neither"
            for circle in circles(module_graph(files_under(folder)))
        ]
    )


@pytest.mark.parametrize("package", ORDER)
def test_no_rooms_import_each_other_in_a_circle(package):
    graph = room_graph(module_graph(PACKAGE_FILES), package)
    refuse([f"{package}: {' -> '.join(circle)} is a circle; move what both ends need to a room before them"
            for circle in circles(graph)])  # fmt: skip


def test_circle_check_finds_circles_only():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]], "the check finds nothing"
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_room_circle_check_finds_circles_that_no_modules_form():
    modules = {"p.a.one": {"p.b.one"}, "p.b.two": {"p.a.two", "q.c"}}
    assert circles(modules) == []
    assert circles(room_graph(modules, "p")) == [["a", "b", "a"]], "the check finds nothing"


# Docstrings of rooms


def rooms_in(folder: Path) -> list[Path]:
    """The files that describe the rooms right below a folder: modules, and the __init__.py of packages."""
    packages = [path for path in sorted(folder.iterdir()) if path.is_dir() and files_under(path)]
    return sorted(folder.glob("*.py")) + [path / "__init__.py" for path in packages]


ROOMS = sorted({path for package in ORDER for path in rooms_in(ROOT / Path(*package.split(".")))})


def test_room_list_has_sub_rooms():
    assert PACKAGE / "training" / "data" / "__init__.py" in ROOMS, "the list has no sub-rooms"


@pytest.mark.parametrize("path", ROOMS, ids=label)
def test_each_room_has_its_own_docstring(path):
    assert path.exists(), f"{label(path)}:1: the folder is no package; add the file, with a docstring"
    docstring = ast.get_docstring(parse(path)) or ""
    assert docstring, f"{label(path)}:1: add a docstring: what the room is for and what it never does"
    assert len(docstring.split()) >= 5, f"{label(path)}:1: {docstring!r} does not explain what the room is for"
    others = {other: ast.get_docstring(parse(other)) for other in ROOMS if other != path and other.exists()}
    same = [label(other) for other, text in others.items() if text == docstring]
    assert not same, f"{label(path)}:1: the docstring is that of {same}; explain what this room is for"
