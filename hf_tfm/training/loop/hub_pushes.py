"""Pushes to the Hub before, during and after training."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import HubStrategy
from transformers.utils.hub import hf_api

from hf_tfm.hub.access import check_push
from hf_tfm.hub.files import CARD, LEFT_OUT
from hf_tfm.hub.uploads import upload_folder

from ..arguments.training_arguments import TfmTrainingArguments
from ..utils.printing import print_on_main_process
from .distributed import on_main_process

__all__ = ["CARD", "HubPushes", "check_pushes"]

# What a folder has beside the model: not part of a model on the Hub.
NOT_OF_THE_MODEL = [pattern for patterns in LEFT_OUT.values() for pattern in patterns]


def check_pushes(args: TfmTrainingArguments) -> None:
    """Raises ValueError if the pushes of a run would be refused, before it reads anything."""
    name = args.hub_model_id or Path(str(args.output_dir)).absolute().name
    on_main_process(lambda: check_push(hf_api(), name, args.hub_token, private=bool(args.hub_private_repo)))


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
            self.upload(self.args.output_dir, "Start of training", allow_patterns=[CARD])

    def push_result(self) -> None:
        """Push the finished model with its card, without the state of the run, after the pushes of checkpoints."""
        trainer = self.trainer
        self.wait()
        if trainer.is_world_process_zero():
            trainer.callback_handler.on_push_begin(self.args, trainer.state, trainer.control)
            self.upload(self.args.output_dir, "End of training", ignore_patterns=list(NOT_OF_THE_MODEL))

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
        self.jobs[f"the model of step {step}"] = self.start_upload(
            folder, message, ignore_patterns=list(NOT_OF_THE_MODEL)
        )
        if strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            place = "last-checkpoint" if strategy == HubStrategy.CHECKPOINT else folder.name
            self.jobs[folder.name] = self.start_upload(folder, f"{message}, checkpoint", path_in_repo=place)

    def write_card(self, folder: Path) -> None:
        """Trainer's own card, because train.py writes one at the end. PEFT has written one for an adapter."""
        if not (folder / CARD).exists():
            output_dir, self.args.output_dir = self.args.output_dir, str(folder)
            try:
                self.trainer.create_model_card()
            finally:
                self.args.output_dir = output_dir

    def start_upload(self, *args: Any, **kwargs: Any) -> Future:
        return hf_api().run_as_future(self.upload, *args, **kwargs)

    def upload(self, folder: Path | str, message: str, **kwargs: Any) -> Any:
        return upload_folder(
            hf_api(),
            print_on_main_process,
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
