"""Iterating and mapping the rows of a `Dataset` (a table) or an `IterableDataset` (a stream)."""

import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset

__all__ = ["code_digest", "iterate_rows", "map_rows"]


def iterate_rows(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a table or stream."""
    if not isinstance(table, Dataset):
        yield from table
        return
    for batch in table.iter(batch_size=1000):
        columns: Any = batch
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def map_rows(table: Any, function: Any, remove: list[str] | None = None, **options: Any) -> Any:
    """`map` with batches, for tables and streams; options that only tables have are ignored for streams."""
    table_options = ("desc", "num_proc", "features", "load_from_cache_file")
    if not isinstance(table, Dataset):
        options = {key: value for key, value in options.items() if key not in table_options}
        return table.map(function, batched=True, remove_columns=remove, **options)
    # datasets hashes functions by name only. The digest makes it drop cached rows when the code changes.
    arguments = {"function": function, "code_digest": code_digest()}
    return table.map(call_function, fn_kwargs=arguments, batched=True, remove_columns=remove, **options)


def call_function(*args: Any, function: Any, code_digest: str) -> Any:
    return function(*args)


@cache
def code_digest() -> str:
    """A hash of the code of the training package."""
    folder = Path(__file__).parents[1]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.rglob("*.py")))).hexdigest()
