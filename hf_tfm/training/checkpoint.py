"""Where a run writes, and where it goes on."""

import shutil
from pathlib import Path

from transformers.trainer_utils import get_last_checkpoint

from .arguments import TrainSettings

__all__ = ["prepare_output_dir", "resume_point"]

# What only a finished run, or somebody else, leaves at the top of a folder.
MARKS_OF_A_RESULT = ("all_results.json", "README.md")


def resume_point(settings: TrainSettings) -> str | None:
    """Folder of the checkpoint to go on from, or None for a fresh start. Raises ValueError if there is no such one."""
    asked = settings.resume_from_checkpoint
    if asked is None or asked.lower() == "false":
        return None
    folder = get_last_checkpoint(settings.output_dir) if asked.lower() == "true" and is_folder(settings) else asked
    if folder is None or not Path(folder).is_dir():
        raise ValueError(
            f"--resume_from_checkpoint {asked}: no checkpoint there ({settings.output_dir} is searched for True). "
            "Name a checkpoint-<steps> folder, or leave the option out to start afresh."
        )
    return folder


def is_folder(settings: TrainSettings) -> bool:
    return Path(str(settings.output_dir)).is_dir()


def prepare_output_dir(settings: TrainSettings) -> None:
    """Refuse to write over earlier work unless asked to, or unless the run goes on from a checkpoint.

    With overwrite_output_dir the checkpoints of the earlier run are deleted, or a later resume would pick them up.
    Raises FileExistsError."""
    folder = Path(str(settings.output_dir))
    checkpoints = sorted(folder.glob("checkpoint-*"))
    found = [path.name for path in (*(folder / mark for mark in MARKS_OF_A_RESULT), *checkpoints) if path.exists()]
    if settings.overwrite_output_dir:
        for checkpoint in checkpoints:
            shutil.rmtree(checkpoint)
    elif found and resume_point(settings) is None:
        raise FileExistsError(
            f"--output_dir {folder} holds earlier work ({', '.join(found)}). Choose another folder, go on with "
            "--resume_from_checkpoint True, or write over it with --overwrite_output_dir."
        )
    folder.mkdir(parents=True, exist_ok=True)
