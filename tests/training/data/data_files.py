"""Writes small files of data in every format, and loads them as train.py does."""

import csv
import gzip
import json

import pytest
from datasets import Dataset

from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import load_data
from hf_tfm.training.data.splits import SPLITS
from hf_tfm.training.objectives import OBJECTIVES

TEXTS = [f"Document number {i}, with a comma and a “quotation”.\nIt has two lines." for i in range(200)]
# without line breaks, which a .tsv cannot contain
FLAT = [text.replace("\n", " ") for text in TEXTS]


def write_text(path, texts):
    path.write_text("\n\n".join(texts), encoding="utf-8")


def write_jsonl(path, texts):
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")


def write_json(path, texts):
    path.write_text(json.dumps([{"text": text} for text in texts]), encoding="utf-8")


def write_csv(path, texts):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "text"], *enumerate(texts)])


def write_tsv(path, texts):
    path.write_text("".join(f"{i}\t{text}\n" for i, text in [("id", "text"), *enumerate(texts)]), encoding="utf-8")


def write_parquet(path, texts):
    Dataset.from_dict({"text": texts}).to_parquet(path)


WRITERS = {
    "txt": write_text, "md": write_text, "jsonl": write_jsonl, "json": write_json, "csv": write_csv, "tsv": write_tsv,
    "parquet": write_parquet,
}  # fmt: skip
COMPRESSED = [f"{ending}.gz" for ending in WRITERS if ending != "parquet"]


def write(folder, ending, texts=FLAT):
    """Write the texts to a file with that extension, and return its path."""
    plain = ending.removesuffix(".gz")
    path = folder / f"texts.{plain}"
    WRITERS[plain](path, texts)
    if ending.endswith(".gz"):
        path, content = folder / f"texts.{ending}", path.read_bytes()
        path.write_bytes(gzip.compress(content))
    return str(path)


def load(task="causal-lm", max_eval_samples=None, task_choices=None, **choices):
    objective = OBJECTIVES[task](TaskArguments(**task_choices or {}))
    return load_data(objective, DataArguments(**choices), 0, max_eval_samples)


def texts_of(data):
    return {name: list(data.splits[name]["text"]) for name in SPLITS}


def error_of(task="causal-lm", **choices):
    with pytest.raises((ValueError, OSError)) as caught:
        load(task, **choices)
    return str(caught.value)
