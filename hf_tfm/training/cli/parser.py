"""The command line: all dataclasses of options in one parser, with the defaults of the task."""

import sys
from itertools import pairwise

from transformers import HfArgumentParser

from ..arguments.data_arguments import DataArguments
from ..arguments.model_arguments import ModelArguments
from ..arguments.run_arguments import RunArguments
from ..arguments.task_arguments import TaskArguments
from ..arguments.task_defaults import ARGUMENTS_OF_TASK, fine_tuning_arguments
from ..arguments.training_arguments import TfmTrainingArguments

__all__ = ["parse_arguments"]


def parse_arguments(arguments: list[str] | None = None) -> RunArguments:
    """Choices from the command line, or from `arguments`. Exits with a message and status 2, as argparse does, for an
    unknown option or an impossible value."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = HfArgumentParser(
        [ModelArguments, DataArguments, TaskArguments, TfmTrainingArguments],  # pyright: ignore[reportArgumentType]
        usage="%(prog)s [--task WORD] [--option value ...]    (--help lists every option; --task WORD --help that "
        "task's defaults)",
        description="Train one Transformer and leave a checkpoint that Hugging Face loads.",
        allow_abbrev=False,
    )
    parser.set_defaults(**ARGUMENTS_OF_TASK.get(option_value("task", arguments) or TfmTrainingArguments.task, {}))
    source = option_value("init_from", arguments)
    if source:
        parser.set_defaults(**fine_tuning_arguments(source, adapter=option_value("peft", arguments) is not None))
    try:
        return RunArguments(*parser.parse_args_into_dataclasses(args=arguments))
    except ValueError as error:
        parser.error(str(error))


def option_value(option: str, arguments: list[str]) -> str | None:
    """What an option is given among command-line arguments, before they are parsed: it decides defaults of others."""
    found = None
    for word, following in pairwise([*arguments, ""]):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == f"__{option}":
            found = value if equals else following
    return found
