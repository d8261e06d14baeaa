"""The files with which sentence-transformers opens a checkpoint: its modules (pooling, dense, normalize), the longest
text, prompts and similarity."""

import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from huggingface_hub import snapshot_download

from .checkpoint_files import find_file
from .errors import ConversionError

__all__ = ["copy_files", "read_modules"]

MODULES = "modules.json"
# beside modules.json; the second was once named after the model type, as in sentence_roberta_config.json
SETTINGS = ("config_sentence_transformers.json", "sentence_*_config.json")
LIBRARY = "sentence_transformers."


def read_modules(source: str) -> list[dict[str, Any]]:
    """The entries of a checkpoint's modules.json, or none if it is not one of sentence-transformers. Raises
    ConversionError for a module whose code comes with the checkpoint, and for folders outside of it."""
    path = find_file(source, MODULES)
    if path is None:
        return []
    try:
        modules = json.loads(Path(path).read_text(encoding="utf-8"))
        kinds, folders = [module["type"] for module in modules], [PurePosixPath(module["path"]) for module in modules]
    except (ValueError, TypeError, KeyError) as error:
        raise ConversionError(
            f'{path} is no JSON list of modules with "type" and "path"; download it again.'
        ) from error
    for kind, folder in zip(kinds, folders, strict=True):
        if not kind.startswith(LIBRARY):
            raise ConversionError(
                f"{path} names {kind}, whose code comes with the checkpoint and is not copied; remove {MODULES} to "
                "convert the model alone."
            )
        if folder.is_absolute() or ".." in folder.parts:
            raise ConversionError(f"{path} names {str(folder)!r}; modules are read only from inside of the checkpoint.")
    return modules


def copy_files(source: str, modules: list[dict[str, Any]], destination: Path) -> None:
    """Copy modules.json, the settings and the folders of all modules but the model itself, as they are."""
    patterns = [MODULES, *SETTINGS, *(f"{module['path']}/*" for module in modules if module["path"])]
    folder = Path(source) if Path(source).is_dir() else Path(snapshot_download(source, allow_patterns=patterns))
    for file in (file for pattern in patterns for file in folder.glob(pattern) if file.is_file()):
        copy = destination / file.relative_to(folder)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
