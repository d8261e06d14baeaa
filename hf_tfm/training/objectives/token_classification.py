"""Tell what each word of a sentence is."""

from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import List, Value
from transformers import DataCollatorForTokenClassification, EvalPrediction

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForTokenClassification
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForTokenClassification

from ..metrics.metric_registry import load_metric
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.labels import Labels, class_names, in_order_of, known_names, named
from ..preprocessing.word_alignment import align_word_labels, words_of_predictions
from ..utils.printing import say
from .base import Measured, Objective, few_rows, forward_one, literal, require

__all__ = ["TokenClassification"]

PLAIN = List(Value("int64"))
SPAN_PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-")


class TokenClassification(Objective):
    """Words and one tag for each. The first piece of a word carries its tag; rows that are too long are cut between
    words, and nothing is lost. Tags such as B-person and I-person are measured as whole spans."""

    task = "token-classification"
    pipeline_tag = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    models = {"tfm_encoder": TfmEncoderForTokenClassification, "tfm_decoder": TfmDecoderForTokenClassification}
    required = ("tokens", "tags")
    python_set = "token_types"
    split_by = "tokens"
    measures = {
        "f1": "F1 (of whole spans, or mean over classes)",
        "precision": "precision of spans",
        "recall": "recall of spans",
        "accuracy": "share of right words",
        "loss": "nats per word (the loss)",
    }
    streams = False
    comparable = True
    extra_columns = ("row", "first_word", "first_pieces")
    labels: Labels

    def clean(self, table: Any, where: str) -> Any:
        def check(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            for row, words, tags in zip(rows, batch["tokens"], batch["tags"], strict=True):
                whole = isinstance(words, list) and isinstance(tags, list) and len(words) == len(tags) > 0
                if not whole or None in words or None in tags:
                    raise ValueError(
                        f"Row {row + 1} of {where}: tokens and tags must be lists of one length, above 0; got "
                        f"{str(words)[:60]!r} and {str(tags)[:60]!r}."
                    )
            return batch

        return map_rows(table, check, with_indices=True, desc="Reading rows")

    def texts(self, row: dict[str, Any]) -> Any:
        yield " ".join(row["tokens"])

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require(tokenizer, "pad_token", "which fills short rows")

    def learn(self, splits: dict[str, Any]) -> dict[str, Any]:
        known = {name: known_names(table.features["tags"]) for name, table in splits.items()}
        names = known["train"] or class_names(tag for tags in splits["train"]["tags"] for tag in tags)
        if len(names) < 2:
            raise ValueError(f"All training words have one tag ({', '.join(names)}); to tell apart there must be two.")
        self.labels = in_order_of(Labels("single_label", names), self.earlier_labels)
        self.spans = all(name == "O" or name.startswith(SPAN_PREFIXES) for name in names)
        say(f"Tags: {self.labels.summary()}")
        encode = partial(encode_tags, labels=self.labels)
        plain = {name: table.cast_column("tags", PLAIN) if known[name] else table for name, table in splits.items()}
        return {
            name: map_rows(
                table, partial(encode, known=known[name], split=name), with_indices=True, desc="Reading tags"
            )
            for name, table in plain.items()
        }

    def words(self, tokenizer: Any) -> dict[str, Any]:
        words = self.labels.words()
        return {name: value for name, value in words.items() if name != "problem_type"}

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`, and columns that lead back to the words."""
        align = partial(align_rows, tokenizer=tokenizer, max_length=self.args.max_length)
        return {
            name: map_rows(
                table, align, remove=list(table.column_names), with_indices=True, num_proc=num_proc, desc="Tokenising"
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorForTokenClassification(tokenizer)

    def reduce_logits(self, logits: Any, labels: Any) -> Any:
        return super().reduce_logits(logits, labels).argmax(-1)

    def measure(self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int) -> Measured:
        columns = {name: features[name][:] for name in self.extra_columns}
        names = self.labels.names

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            pairs = words_of_predictions(prediction.predictions, prediction.label_ids, columns)
            right, guessed = ([[names[tag] for tag in pair[side]] for pair in pairs] for side in (0, 1))
            return MEASURERS[self.spans](right, guessed, cache_dir) | self.further(guessed, right, cache_dir)

        return compute

    def baselines(self, data: Any) -> dict[str, float]:
        """Each word has its most frequent tag in training; unknown words the most frequent tag of all."""
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        for row in data.splits["train"]:
            for word, tag in zip(row["tokens"], row["tags"], strict=True):
                counts[word][tag] += 1
        usual = sum(counts.values(), Counter()).most_common(1)[0][0]
        best = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        rows = list(data.splits["test"])
        right = [[self.labels.names[tag] for tag in row["tags"]] for row in rows]
        guessed = [[self.labels.names[best.get(word, usual)] for word in row["tokens"]] for row in rows]
        with TemporaryDirectory() as scratch:
            return {"most frequent tag of the word": MEASURERS[self.spans](right, guessed, Path(scratch))["f1"]}

    def asked(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [{"tokens": prompt.split()} for prompt in prompts]
        return few_rows(data, 2)

    def shown(self, asked: dict[str, Any]) -> str:
        return " ".join(asked["tokens"])

    def wanted(self, asked: dict[str, Any]) -> str | None:
        return self.tagged(asked["tokens"], asked["tags"]) if "tags" in asked else None

    def tagged(self, words: list[str], tags: list[int]) -> str:
        names = [self.labels.names[tag] for tag in tags]
        return " ".join(word if tag == "O" else f"{word}/{tag}" for word, tag in zip(words, names, strict=True))

    def answer(self, model: Any, tokenizer: Any, asked: dict[str, Any]) -> str:
        rows = {"tokens": [asked["tokens"]], "tags": [[0] * len(asked["tokens"])]}
        features = align_word_labels(rows, tokenizer, self.args.max_length)
        columns = {name: features.pop(name) for name in self.extra_columns}
        batch = self.collator(tokenizer, model, False)(
            [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]
        )
        labels = batch.pop("labels")
        predicted = forward_one(model, batch).logits.argmax(-1).cpu()
        [(_, guessed)] = words_of_predictions(predicted, labels, columns)
        return self.tagged(asked["tokens"], guessed)

    def usage(self, home: str, asked: dict[str, Any]) -> str:
        text = " ".join(asked["tokens"])
        return "\n".join(
            [
                "from transformers import pipeline",
                f'tag = pipeline("token-classification", model={literal(home)}, trust_remote_code=True)',
                f'print([(word["word"], word["entity"]) for word in tag({literal(text)})])',
            ]
        )


def align_rows(batch: dict[str, list[Any]], rows: list[int], tokenizer: Any, max_length: int) -> dict[str, list[Any]]:
    return align_word_labels(dict(batch) | {"row": rows}, tokenizer, max_length)


def encode_tags(
    batch: dict[str, list[Any]], rows: list[int], labels: Labels, known: tuple[str, ...] | None, split: str
) -> dict[str, list[Any]]:
    """Tags as numbers of their classes; `known`: names of tags that are numbered in this split. Raises ValueError for
    one that the training split does not have."""
    encoded = []
    for row, tags in zip(rows, batch["tags"], strict=True):
        where = f"Row {row + 1} of the {split} split"
        names = tags if known is None else named(tags, known, where)
        encoded.append([labels.number(name, where) for name in names])
    return {"tags": encoded}


def measure_spans(right: list[list[str]], guessed: list[list[str]], cache_dir: Path) -> dict[str, float]:
    found: Any = load_metric("seqeval", cache_dir).compute(predictions=guessed, references=right)
    return {name: float(found[f"overall_{name}"]) for name in ("f1", "precision", "recall", "accuracy")}


def measure_words(right: list[list[str]], guessed: list[list[str]], cache_dir: Path) -> dict[str, float]:
    names = sorted({tag for tags in [*right, *guessed] for tag in tags})
    numbers = {name: number for number, name in enumerate(names)}
    flat = [np.array([numbers[tag] for tags in rows for tag in tags]) for rows in (guessed, right)]
    f1: Any = load_metric("f1", cache_dir).compute(predictions=flat[0], references=flat[1], average="macro")
    return {"f1": float(f1["f1"]), "accuracy": float((flat[0] == flat[1]).mean())}


# whether tags mark spans -> how they are measured
MEASURERS = {True: measure_spans, False: measure_words}
