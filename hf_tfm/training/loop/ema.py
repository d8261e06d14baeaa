"""A running mean of the weights over the steps of a run (Polyak and Juditsky 1992): measured and saved in place of the
last weights, kept in every checkpoint, taken up again on resuming."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import TrainerCallback

__all__ = ["EMA_FILE", "ExponentialMovingAverage"]

EMA_FILE = "ema.safetensors"


class ExponentialMovingAverage(TrainerCallback):
    """mean <- decay mean + (1 - decay) weights, after every step, over trainable weights.

    The decay begins lower, at (1 + step) / (10 + step), so that the random start is soon forgotten."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.is_applied = decay, False
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.averages = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the mean towards the weights."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, mean in self.averages.items():
            mean.lerp_(self.weights[name], 1 - decay)

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """The model has the mean for its weights inside this context, which may stand within another one."""
        if self.is_applied:
            yield
            return
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        self.is_applied = not self.is_applied
        for name, mean in self.averages.items():
            kept = self.weights[name].detach().clone()
            self.weights[name].copy_(mean)
            mean.copy_(kept)

    def save(self, folder: str) -> None:
        """Write the mean beside a checkpoint's weights."""
        save_file(self.averages, Path(folder) / EMA_FILE)

    def load(self, folder: str) -> None:
        """Take up the mean of a checkpoint. Raises ValueError if it has none."""
        path = Path(folder) / EMA_FILE
        if not path.is_file():
            raise ValueError(
                f"{folder} holds no running mean of weights ({EMA_FILE}), with which --ema_decay would go on; start "
                "afresh, or leave --ema_decay out."
            )
        for name, mean in load_file(path).items():
            self.averages[name].copy_(mean)
