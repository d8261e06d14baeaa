"""Where text comes from: the documentation that Python carries, the user's files, or a data set on the Hub.

Every source gives the same thing: `Documents`, three splits of one string column "text". Splits that are missing are
cut from the training text by a hash of each document: they depend on content alone, and twins stay together."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from datasets import Dataset, DatasetDict, Value, load_dataset
from datasets.exceptions import DatasetGenerationError

from .arguments import DataArguments
from .corpus import content_digest, fingerprint, standard_library_corpus

__all__ = ["SPLITS", "Documents", "load_documents"]

SPLITS = ("train", "validation", "test")
# Upper edges of the hash, in shares of its range, of train, validation and test.
SPLIT_EDGES = (0.90, 0.95, 1.0)
FORMATS = {
    ".txt": "text",
    ".md": "text",
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}


@dataclass
class Documents:
    """Text to learn from, in three splits; `is_default` where it is the documentation that Python carries."""

    splits: DatasetDict
    description: str
    is_default: bool

    def texts(self, split: str) -> Iterator[str]:
        """The documents of a split, one after another; a text of any size stays on disk."""
        return texts_of(self.splits[split])

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all documents of all splits, whatever their order."""
        return fingerprint(text for name in SPLITS for text in self.texts(name))

    @cached_property
    def source_bytes(self) -> dict[str, int]:
        """UTF-8 bytes of text per split."""
        return {name: sum(len(text.encode()) for text in self.texts(name)) for name in SPLITS}

    def summary(self) -> str:
        """One line: what the text is, how much of it, its fingerprint."""
        sizes = ", ".join(f"{name} {len(self.splits[name]):,} ({self.source_bytes[name]:,} bytes)" for name in SPLITS)
        return f"{self.description}; documents: {sizes}; fingerprint {self.fingerprint}"


def load_documents(args: DataArguments) -> Documents:
    """The text that the settings ask for. Raises ValueError or FileNotFoundError that name the file or column and say
    what to do."""
    if args.train_file and args.dataset_name:
        raise ValueError("--train_file and --dataset_name are two sources of training text; give one of them.")
    if args.dataset_name:
        found, description = from_hub(args), f"data set {args.dataset_name} from the Hub"
    elif args.train_file:
        found, description = from_files(args), f"files {' '.join(Path(file).name for file in args.train_file)}"
    elif args.validation_file or args.test_file:
        raise ValueError("--validation_file and --test_file belong to your own training text: add --train_file.")
    else:
        corpus = standard_library_corpus()
        found = DatasetDict({"train": Dataset.from_dict({"text": corpus.documents})})
        description = f"{corpus.description} {corpus.python_version}"
    return Documents(complete_splits(found), description, is_default=not (args.train_file or args.dataset_name))


def from_files(args: DataArguments) -> DatasetDict:
    """The user's own files, one split each for those that are given."""
    given = zip(SPLITS, (args.train_file, args.validation_file, args.test_file), strict=True)
    return DatasetDict({split: read_files(split, patterns, args) for split, patterns in given if patterns})


def read_files(split: str, patterns: list[str], args: DataArguments) -> Dataset:
    """All files behind `patterns` as one column of text."""
    paths = expand(split, patterns)
    kinds = {FORMATS[Path(path).suffix.lower()] for path in paths}
    if len(kinds) > 1:
        raise ValueError(f"--{split}_file mixes formats ({', '.join(sorted(kinds))}); give files of one format.")
    kind = kinds.pop()
    options: dict[str, Any] = {"text": {"sample_by": args.sample_by}}.get(kind, {})
    if Path(paths[0]).suffix.lower() == ".tsv":
        options = {"sep": "\t"}
    try:
        table = load_dataset(kind, data_files=paths, split="train", **options)
        return only_text(table, args.text_column, ", ".join(paths))
    except (DatasetGenerationError, UnicodeDecodeError) as error:
        refuse_encoding(paths if kind != "parquet" else [])
        raise ValueError(f"Cannot read {', '.join(paths)} as {kind}: {error.__cause__ or error}") from error


def expand(split: str, patterns: list[str]) -> list[str]:
    """Existing, non-empty files of known format, in the order of the patterns. Raises for the first that is not."""
    paths: list[str] = []
    for pattern in patterns:
        matches = sorted(glob.glob(pattern, recursive=True))
        if not matches:
            raise FileNotFoundError(f"--{split}_file {pattern}: no such file (looked from {Path.cwd()}).")
        paths += matches
    for path in paths:
        if Path(path).suffix.lower() not in FORMATS:
            raise ValueError(f"--{split}_file {path}: unknown format; known endings: {', '.join(FORMATS)}.")
        if Path(path).stat().st_size == 0:
            raise ValueError(f"--{split}_file {path}: the file is empty; give a file with text, or leave it out.")
    return paths


def refuse_encoding(paths: list[str]) -> None:
    """Raises ValueError for the first file that is not UTF-8."""
    for path in paths:
        try:
            Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is not UTF-8: byte 0x{error.object[error.start]:02X} at position {error.start}. Convert it, "
                f"for instance: iconv -f LATIN1 -t UTF-8 {path} > utf8_{Path(path).name}"
            ) from error


def from_hub(args: DataArguments) -> DatasetDict:
    """Splits train, validation and test of a Hub data set, as far as it has them."""
    name = str(args.dataset_name)
    try:
        loaded = load_dataset(name, args.dataset_config_name)
    except ConnectionError as error:
        raise ConnectionError(
            f"--dataset_name {name} needs the network or a cached copy; for text on this machine use --train_file."
        ) from error
    if "train" not in loaded:
        raise ValueError(f"--dataset_name {name} has no split called train; it has: {', '.join(map(str, loaded))}.")
    present = [split for split in SPLITS if split in loaded]
    return DatasetDict(
        {split: only_text(loaded[split], args.text_column, f"{name}, split {split}") for split in present}
    )


def only_text(table: Any, column: str, where: str) -> Dataset:
    """The column of text under the name "text", without empty rows and without line breaks at either end.
    Raises ValueError if there is no such column, if it holds something else, or if nothing is left."""
    if column not in table.column_names:
        raise ValueError(
            f'No column "{column}" in {where}; its columns are: {", ".join(table.column_names)}. '
            "Name the one that holds the text with --text_column."
        )
    kind = table.features[column]
    if not (isinstance(kind, Value) and kind.dtype in ("string", "large_string")):
        raise ValueError(f'Column "{column}" of {where} holds {kind}, not text; choose another with --text_column.')

    def clean(batch: dict[str, list[str | None]]) -> dict[str, list[str]]:
        return {"text": [text.strip("\r\n") for text in batch[column] if text and not text.isspace()]}

    texts = table.map(clean, batched=True, remove_columns=table.column_names, desc="Reading text")
    if not len(texts):
        raise ValueError(f'Column "{column}" of {where} holds no text at all; give a file with text.')
    return texts


def texts_of(table: Dataset) -> Iterator[str]:
    for batch in table.iter(batch_size=1000):
        yield from batch["text"]  # pyright: ignore[reportCallIssue, reportArgumentType]


def complete_splits(found: DatasetDict) -> DatasetDict:
    """All three splits; those that `found` lacks are cut from its training text by content.
    Raises ValueError if there are too few documents to cut."""
    missing = [split for split in SPLITS if split not in found]
    rows: dict[str, list[int]] = {split: [] for split in SPLITS}
    for row, text in enumerate(texts_of(found["train"])):
        share = int.from_bytes(content_digest(text)[:8], "big") / 2**64
        split = next(name for name, edge in zip(SPLITS, SPLIT_EDGES, strict=True) if share < edge)
        rows[split if split in missing else "train"].append(row)
    empty = [split for split in ("train", *missing) if not rows[split]]
    if empty:
        raise ValueError(
            f"{len(found['train'])} training document(s) are too few to cut {' and '.join(empty)} from them. "
            f"Give {' and '.join(f'--{split}_file' for split in empty)}, or smaller documents with --sample_by line."
        )
    cut = {split: found["train"].select(rows[split]) for split in ("train", *missing)}
    complete: dict[Any, Dataset] = {**found, **cut}
    return DatasetDict({split: complete[split] for split in SPLITS})
