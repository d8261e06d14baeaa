"""Modules of the conversion import only modules before them: core, families, registry, conversion, commands."""

import ast
from pathlib import Path

import pytest

import hf_tfm.conversion

PACKAGE = Path(hf_tfm.conversion.__file__).parent
ORDER = [
    "errors", "weight_transforms", "weight_map", "weight_transfer", "auto_classes", "family",
    "rope_and_window_mappings", "config_diff", "parity_check",
    "families",
    "registry",
    "parity_results", "native_checkpoints", "convert",
    "convert_command", "families_command",
    "__init__",
]  # fmt: skip


def imported_modules(path: Path) -> set[str]:
    """Names of the modules in `ORDER` that a file imports."""
    is_family = path.parent.name == "families"
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.level == 0:
            continue
        if is_family and node.level == 1:
            imported.add("families")
        elif node.level == (2 if is_family else 1):
            imported.add((node.module or "").partition(".")[0])
    return imported


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_modules_import_only_modules_before_them(path: Path) -> None:
    name = "families" if path.parent.name == "families" else path.stem
    allowed = ORDER[: ORDER.index(name)] + (["families"] if name == "families" else [])
    assert imported_modules(path) <= set(allowed), f"{name} may import only {', '.join(allowed)}"


def test_the_core_imports_no_family() -> None:
    importing = {path.stem for path in PACKAGE.glob("*.py") if "families" in imported_modules(path)}
    assert importing == {"registry"}
