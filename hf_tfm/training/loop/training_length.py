"""How long a run trains on the user's data unless an option says so: a number of passes over the training rows, within
bounds in steps, and less if the results on the validation split stop improving."""

import math
import time
from dataclasses import dataclass
from typing import Any

from tqdm.auto import tqdm
from transformers import IntervalStrategy, TrainerCallback
from transformers.trainer_utils import SaveStrategy

from ..arguments.training_arguments import TfmTrainingArguments
from ..utils.printing import print_on_main_process

__all__ = ["TimeEstimate", "TrainingLength", "fit_length_to_data", "training_length"]

# Passes over the training rows, and bounds in optimizer steps: 400 steps teach a small model something of data with a
# few rows, and 10,000 are about an hour on two CPU cores.
PASSES, LEAST_STEPS, MOST_STEPS = 10, 400, 10_000
# Evaluations in a run, and how many of them without an improvement end it.
EVALUATIONS, PATIENCE = 20, 5
# Steps that warm up, which are not measured, and steps that are measured.
UNMEASURED_STEPS, MEASURED_STEPS = 5, 15


@dataclass(frozen=True)
class TrainingLength:
    """Optimizer steps of a run, between two evaluations, and in one pass over the rows (None for a stream)."""

    steps: int
    eval_steps: int
    steps_per_pass: int | None

    def passes(self) -> str:
        """The passes over the training rows in words; empty for a stream."""
        return "" if self.steps_per_pass is None else f"{self.steps / self.steps_per_pass:.1f} passes over the rows"


def training_length(rows: int | None, rows_per_step: int) -> TrainingLength:
    """The default length for `rows` training rows; None: a stream, whose rows are unknown."""
    steps_per_pass = None if rows is None else math.ceil(rows / rows_per_step)
    wanted = MOST_STEPS if steps_per_pass is None else PASSES * steps_per_pass
    steps = min(max(wanted, LEAST_STEPS), MOST_STEPS)
    return TrainingLength(steps, math.ceil(steps / EVALUATIONS), steps_per_pass)


def fit_length_to_data(args: TfmTrainingArguments, data: Any, rows: Any) -> None:
    """Set the steps of a run on the user's data, and stop it early, unless options say how long it trains. `rows`:
    those for training, after tokenization. Prints what was chosen. Built-in data keep the defaults of their task."""
    if data.is_default or not args.length_is_default:
        return
    count = len(rows) if hasattr(rows, "__len__") else None
    length = training_length(count, args.rows_per_step)
    args.max_steps = length.steps
    if args.eval_steps_is_default:
        args.eval_steps = length.eval_steps
    if args.early_stopping_patience is None and can_stop_early(args):
        args.early_stopping_patience = PATIENCE
    parts = [f"{length.steps:,} steps", length.passes(), early_stopping_note(args)]
    print_on_main_process(f"Length: {'; '.join(filter(None, parts))}. Other lengths: --max_steps, --num_train_epochs")


def can_stop_early(args: TfmTrainingArguments) -> bool:
    """Whether the run evaluates, and saves whole weights, to which it returns."""
    evaluates, saves = args.eval_strategy != IntervalStrategy.NO, args.save_strategy != SaveStrategy.NO
    return bool(evaluates and saves and not args.sharded_by_accelerate and not args.load_best_model_at_end)


def early_stopping_note(args: TfmTrainingArguments) -> str:
    """When the run stops before its last step; empty if it does not."""
    patience = args.early_stopping_patience
    return f"stops after {patience} evaluations without improvement on the validation split" if patience else ""


class TimeEstimate(TrainerCallback):
    """Prints about how long the run takes, from the time of a few of its first steps; the rest of the steps counts, not
    the evaluations."""

    def __init__(self) -> None:
        self.first_step, self.start_time = 0, 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.first_step = state.global_step + UNMEASURED_STEPS

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.first_step:
            self.start_time = time.perf_counter()
        if state.global_step == self.first_step + MEASURED_STEPS and state.is_world_process_zero:
            remaining = state.max_steps - state.global_step
            seconds = (time.perf_counter() - self.start_time) / MEASURED_STEPS * remaining
            note = early_stopping_note(args)
            tqdm.write(
                f"About {duration(seconds)} for the other {remaining:,} of {state.max_steps:,} steps"
                f"{'; ' if note else ''}{note}"
            )


def duration(seconds: float) -> str:
    """A time in words, with two digits or fewer."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 90 * 60 else f"{seconds / 3600:.1f} hours"
