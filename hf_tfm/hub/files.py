"""Which files of a folder are the model, and which stay here."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from huggingface_hub.utils import filter_repo_objects
from transformers.dynamic_module_utils import get_relative_import_files

from hf_tfm.conversion.checkpoint_files import check_weight_files, read_json
from hf_tfm.privacy import find_private

__all__ = ["LEFT_OUT", "FilesToSend", "check_files", "choose_files", "code_files", "read_fields"]

CONFIG, ADAPTER_CONFIG, CARD = "config.json", "adapter_config.json", "README.md"
ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Why files stay here -> their patterns: what a run has beside its model.
LEFT_OUT = {
    "state of a run": [
        "training_args.bin", "optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "trainer_state.json",
        "ema.safetensors", "manifest.json", "pytorch_model_fsdp*", "global_step*", "latest", "zero_to_fp32.py",
        "probe_*.json",
    ],
    "checkpoints": ["checkpoint-*/*"],
    "logs": ["runs/*", "logs/*", "wandb/*", "*.tfevents.*", "*.log"],
    "hidden or temporary": [".*", "*/.*", "_[!_]*", "*__pycache__/*", "*.pyc", "*.lock", "*.tmp"],
}  # fmt: skip
TEXT_SUFFIXES = (".json", ".jsonl", ".md", ".txt", ".py", ".html", ".jinja", ".yaml", ".yml", ".csv", ".tsv")


class FilesToSend(NamedTuple):
    """Names of files below a folder: those that are sent, and, by reason, those that are left out."""

    sent: list[str]
    left_out: dict[str, list[str]]


def choose_files(folder: Path, leave_out: list[str]) -> FilesToSend:
    """The files of a folder that are sent. `leave_out`: further patterns of files that stay here."""
    sent = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    left_out = {}
    for reason, patterns in (LEFT_OUT | {"--leave_out": leave_out}).items():
        kept = [*filter_repo_objects(sent, ignore_patterns=patterns)]
        left_out[reason] = [name for name in sent if name not in kept]
        sent = kept
    return FilesToSend(sent, {reason: names for reason, names in left_out.items() if names})


def read_fields(folder: Path) -> dict[str, Any]:
    """The fields of config.json or, of an adapter, of adapter_config.json. Raises ValueError if there is neither."""
    fields = read_json(str(folder), CONFIG) or read_json(str(folder), ADAPTER_CONFIG)
    if fields is None:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) if folder.is_dir() else "no folder"
        raise ValueError(f"{folder} has no {CONFIG} and no {ADAPTER_CONFIG} ({found}); give the folder of a model.")
    return fields


def check_files(folder: Path, files: FilesToSend) -> None:
    """Raises ValueError if a model that is sent would not be whole, or would show something of this machine."""
    fields = read_fields(folder)
    check_weights(folder, fields, files.sent)
    for name in code_files(folder, fields):
        if name not in files.sent:
            raise ValueError(f"{folder} lacks the code {name}, which {CONFIG} needs; save the model again, or add it.")
    for name, line, what in private_places(folder, files.sent):
        raise ValueError(
            f"{folder / name}:{line} holds {what}, which is not for others; remove it there, or add --leave_out {name}."
        )


def check_weights(folder: Path, fields: dict[str, Any], sent: list[str]) -> None:
    """Raises ValueError if weights are missing, cut short, or those of a base model that only this machine has."""
    if "peft_type" not in fields:
        check_weight_files(str(folder), allow_pickle=True)
        return
    if not any(name in sent for name in ADAPTER_WEIGHTS):
        raise ValueError(f"{folder} has an {ADAPTER_CONFIG}, but no {' or '.join(ADAPTER_WEIGHTS)}; save it again.")
    base = str(fields.get("base_model_name_or_path"))
    if Path(base).exists():
        raise ValueError(
            f"{folder} is an adapter on {base}, a folder that only this machine has; push the base model first and "
            f"name it in {ADAPTER_CONFIG}, or push the merged model."
        )


def code_files(folder: Path, fields: dict[str, Any]) -> list[str]:
    """The files of code that the `auto_map` of a configuration needs, also those that others import; some may be
    missing. Code of another repository is not among them."""
    found = set()
    for reference in references(fields.get("auto_map")):
        if "--" in reference:
            continue
        file = folder / f"{reference.rpartition('.')[0]}.py"
        found.add(file)
        try:
            found.update(map(Path, get_relative_import_files(file)))
        except OSError as error:
            # the scan ends at a file that is missing
            found.add(Path(str(error.filename)))
    return sorted(file.relative_to(folder).as_posix() for file in found)


def references(auto_map: Any) -> Iterator[str]:
    """Every "module.Class" in an `auto_map`; a tokenizer has two, of which one may be None."""
    for value in (auto_map or {}).values():
        yield from filter(None, value if isinstance(value, list | tuple) else [value])


def private_places(folder: Path, names: list[str]) -> Iterator[tuple[str, int, str]]:
    """(file, line, what) of every place that names a secret or a folder of this machine."""
    for name in names:
        if name.endswith(TEXT_SUFFIXES):
            text = (folder / name).read_text(encoding="utf-8", errors="replace")
            yield from ((name, line, what) for line, what in find_private(text, [str(folder.resolve())]))
