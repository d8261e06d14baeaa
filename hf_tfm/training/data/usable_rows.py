"""The rows that can become examples, and how long the rows of a run may be: both depend on the tokenizer."""

from dataclasses import replace
from functools import partial
from typing import Any

from datasets import Dataset

from ..objectives.base import Objective
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.encoding_checks import check_encoding, fitting_length, usable_batch
from ..utils.printing import print_on_main_process
from .sources import TaskData

__all__ = ["with_usable_rows"]

# Most tokens of a row unless an option says otherwise; longer rows would take most of the time.
MAX_LENGTH = 1024


def with_usable_rows(
    data: TaskData, tokenizer: Any, max_positions: int | None = None, num_proc: int | None = None
) -> TaskData:
    """The data without the rows that cannot become examples. Raises ValueError that names the first of them, unless
    such rows are dropped; in a stream, when it is reached. Built-in data have no such rows.

    Lengths that no option gives (`TaskArguments.fits_data`) become as large as the longest row needs: the task's
    default, doubled as often as necessary, at most 1024 and `max_positions`, the positions of the model if they are
    known. They do not grow where long texts are truncated, and for a stream, whose rows are unknown."""
    objective = data.objective
    if data.is_default or objective.encoder(tokenizer) is None:
        return data
    fits = not data.streaming and objective.long_texts == "error"
    options = [name for name in objective.length_columns if fits and name in objective.args.fits_data]
    limit = min(MAX_LENGTH, max_positions or MAX_LENGTH)
    least = {name: min(limit, getattr(objective.args, name)) for name in options}
    set_lengths(objective, dict.fromkeys(options, limit))
    encode: Any = objective.encoder(tokenizer)
    counted = {f"_{name}": objective.length_columns[name] for name in options}
    check = partial(check_encoding, encode=encode, lengths=counted)
    splits = {}
    for name, table in data.splits.items():
        if isinstance(table, Dataset):
            splits[name] = objective.bad_rows.map(table, check, remove=[], num_proc=num_proc, desc="Checking rows")
        else:
            keep = partial(usable_batch, encode=encode, bad_rows=objective.bad_rows)
            splits[name] = map_rows(table, keep, features=table.features)
    longest = {name: max(max(table[f"_{name}"]) for table in splits.values()) for name in options}
    set_lengths(objective, {name: fitting_length(longest[name], least[name], limit) for name in options})
    if options:
        chosen = [f"--{name} {getattr(objective.args, name)} (longest row: {longest[name]})" for name in options]
        print_on_main_process(f"Lengths in tokens, by your data: {', '.join(chosen)}")
    splits = {name: table.select_columns(data.splits[name].column_names) for name, table in splits.items()}
    return replace(data, splits=splits)


def set_lengths(objective: Objective, lengths: dict[str, int]) -> None:
    for name, length in lengths.items():
        setattr(objective.args, name, length)
