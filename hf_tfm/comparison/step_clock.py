"""Seconds of a training step."""

import statistics
import time
from itertools import pairwise
from typing import Any

import torch
from transformers import TrainerCallback

__all__ = ["MEASURED_STEPS", "StepClock"]

# steps that warm up, and all that a measurement takes
WARM_UP, MEASURED_STEPS = 2, 7


class StepClock(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    @property
    def step_seconds(self) -> float:
        """The median after those that warm up."""
        return statistics.median(later - earlier for earlier, later in pairwise(self.times[WARM_UP:]))
