"""Checks that read files and run no code of the checkpoint."""

import ast
import importlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import get_imports

from hf_tfm.conversion.checkpoint_files import check_weight_files, read_json
from hf_tfm.hub.files import code_files, references

from .checkpoint import Broken, Checkpoint, NotApplicable

__all__ = ["check_code", "check_imports", "check_model_type", "check_weight_names"]


def check_weight_names(checkpoint: Checkpoint) -> str:
    """Weights are there, whole, and no more than tensors."""
    try:
        check_weight_files(str(checkpoint.folder), allow_pickle=True)
    except ValueError as error:
        raise Broken(str(error)) from error
    pickled = [path.name for path in checkpoint.folder.glob("*.bin")]
    return f"pickled ({pickled[0]}): safe_serialization is safer" if pickled else "safetensors"


def check_code(checkpoint: Checkpoint) -> str:
    """Every file of code is in the folder, so that it is found offline."""
    files = needed_code(checkpoint)
    elsewhere = [name for name in own_references(checkpoint) if "--" in name]
    if elsewhere:
        raise Broken(
            f"{elsewhere[0]} is code of another repository, which is not found offline and may change; copy its files "
            "here and take the name before -- out of auto_map."
        )
    missing = [name for name in files if not (checkpoint.folder / name).exists()]
    if missing:
        raise Broken(f"the code needs {', '.join(missing)}, which the folder lacks; copy it here.")
    for reference in own_references(checkpoint):
        module, _, name = reference.rpartition(".")
        if name not in defined_names(checkpoint.folder / f"{module}.py"):
            raise Broken(f"auto_map names {reference}, but {module}.py has no {name}; correct auto_map in config.json.")
    return f"{len(files)} files"


def check_imports(checkpoint: Checkpoint) -> str:
    """The code fits this transformers, and its packages are installed."""
    for name in needed_code(checkpoint):
        path = checkpoint.folder / name
        if not path.exists():
            continue
        absent = [package for package in get_imports(path) if find_spec(package) is None]
        if absent:
            raise Broken(f"{name} imports {', '.join(absent)}, not installed here: pip install {' '.join(absent)}")
        for line, problem in outdated(ast.parse(path.read_text(encoding="utf-8"))):
            raise Broken(f"{name}:{line} {problem}")
    return "imports found"


def check_model_type(checkpoint: Checkpoint) -> str:
    """Without its code, the checkpoint does not open as another model."""
    if checkpoint.auto_map and checkpoint.is_native:
        kind = checkpoint.fields["model_type"]
        raise Broken(
            f'model_type "{kind}" is one of transformers: without trust_remote_code a {kind} with other numbers opens, '
            "and nothing says so; give the configuration class and config.json a model_type of its own."
        )
    return str(checkpoint.fields["model_type"])


def own_references(checkpoint: Checkpoint) -> list[str]:
    tokenizer = read_json(str(checkpoint.folder), "tokenizer_config.json") or {}
    return [*references(checkpoint.auto_map), *references(tokenizer.get("auto_map"))]


def needed_code(checkpoint: Checkpoint) -> list[str]:
    """Files of code. Raises NotApplicable if the checkpoint has none of its own."""
    if not own_references(checkpoint):
        raise NotApplicable("no code of its own: a class of transformers opens it")
    return code_files(checkpoint.folder, checkpoint.fields)


def defined_names(path: Path) -> set[str]:
    """Names of a module: what it defines and imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return found


def outdated(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, what is wrong and the remedy) of code that was written for an older transformers."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("transformers"):
            yield from ((node.lineno, problem) for problem in missing_names(node))
    for node in ast.walk(tree):
        names = [target.id for target in getattr(node, "targets", ()) if isinstance(target, ast.Name)]
        if "_tied_weights_keys" in names and isinstance(getattr(node, "value", None), ast.List | ast.Tuple | ast.Set):
            yield (
                node.lineno,  # pyright: ignore[reportAttributeAccessIssue]
                "lists _tied_weights_keys, which transformers 5 neither ties nor saves; write a dictionary, "
                '{"lm_head.weight": "model.embed_tokens.weight"}.',
            )


def missing_names(node: ast.ImportFrom) -> Iterator[str]:
    """What a `from transformers... import` does not find."""
    try:
        module: Any = importlib.import_module(str(node.module))
    except ImportError:
        yield f"imports {node.module}, which this transformers does not have; port the code to transformers 5."
        return
    for alias in node.names:
        if alias.name != "*" and not hasattr(module, alias.name) and find_submodule(module, alias.name) is None:
            yield (
                f"imports {alias.name} from {node.module}, which this transformers does not have; port the code to "
                "transformers 5."
            )


def find_submodule(module: Any, name: str) -> Any:
    return find_spec(f"{module.__name__}.{name}") if hasattr(module, "__path__") else None
