"""Whole checkpoints. A manifest, written last, lists the files of a checkpoint with size and checksum; a run resumes
only from a checkpoint that still has all of them, and all parts that the run needs."""

import json
from pathlib import Path
from typing import Any

from ..arguments.training_arguments import TfmTrainingArguments
from ..utils.files import checksum, write_atomically
from ..utils.printing import print_on_main_process
from .batch_sizes import batch_sizes, different_batches
from .ema import EMA_FILE

__all__ = [
    "MANIFEST_FILE",
    "OPTIMIZER_FOLDER",
    "checkpoint_folders",
    "fault",
    "last_saved",
    "last_whole_checkpoint",
    "number_of_processes",
    "write_manifest",
]

MANIFEST_FILE = "manifest.json"
# the optimizer states of weights sharded over processes; those of whole weights are in optimizer.pt
OPTIMIZER_FOLDER = "optimizer"


def write_manifest(folder: Path, args: TfmTrainingArguments) -> None:
    """End the writing of a checkpoint: when every file is on the disk, list all of them in manifest.json, and the rows
    of the run's steps."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "crc32": checksum(path, sync=True)}
        for path in paths
    }
    write_atomically(
        folder / MANIFEST_FILE, json.dumps({"files": files, "batches": batch_sizes(args)}, indent=1) + "\n"
    )


def fault(folder: Path, args: TfmTrainingArguments) -> str | None:
    """Why a run with these options cannot resume from a checkpoint: a file that is missing or changed, or a part that
    the checkpoint was saved without; None if it can."""
    if not folder.is_dir():
        return "no such folder"
    if not (folder / MANIFEST_FILE).exists():
        return "it is not completely written"
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        written = {name: (entry["bytes"], entry["crc32"]) for name, entry in manifest["files"].items()}
        different = different_batches(manifest["batches"], args)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST_FILE} is damaged"
    for name, (size, _) in written.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size < size:
            return f"{name} is cut short ({path.stat().st_size:,} of {size:,} bytes)"
    for name, (size, value) in written.items():
        if (folder / name).stat().st_size != size or checksum(folder / name) != value:
            return f"{name} is not what was saved"
    return missing_part(written, args) or different


def missing_part(names: Any, args: TfmTrainingArguments) -> str | None:
    """What a checkpoint with these files lacks for a run with these options; None if it lacks nothing."""
    # Trainer saves optimizer, scheduler and random states together, or none of them
    if not any(name.startswith("rng_state") for name in names):
        return "it has weights only, without optimizer, scheduler and random states (--save_only_model)"
    sizes = args.sharding_options()
    if sizes and not any(name.startswith(f"{OPTIMIZER_FOLDER}/") for name in names):
        return f"its optimizer states are those of whole weights; leave out {sizes[0]}"
    if args.ema_decay and EMA_FILE not in names:
        return f"it has no average of the weights ({EMA_FILE}), which --ema_decay needs"
    return None


def number_of_processes(folder: Path) -> int:
    """How many processes saved a checkpoint: each of them saves its random states."""
    return len(list(folder.glob("rng_state*.pth")))


def checkpoint_folders(path: Path) -> list[Path]:
    """The folders checkpoint-<steps> of a run, those with more steps first."""
    folders = [item for item in path.glob("checkpoint-*") if item.is_dir() and item.name.split("-")[1].isdigit()]
    return sorted(folders, key=lambda folder: int(folder.name.split("-")[1]), reverse=True)


def last_saved(path: Path) -> Path | None:
    """The newest checkpoint that was completely written; whether its files are still whole is not read."""
    return next((folder for folder in checkpoint_folders(path) if (folder / MANIFEST_FILE).exists()), None)


def last_whole_checkpoint(path: Path, args: TfmTrainingArguments) -> str | None:
    """The newest checkpoint from which a run can resume; newer ones are printed with their fault. None if no checkpoint
    was completely written: then the run starts again. Raises ValueError if there is only a checkpoint that was
    completely written and has a fault now, because starting again would delete it."""
    faults = {}
    for folder in checkpoint_folders(path):
        reason = fault(folder, args)
        if reason is None:
            return str(folder)
        faults[folder] = reason
        print_on_main_process(f"Skipping {folder}: {reason}")
    kept = last_saved(path)
    if kept:
        raise ValueError(
            f"The run in {path} cannot resume, because no checkpoint is whole: {kept.name}: {faults[kept]}. Start "
            f"again with --overwrite_output_dir, which deletes it, or start a new run in another --output_dir from "
            f"its weights with --init_from {kept}."
        )
    return None
