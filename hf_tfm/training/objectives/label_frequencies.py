"""The simplest model of tokens beside a language model that scores only some of them: how frequent each label is."""

from typing import Any

import numpy as np

from hf_tfm.modeling.loss import IGNORE_INDEX

from ..metrics.text_baselines import unigram_nats_per_token
from .base import Objective

__all__ = ["unigram_baseline"]

# Training rows that are counted: some seconds.
MAX_ROWS, BATCH_SIZE = 2000, 100


def unigram_baseline(objective: Objective, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
    """Nats per scored token of the test split by the frequencies of scored tokens in the training split, evenly spaced
    rows of it if it is large; nothing for a stream."""
    if data.streaming:
        return {}
    rows = len(examples["train"])
    count = min(rows, MAX_ROWS)
    spaced = examples["train"].select(np.arange(count) * rows // count)
    counts = [label_counts(objective, table, tokenizer) for table in (spaced, examples["test"])]
    name = "unigram" if count == rows else f"unigram, fitted to {count:,} rows"
    return {name: unigram_nats_per_token(*counts)}


def label_counts(objective: Objective, table: Any, tokenizer: Any) -> np.ndarray:
    """How often each token of the vocabulary is a label, as batches of evaluation have them: (V,)."""
    collate, counts = objective.collator(tokenizer, None, training=False), np.zeros(len(tokenizer), dtype=np.int64)
    for start in range(0, len(table), BATCH_SIZE):
        rows = [table[row] for row in range(start, min(start + BATCH_SIZE, len(table)))]
        labels = collate(rows)["labels"].numpy()
        counts += np.bincount(labels[labels != IGNORE_INDEX], minlength=len(counts))
    return counts
