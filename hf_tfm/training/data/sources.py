"""Loads data from a built-in dataset, the user's files, or the Hub.

Every source gives `TaskData`: three splits whose columns have the names that the task expects."""

import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, IterableDataset, interleave_datasets, load_dataset

from ..arguments.data_arguments import DataArguments
from ..builtin_data.builtin_datasets import BUILTIN_DATASETS
from ..objectives.base import Objective
from ..preprocessing.dataset_utils import iterate_rows
from ..utils.hashing import fingerprint
from .readers import Table, expand_patterns, read_files
from .splits import SPLITS, complete_splits

__all__ = ["TaskData", "load_data"]


@dataclass
class TaskData:
    """The three splits of a task. `is_default`: whether they are a built-in dataset."""

    splits: dict[str, Any]
    description: str
    is_default: bool
    objective: Objective
    hub_name: str | None = None

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
        return row["text"] if set(row) == {"text"} else json.dumps(row, ensure_ascii=False, sort_keys=True)

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
    """The data of the arguments. With `max_eval_samples`, the first validation rows are also the extra split
    `validation_subset`, which is evaluated during training. Raises ValueError or OSError that name the file, column or
    row and say what to do."""
    if args.dataset_name:
        found = load_hub(objective, args, seed)
        description, split_column = f"dataset {args.dataset_name} from the Hub", objective.split_column
    elif args.train_file:
        found = load_files(objective, args, seed)
        names = " ".join(Path(file).name for file in args.train_file)
        description, split_column = f"files {names}", objective.split_column
    else:
        found, description, split_column = load_builtin(objective, args.builtin_dataset or objective.builtin_dataset)
    if args.streaming and not objective.supports_streaming:
        raise ValueError(f"--task {objective.task} must know all its labels before training; leave out --streaming.")
    is_default = not (args.train_file or args.dataset_name)
    if is_default and objective.args.long_texts is None:
        objective.long_texts = "truncate"
    splits = objective.fit_labels(complete_splits(found, split_column, objective.split_fractions))
    if max_eval_samples:
        splits["validation_subset"] = splits["validation"].select(
            range(min(max_eval_samples, len(splits["validation"])))
        )
    return TaskData(splits, description, is_default, objective, args.dataset_name)


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
    tables: dict[str, Any] = {}
    for split, patterns in given:
        if not patterns:
            continue
        option = f"--{split}_file"
        parts = []
        for paths in expand_patterns(option, patterns):
            table = read_files(option, paths, args.sample_by, args.streaming and split == "train")
            parts.append(objective.prepare_rows(select_columns(table, objective, args, paths), ", ".join(paths)))
        check_same_columns(dict(zip(patterns, parts, strict=True)))
        tables[split] = combine_tables(parts, args.mixture if split == "train" else None, seed)
    check_same_columns(tables)
    return shuffle_stream(tables, args, seed)


def check_same_columns(tables: dict[str, Any]) -> None:
    """Raises ValueError if some tables have an optional column (a second text) and others do not."""
    (first, expected), *others = ((name, sorted(column_names(table))) for name, table in tables.items())
    for name, found in others:
        if found != expected:
            raise ValueError(
                f"{first} has {', '.join(expected)}, but {name} has {', '.join(found)}; all data need the same parts."
            )


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
        table = loaded[split] if split == "train" or not args.streaming else Dataset.from_list(list(loaded[split]))
        where = f"{name}, split {split}"
        tables[split] = objective.prepare_rows(select_columns(table, objective, args, [where]), where)
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


def select_columns(table: Table, objective: Objective, args: DataArguments, paths: list[str]) -> Table:
    """The columns of the task, renamed to its names. Raises ValueError for a column that the table does not have."""
    known, where = column_names(table), ", ".join(paths)
    optional = {column: [column] for column in objective.optional_columns if column in known}
    chosen = {column: [column] for column in objective.required_columns} | optional | requested_columns(objective, args)
    for column, names in chosen.items():
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"No column {', '.join(map(repr, missing))} in {where}; its columns are: {', '.join(known)}. Say which "
                f"one holds the {column.replace('_', ' ')}: --columns {column}=<column>"
            )
    objective.source_columns = chosen
    joined = {column: names for column, names in chosen.items() if len(names) > 1}
    if joined:
        # Booleans become integers, because the columns of one list may differ in type.
        def join_columns(row: dict[str, Any]) -> dict[str, Any]:
            values = {name: int(value) if isinstance(value, bool) else value for name, value in row.items()}
            return {f"_{column}": [values[name] for name in names] for column, names in joined.items()}

        table = table.map(join_columns)
    sources = {column: f"_{column}" if column in joined else names[0] for column, names in chosen.items()}
    table = table.select_columns(list(dict.fromkeys(sources.values())))
    return rename_columns(table, sources)


def rename_columns(table: Any, sources: dict[str, str]) -> Any:
    """Rename columns in one step, so that two of them may swap their names. Raises ValueError if two new columns have
    the same source."""
    for column, source in sources.items():
        if column != source and list(sources.values()).count(source) > 1:
            raise ValueError(f"Column {source!r} is named twice in --columns; use each column once.")
    if isinstance(table, Dataset):
        return table.rename_columns({source: column for column, source in sources.items() if column != source})

    # rename_columns of a stream cannot swap names.
    def rename(row: dict[str, Any]) -> dict[str, Any]:
        return {column: row[source] for column, source in sources.items()}

    return table.map(rename, remove_columns=list(sources.values()))


def column_names(table: Any) -> list[str]:
    """Names of all columns; a stream without names is asked for its first row."""
    return list(table.column_names or next(iter(table)))
