"""Loads data from a built-in dataset, the user's files, or the Hub.

Every source gives `TaskData`: three splits whose columns have the names that the task expects."""

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, interleave_datasets, load_dataset

from ..arguments.data_arguments import DataArguments
from ..builtin_data.builtin_datasets import BUILTIN_DATASETS
from ..objectives.base import Objective
from ..preprocessing.dataset_utils import iterate_rows
from ..preprocessing.rows import LOCATION, BadRows, table_rows
from ..utils.hashing import fingerprint
from ..utils.printing import print_on_main_process
from .delimited import DELIMITERS, column_names_hint
from .readers import ReadOptions, check_files, column_types, expand_patterns, file_columns, file_format
from .splits import SPLITS, SplitLimits, complete_splits
from .tables import file_stream, file_table, table_on_disk, table_stream

__all__ = ["TaskData", "load_data"]

# Limits of the rows that are evaluated during training unless --max_eval_samples is given: a few seconds of a small
# model.
EVAL_ROWS, EVAL_BYTES = 2_000, 500_000


@dataclass
class TaskData:
    """The three splits of a task. `is_default`: whether they are a built-in dataset. `notes`: sentences on how they
    were made, for the model card."""

    splits: dict[str, Any]
    description: str
    is_default: bool
    objective: Objective
    hub_name: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def streaming(self) -> bool:
        return isinstance(self.splits["train"], IterableDataset)

    def texts(self, split: str) -> Iterator[str]:
        """The texts of a split, which the tokenizer is trained on; large data stay on disk."""
        for row in iterate_rows(self.splits[split]):
            yield from self.objective.texts(row)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all rows of all splits, independent of their order; without a streamed training split."""
        tables = [self.splits[name] for name in SPLITS if isinstance(self.splits[name], Dataset)]
        return fingerprint(self.row_text(row) for table in tables for row in iterate_rows(table))

    def row_text(self, row: dict[str, Any]) -> str:
        content = {name: value for name, value in row.items() if name != LOCATION}
        return row["text"] if set(content) == {"text"} else json.dumps(content, ensure_ascii=False, sort_keys=True)

    @cached_property
    def source_bytes(self) -> dict[str, int]:
        """UTF-8 bytes of text per split, without streams."""
        names = [name for name, table in self.splits.items() if isinstance(table, Dataset)]
        return {name: sum(len(text.encode()) for text in self.texts(name)) for name in names}

    def summary(self) -> str:
        """One line with description, sizes and fingerprint."""
        sizes = [
            f"{name} {len(self.splits[name]):,} ({self.source_bytes[name]:,} bytes)" if name in self.source_bytes
            else f"{name} streamed"
            for name in SPLITS
        ]  # fmt: skip
        return f"{self.description}; rows: {', '.join(sizes)}; fingerprint {self.fingerprint}"


def load_data(
    objective: Objective, args: DataArguments, seed: int = 0, max_eval_samples: int | None = None
) -> TaskData:
    """The data of the arguments. If the validation split is large, or has more than `max_eval_samples` rows, some of
    its rows are also the extra split `validation_subset`, which is evaluated during training. Raises ValueError or
    OSError that name the file and line, or the column, and say what to do."""
    objective.bad_rows = BadRows(args.bad_rows)
    is_default = not (args.train_file or args.dataset_name)
    if not is_default:
        objective.default_config_fields = objective.default_config_fields | objective.own_data_config_fields
    split_column = None
    if args.dataset_name:
        found = load_hub(objective, args, seed)
        description = f"dataset {args.dataset_name} from the Hub"
    elif args.train_file:
        found = load_files(objective, args, seed)
        description = f"files {' '.join(Path(file).name for file in args.train_file)}"
    else:
        found, description, split_column = load_builtin(objective, args.builtin_dataset or objective.builtin_dataset)
    if args.streaming and not objective.supports_streaming:
        raise ValueError(f"--task {objective.task} must know all its labels before training; leave out --streaming.")
    if is_default and objective.args.long_texts is None:
        objective.long_texts = "truncate"
    limits = None if is_default else SplitLimits(args.max_holdout_rows, args.max_holdout_bytes)
    splits, notes = complete_splits(
        found, split_column or objective.split_column, objective.split_fractions, limits, objective.row_classes
    )
    splits = objective.fit_labels(splits)
    data = TaskData(splits, description, is_default, objective, args.dataset_name, notes)
    return with_validation_subset(data, max_eval_samples)


def with_validation_subset(data: TaskData, max_eval_samples: int | None) -> TaskData:
    """The data with the split `validation_subset`, evenly spaced rows of the validation split, unless that is small."""
    rows = len(data.splits["validation"])
    size = sum(len(text.encode()) for text in data.texts("validation"))
    count = max_eval_samples or max(1, min(EVAL_ROWS, rows * EVAL_BYTES // max(1, size)))
    if count >= rows:
        return data
    subset = data.splits["validation"].select([index * rows // count for index in range(count)])
    note = f"{count:,} of the {rows:,} validation rows were evaluated during training, all of them at the end."
    print_on_main_process(f"{note.replace('were', 'are')} Other numbers: --max_eval_samples")
    return replace(data, splits=data.splits | {"validation_subset": subset}, notes=[*data.notes, note])


def load_builtin(objective: Objective, name: str) -> tuple[dict[str, Any], str, str]:
    """The rows of a built-in dataset, its description, and the column that decides the split."""
    if name not in BUILTIN_DATASETS:
        raise ValueError(f"--builtin_dataset {name} is unknown; known sets: {', '.join(BUILTIN_DATASETS)}.")
    dataset = BUILTIN_DATASETS[name]
    rows = dataset.read()
    description = f"{dataset.description}, Python {platform.python_version()}"
    missing = [column for column in objective.required_columns if column not in rows[0]]
    if missing:
        raise ValueError(
            f"--builtin_dataset {name} does not fit --task {objective.task}: it has {', '.join(rows[0])}, and the task "
            f"reads {', '.join(objective.required_columns)}."
        )
    return {"train": objective.prepare_rows(Dataset.from_list(rows), description)}, description, dataset.split_column


def load_files(objective: Objective, args: DataArguments, seed: int) -> dict[str, Any]:
    """The splits of the files that the user gives."""
    given = zip(SPLITS, (args.train_file, args.validation_file, args.test_file), strict=True)
    options = ReadOptions(args.sample_by, args.column_names.split(",") if args.column_names else None, args.delimiter)
    tables: dict[str, Any] = {}
    for split, patterns in given:
        if not patterns:
            continue
        option = f"--{split}_file"
        parts = []
        for paths in expand_patterns(option, patterns):
            check_files(option, paths, options)
            for path in paths:
                use_columns(objective, args, path, options)
            read = file_stream if args.streaming and split == "train" else file_table
            parts.append(read(objective, paths, options))
            if not args.streaming and not len(parts[-1]):
                raise ValueError(f"{option} {', '.join(paths)} holds no rows; give a file with some.")
        check_same_columns(dict(zip(patterns, parts, strict=True)))
        tables[split] = combine_tables(parts, args.mixture if split == "train" else None, seed)
    check_same_columns(tables)
    return shuffle_stream(tables, args, seed)


def use_columns(objective: Objective, args: DataArguments, path: str, options: ReadOptions) -> None:
    """Let the task read its columns of a file. Raises ValueError for one that the file does not have."""
    known = file_columns(path, options)
    try:
        sources = choose_columns(known, objective, args, path)
    except ValueError as error:
        kind = file_format(path)
        if kind not in DELIMITERS or options.names:
            raise
        hint = column_names_hint(path, options.layout(kind), objective.required_columns, str(error))
        raise ValueError(hint) from error
    objective.use_columns(sources, column_types(path))


def check_same_columns(tables: dict[str, Any]) -> None:
    """Raises ValueError if some tables have an optional column (a second text) and others do not."""
    (first, expected), *others = ((name, sorted(table.features)) for name, table in tables.items())
    for name, found in others:
        if found != expected:
            shown = [", ".join(column for column in columns if column != LOCATION) for columns in (expected, found)]
            raise ValueError(f"{first} has {shown[0]}, but {name} has {shown[1]}; all data need the same parts.")


def combine_tables(parts: list[Any], weights: list[float] | None, seed: int) -> Any:
    """Tables concatenated, or mixed by weights until the first is exhausted."""
    if len(parts) == 1:
        return parts[0]
    if weights is None:
        from datasets import concatenate_datasets

        return concatenate_datasets(parts)
    probabilities = [weight / sum(weights) for weight in weights]
    return interleave_datasets(parts, probabilities=probabilities, seed=seed, stopping_strategy="first_exhausted")


def shuffle_stream(tables: dict[str, Any], args: DataArguments, seed: int) -> dict[str, Any]:
    if not args.shuffle_buffer:
        return tables
    return tables | {"train": tables["train"].shuffle(seed=seed, buffer_size=args.shuffle_buffer)}


def load_hub(objective: Objective, args: DataArguments, seed: int) -> dict[str, Any]:
    """The splits train, validation and test of a Hub dataset, if it has them."""
    name = str(args.dataset_name)
    try:
        loaded: Any = load_dataset(name, args.dataset_config_name, streaming=args.streaming)
    except (ConnectionError, FileNotFoundError) as error:
        raise ConnectionError(
            f"--dataset_name {name} needs the network or a cached copy; for local files use --train_file."
        ) from error
    if "train" not in loaded:
        raise ValueError(f"--dataset_name {name} has no split called train; it has: {', '.join(map(str, loaded))}.")
    tables = {}
    for split in (split for split in SPLITS if split in loaded):
        table, where = loaded[split], f"{name}, split {split}"
        known = list(table.column_names or next(iter(table)))
        objective.use_columns(choose_columns(known, objective, args, where), table.features)
        table = table.select_columns(sorted({name for names in objective.source_columns.values() for name in names}))
        if not args.streaming:
            tables[split] = table_on_disk(objective, table_rows(table, where), [where, table._fingerprint])
        elif split == "train":
            tables[split] = table_stream(objective, table, where)
        else:
            tables[split] = objective.prepare_rows(Dataset.from_list(list(table), features=table.features), where)
    check_same_columns(tables)
    return shuffle_stream(tables, args, seed)


def requested_columns(objective: Objective, args: DataArguments) -> dict[str, list[str]]:
    """Table columns by task column, from --columns. Raises ValueError for an entry that is not part=column."""
    task_columns = [*objective.required_columns, *objective.optional_columns]
    requested = {}
    for entry in args.columns or ():
        column, _, sources = entry.partition("=")
        if column not in task_columns or not sources:
            example = " ".join(f"{column}=my_{column}" for column in objective.required_columns)
            raise ValueError(
                f"--columns {entry} is not part=column; the parts of {objective.task} are: {', '.join(task_columns)}. "
                f"Example: --columns {example}"
            )
        if column in requested:
            raise ValueError(f"--columns names {column} twice; write several columns for it as {column}=a,b")
        requested[column] = sources.split(",")
    return requested


def choose_columns(known: list[str], objective: Objective, args: DataArguments, where: str) -> dict[str, list[str]]:
    """Columns of a table by column of the task. Raises ValueError for one that the table does not have, and for one
    that is named twice."""
    optional = {column: [column] for column in objective.optional_columns if column in known}
    chosen = {column: [column] for column in objective.required_columns} | optional | requested_columns(objective, args)
    sources = [name for names in chosen.values() for name in names]
    for column, names in chosen.items():
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"No column {', '.join(map(repr, missing))} in {where}; its columns are: {', '.join(known)}. Say which "
                f"one holds the {column.replace('_', ' ')}: --columns {column}=<column>"
            )
        for name in names:
            if sources.count(name) > 1:
                raise ValueError(f"Column {name!r} is named twice in --columns; use each column once.")
    return chosen
