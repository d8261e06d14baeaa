"""One parser for all dataclasses of options, with the defaults of the task."""

import argparse
import copy
import dataclasses
import sys
import textwrap
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from transformers import HfArgumentParser

from hf_tfm.errors import DEBUG
from hf_tfm.privacy import hide_secret_arguments, without_secrets

from ..arguments.data_arguments import DataArguments
from ..arguments.fine_tuning_defaults import fine_tuning_arguments
from ..arguments.model_arguments import ModelArguments
from ..arguments.run_arguments import RunArguments
from ..arguments.task_arguments import FITTED_OPTIONS, TaskArguments
from ..arguments.training_arguments import TfmTrainingArguments
from ..objectives import OBJECTIVES, Objective

__all__ = ["option_value", "parse_arguments"]


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each option once, with underscores, although the parser accepts dashes too, and its default unless that is
    None; keeps the lines of the list of tasks."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        shown = copy.copy(action)
        shown.option_strings = [option for option in action.option_strings if "-" not in option.lstrip("-")]
        return super()._format_action_invocation(shown)


class OptionParser(HfArgumentParser):
    """Shows no secret in a message about an invalid option."""

    def error(self, message: str) -> NoReturn:
        super().error(without_secrets(message))


def parse_arguments(arguments: list[str] | None = None) -> RunArguments:
    """The options of a run from `arguments`, by default from the command line, in which secrets are hidden afterwards,
    because experiment trackers record it. Exits with a message and status 2, as argparse does, for an unknown option or
    an invalid value."""
    from_command_line = arguments is None
    arguments = without_debug_flag(sys.argv[1:] if arguments is None else arguments)
    parser = OptionParser(
        [ModelArguments, DataArguments, TaskArguments, TfmTrainingArguments],  # pyright: ignore[reportArgumentType]
        usage="%(prog)s [--task TASK] [--option value ...]    (--help lists all options, --task TASK --help shows the "
        f"defaults of a task, {DEBUG} shows where an error comes from)",
        description="Train one Transformer and save a checkpoint that transformers loads.",
        epilog=describe_tasks(),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
    task = option_value("task", arguments) or TfmTrainingArguments.task
    set_defaults(parser, OBJECTIVES.get(task, Objective), arguments)
    try:
        # train.args beside the script, which transformers would read, is in no command that a card could show
        run_args = RunArguments(*parser.parse_args_into_dataclasses(args=arguments, look_for_args_file=False))
        check_adapter(run_args)
    except ValueError as error:
        parser.error(str(error))
    if has_own_data(arguments):
        run_args.task.fits_data = [name for name in FITTED_OPTIONS if option_value(name, arguments) is None]
    if run_args.training.task not in OBJECTIVES:
        parser.error(f"--task {run_args.training.task} is unknown; known tasks: {', '.join(OBJECTIVES)}.")
    if from_command_line:
        sys.argv[1:] = hide_secret_arguments(sys.argv[1:])
    return run_args


def without_debug_flag(arguments: list[str]) -> list[str]:
    """Arguments without a --debug that has no value. With a value it is an option of transformers."""
    following = [*arguments, "--"][1:]
    return [
        argument for argument, after in zip(arguments, following, strict=True)
        if argument != DEBUG or not after.startswith("--")
    ]  # fmt: skip


def check_adapter(run_args: RunArguments) -> None:
    """Raises ValueError for an adapter of sharded weights, and if an adapter for a model in a folder is to be pushed:
    it names its base model, which nobody else has under that path."""
    model, sizes = run_args.model, run_args.training.sharding_options()
    if model.peft and sizes:
        raise ValueError(f"--peft {model.peft} trains whole weights, and {sizes[0]} shards them; leave one out.")
    if run_args.training.push_to_hub and model.peft and not model.merge_adapter and Path(str(model.init_from)).exists():
        raise ValueError(
            f"--push_to_hub pushes an adapter for {model.init_from}, a folder that only this machine has; push the "
            "base model first and give its Hub name to --init_from, or add --merge_adapter to push the whole model."
        )


def set_defaults(parser: argparse.ArgumentParser, objective: type[Objective], arguments: list[str]) -> None:
    """Set the defaults of the task, then those of a run that continues from a checkpoint. Raises TypeError if the task
    changes an option that does not exist."""
    defaults = dict(objective.default_arguments)
    known = {
        item.name for kind in (DataArguments, TaskArguments, TfmTrainingArguments) for item in dataclasses.fields(kind)
    }
    unknown = [name for name in defaults if name not in known]
    if unknown:
        raise TypeError(
            f"{objective.__name__}.default_arguments has {', '.join(unknown)}, which no option of train.py is called "
            "(options of the model belong to default_config_fields)."
        )
    if option_value("num_train_epochs", arguments):
        # epochs replace a default number of steps
        defaults.pop("max_steps", None)
    source = option_value("init_from", arguments)
    if has_own_data(arguments):
        # these follow the user's data
        for name in ("max_steps", "eval_steps", "vocab_size"):
            defaults.pop(name, None)
        defaults |= {} if source else own_data_arguments(objective, arguments)
    if source:
        defaults |= fine_tuning_arguments(source, adapter=option_value("peft", arguments) is not None)
    parser.set_defaults(**defaults)


def has_own_data(arguments: list[str]) -> bool:
    """Whether the data are the user's."""
    return bool(option_value("train_file", arguments) or option_value("dataset_name", arguments))


def own_data_arguments(objective: type[Objective], arguments: list[str]) -> dict[str, object]:
    """Options that change for a new model that learns from the user's data. Sharded weights are not averaged."""
    sharded = any(option_value(name, arguments) for name in ("fsdp", "deepspeed", "fsdp_size", "tp_size"))
    return {name: value for name, value in objective.own_data_arguments.items() if name != "ema_decay" or not sharded}


def option_value(option: str, arguments: list[str]) -> str | None:
    """The last value of an option among command-line arguments, read before parsing because other defaults depend on
    it."""
    found = None
    for argument, following in pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name.replace("-", "_") == f"__{option}":
            found = value if equals else following
    return found


def describe_tasks() -> str:
    """The list of tasks at the end of --help: columns and defaults of each."""
    lines = ["tasks (--task), the columns that they read (--columns), and their own defaults:"]
    for name, objective in OBJECTIVES.items():
        optional = [f"({column})" for column in objective.optional_columns]
        lines.append(f"  {name:<25}{' '.join([*objective.required_columns, *optional])}")
        defaults = (objective.default_config_fields | objective.default_arguments).items()
        text = ", ".join(f"{option}={value}" for option, value in defaults)
        lines += textwrap.wrap(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6)
        own = (objective.own_data_config_fields | objective.own_data_arguments).items()
        text = "new models on your data: " + ", ".join(f"{option}={value}" for option, value in own)
        lines += textwrap.wrap(text, 100, initial_indent=" " * 6, subsequent_indent=" " * 6) if own else []
    return "\n".join(lines)
