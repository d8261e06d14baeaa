"""The host's Trainer with the blanks filled: our optimisers, a schedule in shares, checkpoints that are whole or named
as not, and randomness that depends on the seed, the pass over the data and the row alone."""

from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

__all__ = ["EpochCounter"]


class EpochCounter(TrainerCallback, ExportableState):
    """Counts the passes over the data (`number`, and the step at which it `began`) and tells the trainer's parts."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.number, self.began = trainer, 0, 0

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"number": self.number, "began": self.began}}

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.trainer.set_epoch(self.number)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.number, self.began = self.number + 1, state.global_step
