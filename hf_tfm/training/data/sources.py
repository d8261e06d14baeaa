"""Where data come from: a set made from the Python that runs, the user's files, or a data set on the Hub.

Every source gives the same thing: `TaskData`, three splits whose columns are the parts that the task reads."""

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
    """What a task learns from, in three splits; `is_default` where it was made from Python itself; `texts` turns a row
    into the texts that are counted and that a tokenizer learns from."""

    splits: dict[str, Any]
    description: str
    is_default: bool
    objective: Objective
    hub_name: str | None = None

    @property
    def streaming(self) -> bool:
        return isinstance(self.splits["train"], IterableDataset)

    def texts(self, split: str) -> Iterator[str]:
        """The texts of a split, one after another; data of any size stay on disk."""
        for row in iterate_rows(self.splits[split]):
            yield from self.objective.texts(row)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all rows of all splits, whatever their order; of the measured splits where training streams."""
        read = [name for name in SPLITS if isinstance(self.splits[name], Dataset)]
        return fingerprint(self.row_text(row) for name in read for row in iterate_rows(self.splits[name]))

    def row_text(self, row: dict[str, Any]) -> str:
        return row["text"] if set(row) == {"text"} else json.dumps(row, ensure_ascii=False, sort_keys=True)

    @cached_property
    def source_bytes(self) -> dict[str, int]:
        """UTF-8 bytes of text per split, streams left out."""
        read = [name for name, table in self.splits.items() if isinstance(table, Dataset)]
        return {name: sum(len(text.encode()) for text in self.texts(name)) for name in read}

    def summary(self) -> str:
        """One line: what the data are, how many, their fingerprint."""
        sizes = [
            f"{name} {len(self.splits[name]):,} ({self.source_bytes[name]:,} bytes)" if name in self.source_bytes
            else f"{name} streamed"
            for name in SPLITS
        ]  # fmt: skip
        return f"{self.description}; rows: {', '.join(sizes)}; fingerprint {self.fingerprint}"


def load_data(
    objective: Objective, args: DataArguments, seed: int = 0, max_eval_samples: int | None = None
) -> TaskData:
    """The data that the arguments ask for. With `max_eval_samples`, that many first validation rows are one more split,
    which is measured during training. Raises ValueError or OSError that name the file, column or row and say what
    to do."""
    if args.dataset_name:
        found, description, by = load_hub(objective, args, seed), f"data set {args.dataset_name} from the Hub", None
    elif args.train_file:
        found, by = load_files(objective, args, seed), None
        description = f"files {' '.join(Path(file).name for file in args.train_file)}"
    else:
        found, description, by = load_builtin(objective, args.builtin_dataset or objective.builtin_dataset)
    if args.streaming and not objective.supports_streaming:
        raise ValueError(f"--task {objective.task} must know all its labels before training; leave out --streaming.")
    is_default = not (args.train_file or args.dataset_name)
    if is_default and objective.args.long_texts is None:
        objective.long_texts = "truncate"
    splits = objective.fit_labels(complete_splits(found, by or objective.split_column, objective.split_fractions))
    if max_eval_samples:
        splits["validation_subset"] = splits["validation"].select(
            range(min(max_eval_samples, len(splits["validation"])))
        )
    return TaskData(splits, description, is_default, objective, args.dataset_name)


def load_builtin(objective: Objective, name: str) -> tuple[dict[str, Any], str, str]:
    """A set that every Python carries, what it is, and the column that decides the split."""
    if name not in BUILTIN_DATASETS:
        raise ValueError(f"--builtin_dataset {name} is unknown; known sets: {', '.join(BUILTIN_DATASETS)}.")
    chosen = BUILTIN_DATASETS[name]
    rows = chosen.read()
    description = f"{chosen.description}, Python {platform.python_version()}"
    missing = [part for part in objective.required_columns if part not in rows[0]]
    if missing:
        raise ValueError(
            f"--builtin_dataset {name} does not fit --task {objective.task}: it has {', '.join(rows[0])}, and the task "
            f"reads {', '.join(objective.required_columns)}."
        )
    return {"train": objective.prepare_rows(Dataset.from_list(rows), description)}, description, chosen.split_column


def load_files(objective: Objective, args: DataArguments, seed: int) -> dict[str, Any]:
    """The user's own files, one split each for those that are given."""
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
    """Raises ValueError if some tables have an optional part (a second text) and others lack it."""
    (first, expected), *others = ((name, sorted(column_names(table))) for name, table in tables.items())
    for name, found in others:
        if found != expected:
            raise ValueError(
                f"{first} has {', '.join(expected)}, but {name} has {', '.join(found)}; give all data the same parts."
            )


def combine_tables(parts: list[Any], weights: list[float] | None, seed: int) -> Any:
    """Tables one after another, or mixed by weights until the first is used up."""
    if len(parts) == 1:
        return parts[0]
    if weights is None:
        from datasets import concatenate_datasets

        return concatenate_datasets(parts)
    shares = [weight / sum(weights) for weight in weights]
    return interleave_datasets(parts, probabilities=shares, seed=seed, stopping_strategy="first_exhausted")


def shuffle_stream(tables: dict[str, Any], args: DataArguments, seed: int) -> dict[str, Any]:
    if not args.shuffle_buffer:
        return tables
    return tables | {"train": tables["train"].shuffle(seed=seed, buffer_size=args.shuffle_buffer)}


def load_hub(objective: Objective, args: DataArguments, seed: int) -> dict[str, Any]:
    """Splits train, validation and test of a Hub data set, as far as it has them."""
    name = str(args.dataset_name)
    try:
        loaded: Any = load_dataset(name, args.dataset_config_name, streaming=args.streaming)
    except (ConnectionError, FileNotFoundError) as error:
        raise ConnectionError(
            f"--dataset_name {name} needs the network or a cached copy; for data on this machine use --train_file."
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
    """Columns by part, as --columns says. Raises ValueError for a word that is not part=column."""
    parts = [*objective.required_columns, *objective.optional_columns]
    asked = {}
    for word in args.columns or ():
        part, found, names = word.partition("=")
        if not found or part not in parts or not names:
            raise ValueError(
                f"--columns {word} is not part=column; the parts of {objective.task} are: {', '.join(parts)}. "
                f"Example: --columns {' '.join(f'{part}=my_{part}' for part in objective.required_columns)}"
            )
        if part in asked:
            raise ValueError(f"--columns names {part} twice; several columns for it go together: {part}=a,b")
        asked[part] = names.split(",")
    return asked


def select_columns(table: Table, objective: Objective, args: DataArguments, paths: list[str]) -> Table:
    """The task's parts of a table, under their own names. Raises ValueError for a column that is not there."""
    known, where = column_names(table), ", ".join(paths)
    asked = requested_columns(objective, args)
    optional = {part: [part] for part in objective.optional_columns if part in known}
    chosen = {part: [part] for part in objective.required_columns} | optional | asked
    for part, names in chosen.items():
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"No column {', '.join(map(repr, missing))} in {where}; its columns are: {', '.join(known)}. Say which "
                f"one holds the {part.replace('_', ' ')}: --columns {part}=<column>"
            )
    objective.source_columns = chosen
    several = {part: names for part, names in chosen.items() if len(names) > 1}
    if several:
        # yes and no beside 1 and 0 would be two types in one list
        def gather(row: dict[str, Any]) -> dict[str, Any]:
            plain = {name: int(value) if isinstance(value, bool) else value for name, value in row.items()}
            return {f"_{part}": [plain[name] for name in names] for part, names in several.items()}

        table = table.map(gather)
    sources = {part: f"_{part}" if part in several else names[0] for part, names in chosen.items()}
    table = table.select_columns(list(dict.fromkeys(sources.values())))
    return rename_columns(table, sources)


def rename_columns(table: Any, sources: dict[str, str]) -> Any:
    """Columns under the names of their parts; two parts may share one column."""
    for part, source in sources.items():
        if part != source and list(sources.values()).count(source) > 1:
            raise ValueError(f"Column {source!r} is asked for twice in --columns; each part needs a column of its own.")
    # In one step, so that two columns may swap their names.
    if isinstance(table, Dataset):
        return table.rename_columns({source: part for part, source in sources.items() if part != source})

    def named(row: dict[str, Any]) -> dict[str, Any]:
        return {part: row[source] for part, source in sources.items()}

    return table.map(named, remove_columns=list(sources.values()))


def column_names(table: Any) -> list[str]:
    """Names of all columns; a stream that does not say them tells them by its first row."""
    return list(table.column_names or next(iter(table)))
