"""The choices of a run beside its training settings, one dataclass per subject, and the command line of them all."""

from typing import NamedTuple

from .data_arguments import DataArguments
from .model_arguments import ModelArguments
from .task_arguments import TaskArguments
from .training_arguments import TrainSettings

__all__ = ["Options"]


class Options(NamedTuple):
    """All choices of a run."""

    model: ModelArguments
    data: DataArguments
    task: TaskArguments
    train: TrainSettings
