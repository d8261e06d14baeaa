"""Pushes to the Hub before and during training; Trainer's own push ends the run."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import hf_api

from ..utils.printing import print_on_main_process

__all__ = ["CARD_FILE", "HubPushes"]

CARD_FILE = "README.md"
# What a checkpoint has beside the model: not part of a model on the Hub.
RESUME_FILES = [
    "optimizer*", "scheduler.pt", "scaler.pt", "rng_state*", "trainer_state.json", "ema.safetensors", "manifest.json",
    "pytorch_model_fsdp*", "global_step*", "latest", "zero_to_fp32.py",
]  # fmt: skip


class HubPushes:
    """Pushes of the checkpoints of one trainer in the background, as --hub_strategy says. Unlike Trainer's, they upload
    the folder of the checkpoint, so that the weights of an unfinished run are not copied to the top of its output
    directory, and what could not be pushed is printed."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer: Any = trainer
        self.args: Any = trainer.args
        self.jobs: dict[str, Future] = {}

    def push_card(self) -> None:
        """Push a card without a model, so that a Hub that refuses pushes ends the run before training."""
        if self.trainer.is_world_process_zero():
            self.trainer.create_model_card()
            self.upload(self.args.output_dir, "Start of training", allow_patterns=[CARD_FILE])

    def are_running(self) -> bool:
        return any(not job.done() for job in self.jobs.values())

    def leave_out_next(self) -> bool:
        """Whether the next checkpoint is not pushed because a push is running. With --hub_strategy all_checkpoints or
        --hub_always_push training waits for it instead."""
        waits = self.args.hub_always_push or self.args.hub_strategy == HubStrategy.ALL_CHECKPOINTS
        return self.are_running() and not waits

    def push(self, folder: Path) -> None:
        """Start to push a whole checkpoint."""
        trainer, strategy = self.trainer, self.args.hub_strategy
        if not self.args.push_to_hub or strategy == HubStrategy.END or not trainer.is_world_process_zero():
            return
        self.wait()
        self.write_card(folder)
        trainer.callback_handler.on_push_begin(self.args, trainer.state, trainer.control)
        step = folder.name.split("-")[1]
        message = f"Training in progress, step {step}"
        background: Any = {"run_as_future": True}
        self.jobs[f"the model of step {step}"] = self.upload(
            folder, message, ignore_patterns=RESUME_FILES, **background
        )
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else folder.name
            self.jobs[folder.name] = self.upload(folder, f"{message}, checkpoint", path_in_repo=place, **background)

    def write_card(self, folder: Path) -> None:
        """Trainer's own card, because train.py writes one at the end. PEFT has written one for an adapter."""
        if not (folder / CARD_FILE).exists():
            output_dir, self.args.output_dir = self.args.output_dir, str(folder)
            try:
                self.trainer.create_model_card()
            finally:
                self.args.output_dir = output_dir

    def upload(self, folder: Path | str, message: str, **kwargs: Any) -> Any:
        return hf_api().upload_folder(
            repo_id=self.trainer.hub_model_id,
            folder_path=folder,
            commit_message=message,
            token=self.args.hub_token,
            revision=self.args.hub_revision,
            **kwargs,
        )

    def wait(self) -> None:
        """Wait for the pushes that are running, and print those that failed."""
        for name, job in self.jobs.items():
            error = job.exception()
            if error is not None:
                text = " ".join(str(error).split()) or type(error).__name__
                print_on_main_process(f"Not pushed: {name}: {text}")
        self.jobs = {}
