"""Options that do not fit the task or the data."""

from typing import Any

from ..arguments.training_arguments import TfmTrainingArguments
from ..objectives.base import Objective

__all__ = ["check_generation", "check_rows"]


def check_generation(args: TfmTrainingArguments, objective: Objective) -> None:
    """Raises ValueError for --predict_with_generate with a task that generates no text."""
    if args.predict_with_generate and not objective.generates_text:
        raise ValueError(
            f"--predict_with_generate is for tasks that generate text, which --task {objective.task} does not."
        )


def check_rows(args: TfmTrainingArguments, table: Any) -> None:
    """Raises ValueError if the rows for training do not give a single batch. A stream shows it only when it is read."""
    if not hasattr(table, "__len__"):
        return
    batch = args.rows_per_step // args.gradient_accumulation_steps
    if not len(table):
        raise ValueError("No row is left for training; give more data, or longer texts.")
    if args.dataloader_drop_last and len(table) < batch:
        raise ValueError(
            f"--dataloader_drop_last leaves no batch of {batch} rows, because there are {len(table)} for training; use "
            "a smaller --per_device_train_batch_size, or leave it out."
        )
