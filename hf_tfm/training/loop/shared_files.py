"""What of a run's own files is not for others, who get them by a push: the folders of this machine and its name."""

import json
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.integrations.integration_utils import TensorBoardCallback, default_logdir

from ..utils.files import write_atomically

__all__ = ["find_best_checkpoint", "hide_folders_in_state", "keep_logs_out_of_pushes"]


def hide_folders_in_state(folder: Path) -> None:
    """Remove the path of the best checkpoint from a folder's trainer_state.json. Its step stays, by which a resumed run
    finds it wherever it is; Trainer would warn that a path without its folder does not exist."""
    file = folder / "trainer_state.json"
    state = json.loads(file.read_text(encoding="utf-8"))
    if state["best_model_checkpoint"]:
        write_atomically(file, json.dumps(state | {"best_model_checkpoint": None}, indent=2) + "\n")


def find_best_checkpoint(state: TrainerState, output_dir: Path) -> None:
    """Give the state of a resumed run its best checkpoint again, whose path is in no file."""
    best = output_dir / f"checkpoint-{state.best_global_step}"
    if best.is_dir():
        state.best_model_checkpoint = str(best)


def keep_logs_out_of_pushes(callbacks: list[Any], output_dir: Path) -> None:
    """TensorBoard names its files after the machine. A leading underscore keeps a folder out of pushes."""
    for callback in callbacks:
        if isinstance(callback, TensorBoardCallback) and callback.logging_dir is None:
            callback.logging_dir = str(output_dir / f"_{default_logdir()}")
