"""How a callback ends a run between two steps of an epoch, so that the same command goes on from there."""

from typing import Any

from transformers.trainer_utils import SaveStrategy

__all__ = ["skip_end_of_epoch", "stop_after_step"]


def stop_after_step(args: Any, control: Any) -> None:
    """In `on_step_end`: no further step, and a checkpoint unless checkpoints are off."""
    control.should_training_stop = True
    control.should_save = args.save_strategy != SaveStrategy.NO


def skip_end_of_epoch(control: Any) -> None:
    """In `on_epoch_end` of a run that was stopped: the epoch has not ended, and its last step is saved."""
    control.should_save = control.should_evaluate = control.should_log = False
