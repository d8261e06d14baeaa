"""What takes how long in a run, from a few steps and evaluated batches of the run itself, before the runs."""

import contextlib
import io
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import TrainerCallback

from hf_tfm.training.loop.output_dir import OutputDir
from hf_tfm.training.loop.trainer import TfmTrainer
from hf_tfm.training.training_run import create_model

from .preparation import PreparedArm, parse_options, train_arguments

__all__ = ["RunTimes", "run_times"]

# steps that warm up, and steps that are measured; batches that are evaluated
WARM_UP, MEASURED, BATCHES = 2, 4, 4
QUIET = ("--eval_strategy", "no", "--save_strategy", "no", "--report_to", "none", "--disable_tqdm", "True")


class RunTimes(NamedTuple):
    """Seconds of a step, of an evaluation on the validation split, and of all that is before the first step and after
    the last one, evaluations apart."""

    step: float
    evaluation: float
    start: float


class StepClock(TrainerCallback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if args.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def run_times(prepared: PreparedArm, shared: list[str], threads: int) -> RunTimes:
    """The times of an arm, on so many threads."""
    before, clock = torch.get_num_threads(), StepClock()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            own = [*QUIET, "--max_steps", str(WARM_UP + MEASURED + 1), "--output_dir", folder]
            run_args = parse_options([*train_arguments(shared, prepared.arm), *own])
            began = time.perf_counter()
            model = create_model(run_args, prepared.data, prepared.tokenizer, OutputDir(Path(folder)))
            trainer = TfmTrainer(model, run_args.training, prepared.data, prepared.examples, prepared.tokenizer)
            trainer.add_callback(clock)
            trainer.train()
            trained = time.perf_counter()
            trainer.save_model()
            saved = time.perf_counter()
            evaluation = evaluation_seconds(trainer)
    finally:
        torch.set_num_threads(before)
    steps = [later - earlier for earlier, later in pairwise(clock.times)]
    first = clock.times[0] - began
    start = prepared.seconds + first + (trained - clock.times[-1]) + (saved - trained)
    return RunTimes(statistics.median(steps[WARM_UP - 1 :]), evaluation, start)


def evaluation_seconds(trainer: TfmTrainer) -> float:
    """Seconds of an evaluation on the validation split, from some of its rows. One that generates text is longer."""
    rows = trainer.model_inputs(trainer.eval_split)
    measured = min(len(rows), BATCHES * trainer.args.eval_batch_size)
    compute, trainer.compute_metrics = trainer.compute_metrics, None
    try:
        began = time.perf_counter()
        trainer.evaluate(rows.select(range(measured)))
        return (time.perf_counter() - began) * len(rows) / measured
    finally:
        trainer.compute_metrics = compute
