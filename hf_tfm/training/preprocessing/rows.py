"""Rows on their way from a file to a table: where each comes from, and what is done with one that cannot be used.

Every reader gives `SourceRow`s. A table of prepared rows has the column `LOCATION` until its rows are tokenised, so
that every message can name the user's file and line."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, Value

from ..utils.printing import print_on_main_process
from .dataset_utils import iterate_rows, map_rows
from .labels import class_label_names, names_from_ids
from .row_values import RowError

__all__ = [
    "DROPPED_ROWS_FILE",
    "LOCATION",
    "PROBLEM",
    "BadRows",
    "SourceRow",
    "named_row",
    "prepared_batches",
    "prepared_schema",
    "table_rows",
]

# Column of prepared rows: file and line (or row) of the source, as text.
LOCATION = "_location"
# Column that says why a row cannot be used; empty for all others.
PROBLEM = "_problem"
# It holds paths and text of the user; Trainer uploads no file whose name begins with "_".
DROPPED_ROWS_FILE = "_dropped_rows.jsonl"
BATCH_SIZE = 1000


class SourceRow(NamedTuple):
    """One row of a source. `location`: for example "reviews.csv, line 34", lines counted from 1 as editors do.
    `problem`: why it could not be read."""

    location: str
    values: dict[str, Any]
    problem: str | None = None


def table_rows(table: Any, where: str) -> Iterator[SourceRow]:
    """The rows of a table or stream, with the names of classes in the place of their ids."""
    class_names = {name: names for name, kind in (table.features or {}).items() if (names := class_label_names(kind))}
    for number, row in enumerate(iterate_rows(table), start=1):
        yield named_row(f"{where}, row {number}", row, class_names)


def named_row(location: str, values: dict[str, Any], class_names: dict[str, tuple[str, ...]]) -> SourceRow:
    """A row with the names of classes, `class_names` by column, in the place of their ids."""
    return SourceRow(location, values | {name: names_from_ids(values[name], class_names[name]) for name in class_names})


def prepared_batches(
    rows: Iterable[SourceRow], prepare: Callable[[dict[str, Any]], dict[str, Any] | None], features: Features
) -> Iterator[pa.RecordBatch]:
    """Batches of rows as `prepare` returns them, with the columns LOCATION and PROBLEM. Rows for which it returns None
    are left out; those for which it raises RowError have only a problem."""
    schema = prepared_schema(features)
    prepared = (row for row in (prepare_row(row, prepare) for row in rows) if row is not None)
    while batch := list(islice(prepared, BATCH_SIZE)):
        yield pa.RecordBatch.from_pylist(batch, schema=schema)


def prepared_schema(features: Features) -> pa.Schema:
    """The columns of `prepared_batches`."""
    return Features(features | {LOCATION: Value("string"), PROBLEM: Value("string")}).arrow_schema


def prepare_row(row: SourceRow, prepare: Callable[[dict[str, Any]], dict[str, Any] | None]) -> dict[str, Any] | None:
    problem = row.problem
    if problem is None:
        try:
            values = prepare(row.values)
            return None if values is None else values | {LOCATION: row.location, PROBLEM: ""}
        except RowError as error:
            problem = str(error)
    return {LOCATION: row.location, PROBLEM: problem}


@dataclass
class BadRows:
    """What is done with rows that cannot be used (--bad_rows). `dropped`: the reason by the location of each dropped
    row."""

    policy: Literal["refuse", "drop"] = "refuse"
    dropped: dict[str, str] = field(default_factory=dict)

    def check(self, table: Dataset) -> Dataset:
        """The table without the column PROBLEM and without the rows that have one. Raises ValueError for these unless
        they are to be dropped, and if no row is left."""
        problems = table.data.column(PROBLEM)
        # the indices of a selection, or all rows
        if table._indices is not None:
            problems = problems.take(table._indices.column(0))
        is_bad = np.array(problems.to_pylist(), dtype=bool)
        if not is_bad.any():
            return table.remove_columns(PROBLEM)
        bad = table.select(is_bad.nonzero()[0]).select_columns([LOCATION, PROBLEM])
        listed: list[dict[str, str]] = bad.to_list()
        first, count = listed[0], len(listed)
        more = f" ({count - 1:,} more of {len(table):,} rows cannot be used)" if count > 1 else ""
        message = f"{first[LOCATION]} {first[PROBLEM]}"
        if self.policy == "refuse":
            raise ValueError(f"{message}{more}. Correct the data, or leave such rows out with --bad_rows drop.")
        if count == len(table):
            raise ValueError(f"{message}, so that --bad_rows drop would leave no row.")
        found = {row[LOCATION]: row[PROBLEM] for row in listed}
        if not found.keys() <= self.dropped.keys():
            # else these are rows of a split of which others are a part
            print_on_main_process(f"Dropped {count:,} of {len(table):,} rows that cannot be used; the first: {message}")
        self.dropped |= found
        return table.select((~is_bad).nonzero()[0]).remove_columns(PROBLEM)

    def map(self, table: Dataset, function: Any, remove: list[str], **options: Any) -> Dataset:
        """The table with the columns that `function` returns for a batch, one of which is PROBLEM, in the place of the
        columns `remove`, checked as in `check`."""
        return self.check(map_rows(table, function, remove=remove, **options))

    def usable(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """The rows of a stream, checked as in `check`; dropped rows are printed as they come."""
        for row in rows:
            problem = row.pop(PROBLEM)
            if not problem:
                yield row
            elif self.policy == "refuse":
                raise ValueError(f"{row[LOCATION]} {problem}. Correct it, or leave such rows out with --bad_rows drop.")
            else:
                print(f"Dropped {row[LOCATION]}, which {problem}.")

    def note(self) -> str:
        """A sentence for the model card; empty if no row was dropped."""
        if not self.dropped:
            return ""
        return f"{len(self.dropped):,} rows that could not be used were dropped; {DROPPED_ROWS_FILE} says why."

    def write(self, folder: Path) -> None:
        """Write the list of dropped rows into the folder of a run; without any, remove that of an earlier run."""
        path = folder / DROPPED_ROWS_FILE
        if self.dropped:
            rows = [{"location": location, "reason": reason} for location, reason in self.dropped.items()]
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            path.write_text("".join(lines), encoding="utf-8")
        else:
            path.unlink(missing_ok=True)
