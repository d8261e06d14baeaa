"""All options of a run in one tuple."""

from typing import NamedTuple

from .data_arguments import DataArguments
from .model_arguments import ModelArguments
from .task_arguments import TaskArguments
from .training_arguments import TfmTrainingArguments

__all__ = ["RunArguments"]


class RunArguments(NamedTuple):
    """All options of a run."""

    model: ModelArguments
    data: DataArguments
    task: TaskArguments
    training: TfmTrainingArguments
