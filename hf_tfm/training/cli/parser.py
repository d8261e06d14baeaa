"""The choices of a run beside its training settings, one dataclass per subject, and the command line of them all."""

import sys
from itertools import pairwise

from transformers import HfArgumentParser

from ..arguments.data_arguments import DataArguments
from ..arguments.model_arguments import ModelArguments
from ..arguments.run_arguments import Options
from ..arguments.task_arguments import TaskArguments
from ..arguments.task_defaults import SETTINGS, further
from ..arguments.training_arguments import TrainSettings

__all__ = ["parse_options"]


def parse_options(arguments: list[str] | None = None) -> Options:
    """Choices from the command line, or from `arguments`. Exits with a message and status 2, as argparse does, for an
    unknown option or an impossible value."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = HfArgumentParser(
        [ModelArguments, DataArguments, TaskArguments, TrainSettings],  # pyright: ignore[reportArgumentType]
        usage="%(prog)s [--task WORD] [--option value ...]    (--help lists every option; --task WORD --help that "
        "task's defaults)",
        description="Train one Transformer and leave a checkpoint that Hugging Face loads.",
        allow_abbrev=False,
    )
    parser.set_defaults(**SETTINGS.get(value_of("task", arguments) or TrainSettings.task, {}))
    source = value_of("init_from", arguments)
    if source:
        parser.set_defaults(**further(source, adapter=value_of("peft", arguments) is not None))
    try:
        return Options(*parser.parse_args_into_dataclasses(args=arguments))
    except ValueError as error:
        parser.error(str(error))


def value_of(option: str, arguments: list[str]) -> str | None:
    """What an option is given among command-line arguments, before they are parsed: it decides defaults of others."""
    found = None
    for word, following in pairwise([*arguments, ""]):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == f"__{option}":
            found = value if equals else following
    return found
