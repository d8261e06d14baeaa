"""Prepares the rows of files: as a table on disk that a later run with the same files reads again, or as a stream."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value
from datasets.config import HF_DATASETS_CACHE

from ..objectives.base import Objective
from ..preprocessing.dataset_utils import code_digest
from ..preprocessing.rows import LOCATION, SourceRow, prepared_batches, prepared_schema, table_rows
from .readers import ReadOptions, read_file

__all__ = ["file_stream", "file_table", "table_on_disk", "table_stream"]


def file_table(objective: Objective, paths: list[str], options: ReadOptions) -> Dataset:
    """The prepared rows of files. Raises ValueError for rows that cannot be used, unless they are dropped."""
    sizes = [(os.path.abspath(path), (stat := os.stat(path)).st_size, stat.st_mtime_ns, path) for path in paths]
    rows = (row for path in paths for row in read_file(path, options))
    return table_on_disk(objective, rows, [sizes, options])


def table_on_disk(objective: Objective, rows: Iterable[SourceRow], source: Any) -> Dataset:
    """The prepared rows, from the cache of datasets if it has them. `source`: a JSON value that identifies the rows."""
    content = [source, objective.task, objective.source_columns, code_digest()]
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]
    path = Path(HF_DATASETS_CACHE) / "hf_tfm" / f"{digest}.arrow"
    if not path.exists():
        with written_whole(path) as temporary:
            write_rows(objective, rows, temporary)
    return objective.bad_rows.check(Dataset.from_file(str(path)))


def write_rows(objective: Objective, rows: Iterable[SourceRow], path: Path) -> None:
    features = objective.features()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, prepared_schema(features)) as writer:
        for batch in prepared_batches(rows, objective.prepare_source, features):
            writer.write_batch(batch)


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path that becomes `path` after the block, so that no process reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def file_stream(objective: Objective, paths: list[str], options: ReadOptions) -> IterableDataset:
    """The prepared rows of files, read during training."""
    return stream(file_rows, {"objective": objective, "paths": paths, "options": options})


def table_stream(objective: Objective, table: IterableDataset, where: str) -> IterableDataset:
    """The prepared rows of a stream."""
    return stream(stream_rows, {"objective": objective, "table": table, "where": where})


def stream(generator: Any, arguments: dict[str, Any]) -> IterableDataset:
    features = Features(arguments["objective"].features() | {LOCATION: Value("string")})
    return IterableDataset.from_generator(generator, gen_kwargs=arguments, features=features)


def file_rows(objective: Objective, paths: list[str], options: ReadOptions) -> Iterator[dict[str, Any]]:
    yield from usable_rows(objective, (row for path in paths for row in read_file(path, options)))


def stream_rows(objective: Objective, table: IterableDataset, where: str) -> Iterator[dict[str, Any]]:
    yield from usable_rows(objective, table_rows(table, where))


def usable_rows(objective: Objective, rows: Iterable[SourceRow]) -> Iterator[dict[str, Any]]:
    for batch in prepared_batches(rows, objective.prepare_source, objective.features()):
        yield from objective.bad_rows.usable(batch.to_pylist())
