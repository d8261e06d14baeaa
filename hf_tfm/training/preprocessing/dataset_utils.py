"""Tables and streams of the datasets library: mapping, iterating and checking their rows."""

import hashlib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from datasets import Dataset, Features, Value

__all__ = ["check_text_column", "iterate_rows", "map_rows"]


def iterate_rows(table: Any) -> Iterator[dict[str, Any]]:
    """Rows of a table or stream, one after another."""
    if not isinstance(table, Dataset):
        yield from table
        return
    for batch in table.iter(batch_size=1000):
        columns: Any = batch
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))


def map_rows(table: Any, function: Any, remove: list[str] | None = None, **options: Any) -> Any:
    """The host's batched map for tables and streams alike; what only a table can do (progress, processes) is left out
    for a stream."""
    only_tables = ("desc", "num_proc", "features", "load_from_cache_file")
    if not isinstance(table, Dataset):
        options = {key: value for key, value in options.items() if key not in only_tables}
        return table.map(function, batched=True, remove_columns=remove, **options)
    run = partial(call_with_code_digest, function=function, code=code_digest())
    return table.map(run, batched=True, remove_columns=remove, **options)


def call_with_code_digest(*args: Any, function: Any, code: str) -> Any:
    """A function under which the host finds kept results only as long as this package's code is the same: it knows
    functions by their names."""
    return function(*args)


@cache
def code_digest() -> str:
    """A hash of the training room's code."""
    room = Path(__file__).parents[1]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(room.rglob("*.py")))).hexdigest()


def check_text_column(table: Any, part: str, where: str) -> None:
    """Raises ValueError if a table's column holds something else than text."""
    kind = (table.features or Features()).get(part)
    if kind is not None and not (isinstance(kind, Value) and kind.dtype in ("string", "large_string", "null")):
        raise ValueError(
            f"Column {part!r} of {where} holds {kind.dtype if isinstance(kind, Value) else kind}, not text; choose "
            f"another one: --columns {part}=<column>"
        )
