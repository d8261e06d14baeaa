"""Ends a run when its results on the validation split no longer improve, and keeps the best weights.

transformers' EarlyStoppingCallback is not used: it forgets its count when a run resumes, and it compares one number
only. A metric such as F1 can stay at 0 for many evaluations while the loss falls, and accuracy can rise when the loss
no longer does."""

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from ..arguments.training_arguments import TfmTrainingArguments
from ..utils.printing import print_on_main_process
from .checkpoints import fault

__all__ = ["EarlyStopping", "make_early_stopping"]


class EarlyStopping(TrainerCallback, ExportableState):
    """Counts evaluations in which neither the metric nor the loss was better than in all before; `patience` of them end
    the training. The best weights are those with the best metric, and of those the ones with the lowest loss.

    `metric`: "loss", which is best when lowest, or the name of another result, which is best when highest. Checkpoints
    contain the count, so that a resumed run ends where the unbroken one does."""

    def __init__(self, patience: int, metric: str) -> None:
        self.patience, self.metric = patience, f"eval_{metric}"
        self.best: tuple[float, float] | None = None
        self.lowest_loss, self.evaluations_without = math.inf, 0

    def state(self) -> dict[str, Any]:
        attributes = {
            "best": self.best, "lowest_loss": self.lowest_loss, "evaluations_without": self.evaluations_without
        }  # fmt: skip
        return {"args": {"patience": self.patience}, "attributes": attributes}

    def update(self, results: dict[str, float]) -> bool:
        """Count an evaluation; whether its weights are the best so far."""
        loss = results["eval_loss"]
        value = -loss if self.metric == "eval_loss" else results[self.metric]
        found = (value if not math.isnan(value) else -math.inf, -loss)
        is_best = self.best is None or found > self.best
        improved = is_best or loss < self.lowest_loss
        self.best = found if is_best else self.best
        self.lowest_loss = min(self.lowest_loss, loss)
        self.evaluations_without = 0 if improved else self.evaluations_without + 1
        return is_best

    def decide(self, results: dict[str, float], state: Any, control: Any) -> bool:
        """Count an evaluation of training: save its weights if they are the best so far, and the state in which
        training ends. Returns whether they are the best."""
        is_best = self.update(results)
        if is_best:
            state.best_metric, state.best_global_step = results[self.metric], state.global_step
        control.should_training_stop = control.should_training_stop or self.has_ended
        control.should_save = control.should_save or is_best or self.has_ended
        return is_best

    @property
    def has_ended(self) -> bool:
        """Whether the results have not improved for long enough."""
        return self.evaluations_without >= self.patience

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last step is evaluated too, because its weights may be the best."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True

    def resume(self, args: Any, state: Any) -> None:
        """Go on with the count of a checkpoint. If the best weights are lost, those of the next evaluation are the best
        so far."""
        saved = state.stateful_callbacks.get(type(self).__name__, {}).get("attributes")
        if not saved:
            return
        self.best = tuple(saved["best"]) if saved["best"] else None
        self.lowest_loss, self.evaluations_without = saved["lowest_loss"], saved["evaluations_without"]
        if state.best_global_step is None:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.best_global_step}"
        reason = fault(folder, args)
        if reason:
            print_on_main_process(f"The best weights so far are lost ({folder}: {reason}); the best of the rest counts")
            self.best = state.best_global_step = state.best_metric = state.best_model_checkpoint = None


def make_early_stopping(args: TfmTrainingArguments, metric: str) -> EarlyStopping | None:
    """The rule of --early_stopping_patience, if any. Trainer then loads the best weights at the end, and the best
    checkpoint is kept beside the last one. `metric`: as in EarlyStopping."""
    if not args.early_stopping_patience:
        return None
    args.load_best_model_at_end, args.metric_for_best_model = True, f"eval_{metric}"
    args.greater_is_better = metric != "loss"
    args.save_total_limit = args.save_total_limit and max(2, args.save_total_limit)
    return EarlyStopping(args.early_stopping_patience, metric)
