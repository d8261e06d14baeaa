"""Which module of the package imports which, read from the source files."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "hf_tfm"
SCRIPTS = [path for path in (ROOT / "train.py",) if path.exists()]
SCRIPT_NAMES = {path.stem for path in SCRIPTS}
Graph = dict[str, set[str]]


class Import(NamedTuple):
    """One imported module. `level`: number of leading dots; `names`: what is imported from it, if anything."""

    line: int
    level: int
    module: str
    names: tuple[str, ...]
    is_top_level: bool


def imports_of(tree: ast.Module) -> Iterator[Import]:
    top_level = set(map(id, tree.body))
    # `try` may guard torch modules that older versions lack: the scan of transformers skips it, and torch is there
    guarded = [part for node in tree.body if isinstance(node, ast.Try) for part in node.body]
    top_level |= {
        id(part) for part in guarded if isinstance(part, ast.ImportFrom) and f"{part.module}".startswith("torch.")
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


def module_file(dotted: str) -> Path | None:
    """The file of a module of the package."""
    path = ROOT / Path(*dotted.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None)


def dotted_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path, tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every module of the package, or script, that a file at `path` imports."""
    folder = path.relative_to(ROOT).parts[:-1]
    for found in imports_of(tree):
        if found.level:
            kept = folder[: len(folder) - found.level + 1]
            base = ".".join([*kept, *filter(None, [found.module])])
        else:
            base = found.module
        if base.partition(".")[0] not in {"hf_tfm", *SCRIPT_NAMES}:
            continue
        submodules = [f"{base}.{name}" for name in found.names if module_file(f"{base}.{name}")]
        yield from ((found.line, name) for name in submodules)
        if len(submodules) < len(found.names) or not found.names:
            yield found.line, base


def module_graph(files: list[Path]) -> Graph:
    """Module -> the modules that it imports."""
    return {dotted_name(path): {dotted for _, dotted in imported_modules(path, parse(path))} for path in files}


def circles(graph: Graph) -> list[list[str]]:
    """Every circle that a depth-first walk finds, as the list of names on it."""
    found, done = [], set()

    def walk(name: str, trail: list[str]) -> None:
        if name in trail:
            found.append([*trail[trail.index(name) :], name])
        elif name not in done:
            for target in sorted(graph.get(name, ())):
                walk(target, [*trail, name])
            done.add(name)

    for name in sorted(graph):
        walk(name, [])
    return found
