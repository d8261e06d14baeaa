"""Exponential moving average (EMA) of the weights (Polyak and Juditsky 1992). It is evaluated and saved instead of the
last weights, and every checkpoint contains it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback

from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["EMA_FILE", "ExponentialMovingAverage", "make_ema"]

EMA_FILE = "ema.safetensors"


class ExponentialMovingAverage(TrainerCallback):
    """average <- decay * average + (1 - decay) * weights, after every step, for trainable weights.

    The decay starts lower, at (1 + step) / (10 + step), so that the random initial weights soon have no influence.
    torch's AveragedModel is not used: it copies the whole model, frozen weights included, and its first update replaces
    the average by the weights."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.is_applied = decay, False
        self.weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.averages = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update the average."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        update = get_ema_multi_avg_fn(decay)
        update(tuple(self.averages.values()), tuple(self.weights.values()), state.global_step)

    @contextmanager
    def average_parameters(self) -> Iterator[None]:
        """Inside this context the model has the average as its weights. Contexts may be nested."""
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
        """Exchange weights and average."""
        self.is_applied = not self.is_applied
        for name, average in self.averages.items():
            weight = self.weights[name].detach().clone()
            self.weights[name].copy_(average)
            average.copy_(weight)

    def save(self, folder: str) -> None:
        """Save the average next to the weights of a checkpoint."""
        save_file(self.averages, Path(folder) / EMA_FILE)

    def load(self, folder: str) -> None:
        """Load the average of a checkpoint. Raises ValueError if it is that of other weights."""
        loaded = load_file(Path(folder) / EMA_FILE)
        if loaded.keys() != self.averages.keys():
            names = ", ".join(sorted(loaded.keys() ^ self.averages.keys())[:5])
            raise ValueError(f"{folder}/{EMA_FILE} averages other weights than those of this model: {names}.")
        for name, average in loaded.items():
            self.averages[name].copy_(average)


def make_ema(model: nn.Module, args: TfmTrainingArguments) -> ExponentialMovingAverage | None:
    """The average of --ema_decay, if any. Raises ValueError if weights are sharded over processes."""
    if not args.ema_decay:
        return None
    if args.sharded_by_accelerate or args.sharding_options():
        raise ValueError("--ema_decay needs whole weights, and here they are sharded; leave it out.")
    return ExponentialMovingAverage(model, args.ema_decay)
