"""What takes how long in a run, from a few steps and evaluated batches of the run itself, before the runs."""

import contextlib
import io
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch

from hf_tfm.training.loop.output_dir import OutputDir
from hf_tfm.training.loop.trainer import TfmTrainer
from hf_tfm.training.training_run import create_model

from .preparation import PreparedArm, parse_options, train_arguments
from .run_process import ALONE
from .step_clock import MEASURED_STEPS, StepClock

__all__ = ["RunTimes", "run_times"]

# batches of the validation split that are evaluated
BATCHES = 4
QUIET = (*ALONE, "--eval_strategy", "no", "--save_strategy", "no", "--report_to", "none", "--disable_tqdm", "True")


class RunTimes(NamedTuple):
    """Seconds of a step, of an evaluation on the validation split, and of all that is before the first step and after
    the last one, evaluations apart."""

    step: float
    evaluation: float
    start: float


def run_times(prepared: PreparedArm, shared: list[str], threads: int) -> RunTimes:
    """The times of an arm, on so many threads."""
    before, clock = torch.get_num_threads(), StepClock()
    torch.set_num_threads(threads)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            own = [*QUIET, "--max_steps", str(MEASURED_STEPS), "--output_dir", folder]
            run_args = parse_options([*train_arguments(shared, prepared.arm), *own])
            began = time.perf_counter()
            model = create_model(run_args, prepared.data, prepared.tokenizer, OutputDir(Path(folder)))
            trainer = TfmTrainer(model, run_args.training, prepared.data, prepared.examples, prepared.tokenizer)
            trainer.add_callback(clock)
            trainer.train()
            trainer.save_model()
            saved = time.perf_counter()
            evaluation = evaluation_seconds(trainer)
    finally:
        torch.set_num_threads(before)
    start = prepared.seconds + (clock.times[0] - began) + (saved - clock.times[-1])
    return RunTimes(clock.step_seconds, evaluation, start)


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
