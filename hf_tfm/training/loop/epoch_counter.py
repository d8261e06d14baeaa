"""Counts epochs, also those of streams, for everything that draws random numbers."""

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

__all__ = ["EpochCounter"]


class EpochCounter(TrainerCallback, ExportableState):
    """Counts epochs, keeps the step at which the current one started, and passes the epoch to the trainer. Checkpoints
    contain both numbers."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.epoch, self.start_step = trainer, 0, 0

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"epoch": self.epoch, "start_step": self.start_step}}

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.set_epoch(self.epoch)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.epoch, self.start_step = self.epoch + 1, state.global_step
