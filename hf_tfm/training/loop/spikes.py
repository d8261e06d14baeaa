"""Finds steps whose loss or gradient norm stands far above those before, writes their batch to a file, and skips the
update or stops the run if --on_spike says so."""

import json
import math
from collections import deque
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from accelerate.utils import gather_object
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import SaveStrategy

from ..utils.printing import print_on_main_process
from .stopping import skip_end_of_epoch, stop_after_step

__all__ = ["SPIKES_FILE", "ScoredSteps", "SpikeCallback", "Window"]

# no name with a leading underscore is pushed to the Hub: it holds training data
SPIKES_FILE = "_spikes.jsonl"
# A step is a spike from so many standard deviations above the mean of the steps in the window.
THRESHOLD = 6.0
WINDOW_STEPS, MIN_STEPS = 100, 20
# Where all steps are alike, chance differences are many standard deviations: at least this share of the mean is one.
MIN_RELATIVE_STD = 0.01


class Window:
    """The values of the last steps, one kind of number."""

    def __init__(self) -> None:
        self.values: deque[float] = deque(maxlen=WINDOW_STEPS)

    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation."""
        mean = fmean(self.values)
        return mean, max(pstdev(self.values, mean), MIN_RELATIVE_STD * abs(mean), 1e-12)

    def score(self, value: float) -> float | None:
        """Standard deviations of a new value above the mean; infinite for what is no number; None before there are
        enough steps. A spike enters the window with the highest value that is none, so that it does not hide the next
        one, and the window still follows values that stay high."""
        if len(self.values) < MIN_STEPS:
            if not math.isfinite(value):
                return math.inf
            self.values.append(value)
            return None
        mean, std = self.spread()
        score = (value - mean) / std if math.isfinite(value) else math.inf
        self.values.append(value if score < THRESHOLD else mean + THRESHOLD * std)
        return score


class SpikeCallback(TrainerCallback, ExportableState):
    """Scores each optimizer step by its loss and by its gradient norm before clipping, over all accumulated
    micro-batches and all processes, which therefore decide alike.

    A skipped step changes neither weights nor the optimizer's momentum and counts; the learning rate's schedule, the
    number of steps and the data go on. Checkpoints contain the windows, so that a resumed run scores as an unbroken
    one."""

    def __init__(self, trainer: Any) -> None:
        self.trainer, self.action = trainer, trainer.args.on_spike
        self.windows = {"loss": Window(), "grad_norm": Window()}
        self.batches: list[dict[str, Any]] = []
        self.losses: list[torch.Tensor] = []
        self.grad_norm: Any = None
        self.stop_message: str | None = None

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {name: list(window.values) for name, window in self.windows.items()}}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Go on with the windows of the checkpoint that the run resumes from, if it does."""
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes", {})
        for name, values in saved.items():
            self.windows[name].values = deque(values, maxlen=WINDOW_STEPS)

    def add(self, inputs: dict[str, Any], loss: torch.Tensor) -> None:
        """Note a micro-batch of the current step, and its share of the loss."""
        self.batches.append(inputs)
        self.losses.append(loss.detach())

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        norm = self.grad_norm.full_tensor() if hasattr(self.grad_norm, "full_tensor") else self.grad_norm
        loss = self.trainer.accelerator.gather(torch.stack(self.losses).sum()[None]).mean()
        values = {"loss": float(loss), "grad_norm": float(norm)}
        scores = {name: self.windows[name].score(value) for name, value in values.items()}
        if any(score is not None and score >= THRESHOLD for score in scores.values()):
            self.act(state.global_step + 1, values, scores)
        self.batches, self.losses = [], []

    def act(self, step: int, values: dict[str, float], scores: dict[str, float | None]) -> None:
        """Write the spike down, and skip the update or stop if that is wanted."""
        found = ", ".join(f"{name} {value:.4g}{deviations(scores[name])}" for name, value in values.items())
        self.write({"step": step, **values, "scores": scores, "action": self.action})
        message = f"Step {step} is a spike ({found}); its batch is in {SPIKES_FILE}"
        if self.action == "log":
            print_on_main_process(message)
            return
        # optimizers pass over parameters without a gradient
        self.trainer.model.zero_grad(set_to_none=True)
        if self.action == "skip":
            print_on_main_process(f"{message}, and its update is skipped")
        else:
            self.stop_message = f"{message}. --on_spike stop ends the run before its update"

    def write(self, spike: dict[str, Any]) -> None:
        """Append a spike and the rows of its step, in all processes, to the file of the run."""
        rows = gather_object([row for batch in self.batches for row in self.rows(batch)])
        if self.trainer.is_world_process_zero():
            line = {**as_json(spike), "rows": rows}
            path = Path(str(self.trainer.args.output_dir)) / SPIKES_FILE
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def rows(self, batch: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of a micro-batch: token ids, their text (a list of several in multiple choice), and the labels where
        each row has its own."""
        size, tokenizer = len(batch["input_ids"]), self.trainer.processing_class
        names = ("input_ids", "labels", "start_positions", "end_positions")
        kept = {name: batch[name].tolist() for name in names if name in batch and len(batch[name]) == size}
        rows = [{name: entries[row] for name, entries in kept.items()} for row in range(size)]
        for row in rows:
            ids = row["input_ids"]
            row["text"] = tokenizer.batch_decode(ids) if isinstance(ids[0], list) else tokenizer.decode(ids)
        return rows

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stop_message:
            stop_after_step(args, control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stop_message:
            skip_end_of_epoch(control)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.stop_message:
            saved = args.save_strategy != SaveStrategy.NO
            raise ValueError(
                f"{self.stop_message}; the same command "
                f"{'resumes after it' if saved else 'starts again, since --save_strategy is no'}."
            )


def deviations(score: float | None) -> str:
    return "" if score is None or math.isinf(score) else f", {score:.1f} standard deviations"


def as_json(value: Any) -> Any:
    """A value of JSON, which has no infinite numbers: their names."""
    if isinstance(value, dict):
        return {name: as_json(entry) for name, entry in value.items()}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class ScoredSteps:
    """Mixin of a Trainer: tells its SpikeCallback, if any, the micro-batches, losses and gradient norm of each step."""

    args: Any
    spikes: SpikeCallback | None = None

    def watch_for_spikes(self) -> SpikeCallback | None:
        """The callback of --on_spike, if any."""
        self.spikes = None if self.args.on_spike == "none" else SpikeCallback(self)
        return self.spikes

    def training_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        loss = super().training_step(model, inputs, *args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if self.spikes is not None:
            self.spikes.add(inputs, loss)
        return loss

    def _get_grad_norm(self, *args: Any, **kwargs: Any) -> Any:
        # a private step of transformers: no public one has the norm before clipping
        norm = super()._get_grad_norm(*args, **kwargs)  # pyright: ignore[reportAttributeAccessIssue]
        if self.spikes is not None:
            self.spikes.grad_norm = norm
        return norm
