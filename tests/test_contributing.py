"""CONTRIBUTING tells the truth: the tree and the tour name what is there, all of it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODELING = ROOT / "hf_tfm" / "modeling"
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return TEXT.split(f"## {title}\n")[1].split("\n## ")[0]


def paths_in_tree() -> set[str]:
    """Paths of the indented tree, relative to the repository."""
    paths, parents = set(), []
    for line in section("The tree").split("```")[1].splitlines()[1:]:
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        parents = [*parents[:depth], name]
        paths.add("".join(parents).rstrip("/"))
    return paths


def test_everything_in_the_tree_exists():
    missing = [path for path in sorted(paths_in_tree()) if not (ROOT / path).exists()]
    assert not missing, f"CONTRIBUTING's tree names {missing}"


def test_every_room_is_in_the_tree():
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "hf_tfm").rglob("*.py")}
    assert not rooms - paths_in_tree(), f"add these rooms to CONTRIBUTING's tree: {sorted(rooms - paths_in_tree())}"


def tour() -> list[str]:
    """Names of the modeling files in the order of the tour."""
    return [name for name in re.findall(r"`(\w+)\.py`", section("A tour")) if name != "train"]


def test_the_tour_passes_every_file_of_the_modeling_code():
    files = {path.stem for path in MODELING.glob("*.py")} - {"__init__"}
    assert sorted(tour()) == sorted(files)


def test_each_file_of_the_tour_imports_only_files_before_it():
    names = tour()
    for position, name in enumerate(names):
        imported = re.findall(
            r"^from \.(\w+) import", (MODELING / f"{name}.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        later = [other for other in imported if other not in names[:position]]
        assert not later, f"{name}.py imports {later}, which the tour passes later"


def test_files_and_tests_that_the_recipes_name_exist():
    names = {path.name for path in [*(ROOT / "hf_tfm").rglob("*"), *(ROOT / "tests").rglob("*")]}
    named = {name for name in re.findall(r"`([\w/]+\.(?:py|json))`", TEXT) if name not in {"mymodel.py", "train.py"}}
    missing = [name for name in sorted(named) if name.split("/")[-1] not in names]
    assert not missing, f"CONTRIBUTING names {missing}"
