"""Seconds of a training step, from a few steps of the run itself, before the runs."""

import contextlib
import io
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from hf_tfm.training.loop.output_dir import OutputDir
from hf_tfm.training.loop.trainer import TfmTrainer
from hf_tfm.training.training_run import create_model

from .preparation import PreparedArm, parse_options, train_arguments

__all__ = ["step_seconds"]

# steps that warm up, and steps that are measured
WARM_UP, MEASURED = 2, 4
QUIET = ("--eval_strategy", "no", "--save_strategy", "no", "--report_to", "none", "--disable_tqdm", "True")


class StepClock(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def step_seconds(prepared: PreparedArm, shared: list[str], threads: int) -> float:
    """The median time of a step of an arm, on so many threads."""
    before, clock = torch.get_num_threads(), StepClock()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            own = [*QUIET, "--max_steps", str(WARM_UP + MEASURED + 1), "--output_dir", folder]
            run_args = parse_options([*train_arguments(shared, prepared.arm), *own])
            model = create_model(run_args, prepared.data, prepared.tokenizer, OutputDir(Path(folder)))
            trainer = TfmTrainer(model, run_args.training, prepared.data, prepared.examples, prepared.tokenizer)
            trainer.add_callback(clock)
            trainer.train()
    finally:
        torch.set_num_threads(before)
    times = clock.times[WARM_UP:]
    return statistics.median(later - earlier for earlier, later in pairwise(times))
