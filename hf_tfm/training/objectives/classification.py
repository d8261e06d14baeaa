"""Tell what a text, or a pair of texts, is: one class, several at once, or a number."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from transformers import DataCollatorWithPadding, EvalPrediction

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForSequenceClassification
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForSequenceClassification
from hf_tfm.modeling.modeling_tfm_seq2seq import TfmSeq2SeqForSequenceClassification

from ..metrics.metric_registry import load_metric
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.labels import Labels, in_order_of, known_names, learn_labels, named
from ..preprocessing.truncation import encode_within, report_cut
from ..utils.printing import say
from .base import Measured, Objective, few_rows, forward_one, literal, require

__all__ = ["SequenceClassification"]

MEASURES = {
    "accuracy": "share of right classes",
    "f1": "F1, mean over classes",
    "matthews_correlation": "Matthews correlation",
    "micro_f1": "F1 over all yes-or-no",
    "pearsonr": "Pearson correlation",
    "spearmanr": "Spearman correlation",
    "rmse": "root of the mean squared error",
    "loss": "loss",
}


class SequenceClassification(Objective):
    """A text and optionally a second one, and a label: a word or whole number (one class), a list or several columns of
    0 and 1 (any number of classes), a fraction (regression)."""

    task = "sequence-classification"
    pipeline_tag = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    models = {
        "tfm_encoder": TfmEncoderForSequenceClassification,
        "tfm_decoder": TfmDecoderForSequenceClassification,
        "tfm_seq2seq": TfmSeq2SeqForSequenceClassification,
    }
    required = ("text", "label")
    optional = ("text_pair",)
    python_set = "labelled_docstrings"
    measures = MEASURES
    falling = Objective.falling | {"rmse"}
    labels: Labels
    paired = False
    streams = False
    comparable = True

    def text_parts(self) -> tuple[str, ...]:
        return ("text", "text_pair") if self.paired else ("text",)

    def clean(self, table: Any, where: str) -> Any:
        self.paired = "text_pair" in (table.column_names or ())
        return super().clean(table, where)

    def tokenizer_style(self, model_type: str) -> str:
        return "bracketed" if model_type == "tfm_seq2seq" else "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require(tokenizer, "pad_token", "which fills short rows")

    def learn(self, splits: dict[str, Any]) -> dict[str, Any]:
        columns = self.source_columns.get("label", ["label"])
        learnt = learn_labels(splits["train"], "label", self.args.problem_type, columns)
        self.labels = in_order_of(learnt, self.earlier_labels)
        say(f"Labels: {self.labels.summary()}")
        encoded = {}
        for name, table in splits.items():
            # each split's own: the same class may have another number there
            known = known_names(table.features["label"])
            encode = partial(encode_labels, labels=self.labels, known=known, flags=len(columns) > 1, split=name)
            encoded[name] = map_rows(table, encode, with_indices=True, remove=["label"], desc="Reading labels")
        return encoded

    def words(self, tokenizer: Any) -> dict[str, Any]:
        return self.labels.words()

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`. Raises ValueError for a text that is too long."""
        encode = partial(
            encode_texts, tokenizer=tokenizer, parts=self.text_parts(), limit=self.args.max_length,
            policy=self.long_texts,
        )  # fmt: skip
        return {
            name: report_cut(
                map_rows(
                    table, encode, remove=[*self.text_parts()], num_proc=num_proc, with_indices=True, desc="Tokenising"
                ),
                name,
                "--max_length",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorWithPadding(tokenizer)

    def measure(self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int) -> Measured:
        def compute(prediction: EvalPrediction) -> dict[str, float]:
            predictions = DECISIONS[self.labels.kind](np.asarray(prediction.predictions))
            results = MEASURERS[self.labels.kind](prediction, cache_dir)
            return results | self.further(predictions, prediction.label_ids, cache_dir)

        return compute

    def baselines(self, data: Any) -> dict[str, float]:
        """Always the class that is most frequent in training; always the mean of the training labels is not a
        correlation, so numbers have none."""
        if self.labels.kind != "single_label":
            return {}
        train, test = (np.asarray(data.splits[name]["labels"][:]) for name in ("train", "test"))
        return {"most frequent class": float((test == np.bincount(train).argmax()).mean())}

    def asked(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [{"text": prompt} for prompt in prompts]
        return few_rows(data, 3)

    def shown(self, asked: dict[str, Any]) -> str:
        return " | ".join(asked[part] for part in ("text", "text_pair") if asked.get(part))

    def wanted(self, asked: dict[str, Any]) -> str | None:
        return self.named(asked["labels"]) if "labels" in asked else None

    def named(self, label: Any) -> str:
        if self.labels.kind == "regression":
            return f"{label:.2f}"
        if self.labels.kind == "single_label":
            return self.labels.names[label]
        return ", ".join(name for name, flag in zip(self.labels.names, label, strict=True) if flag) or "none"

    def answer(self, model: Any, tokenizer: Any, asked: dict[str, Any]) -> str:
        texts = [asked[part] for part in ("text", "text_pair") if asked.get(part)]
        inputs = tokenizer(*texts, return_tensors="pt", truncation=True, max_length=self.args.max_length)
        scores = forward_one(model, dict(inputs)).logits[0].float().cpu()
        return self.named(DECISIONS[self.labels.kind](scores.numpy()[None])[0].tolist())

    def usage(self, home: str, asked: dict[str, Any]) -> str:
        texts = {part: asked[part] for part in ("text", "text_pair") if asked.get(part)}
        given = literal(texts if len(texts) > 1 else texts["text"])
        return "\n".join(
            [
                "from transformers import pipeline",
                f'classify = pipeline("text-classification", model={literal(home)}, trust_remote_code=True)',
                f"print(classify({given}))",
            ]
        )


def encode_labels(
    batch: dict[str, list[Any]], rows: list[int], labels: Labels, known: Any, flags: bool, split: str
) -> dict[str, list[Any]]:
    """Labels as the model takes them; `known`: names of numbered classes. Raises ValueError that names the row."""
    encoded = []
    for row, label in zip(rows, batch["label"], strict=True):
        where = f"Row {row + 1} of the {split} split"
        if label is None or label == "":
            raise ValueError(f"{where} has no label; fill it or leave the row out.")
        if known is not None:
            label = named(label, known, where)
        if flags:
            label = flagged(label, labels, where)
        encoded.append(labels.encode(label, where))
    return {"labels": encoded}


def flagged(flags: list[Any], labels: Labels, where: str) -> list[str]:
    """Names of the columns that say yes."""
    words = [str(flag).lower() for flag in flags]
    if not {"0", "1", "0.0", "1.0", "false", "true"}.issuperset(words):
        raise ValueError(
            f"{where} has the labels {flags}; columns of yes and no ({', '.join(labels.names)}) hold 0 or 1."
        )
    return [name for name, word in zip(labels.names, words, strict=True) if word in ("1", "1.0", "true")]


def encode_texts(
    batch: dict[str, list[str]], rows: list[int], tokenizer: Any, parts: tuple[str, ...], limit: int, policy: str
) -> dict[str, Any]:
    texts = [list(batch[part]) for part in parts]
    return encode_within(tokenizer, texts[0], texts[1] if len(texts) > 1 else None, limit, policy, "--max_length", rows)


def decide_class(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(-1)


def decide_each(scores: np.ndarray) -> np.ndarray:
    return (scores > 0).astype(int)


def decide_number(scores: np.ndarray) -> np.ndarray:
    return scores[:, 0]


DECISIONS = {"single_label": decide_class, "multi_label": decide_each, "regression": decide_number}


def measure_classes(prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
    found = {"predictions": decide_class(np.asarray(prediction.predictions)), "references": prediction.label_ids}
    metrics = {name: load_metric(name, cache_dir) for name in ("accuracy", "f1", "matthews_correlation")}
    results = {name: metrics[name].compute(**found) for name in ("accuracy", "matthews_correlation")}
    f1 = metrics["f1"].compute(**found, average="macro")
    return {name: float((result or {})[name]) for name, result in (results | {"f1": f1}).items()}


def measure_each(prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
    predictions = decide_each(np.asarray(prediction.predictions))
    references = np.asarray(prediction.label_ids).astype(int)
    metric: Any = load_metric("f1", cache_dir)
    found = {average: metric.compute(predictions=predictions, references=references, average=average)["f1"]
             for average in ("micro", "macro")}  # fmt: skip
    exact = float((predictions == references).all(-1).mean())
    return {"micro_f1": float(found["micro"]), "f1": float(found["macro"]), "accuracy": exact}


def measure_numbers(prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
    predictions = decide_number(np.asarray(prediction.predictions)).astype(np.float64)
    references = np.asarray(prediction.label_ids, dtype=np.float64).reshape(-1)
    found: Any = {
        name: load_metric(name, cache_dir).compute(predictions=predictions, references=references)
        for name in ("pearsonr", "spearmanr")
    }
    rmse = float(np.sqrt(np.mean((predictions - references) ** 2)))
    return {name: float(result[name]) for name, result in found.items()} | {"rmse": rmse}


MEASURERS = {"single_label": measure_classes, "multi_label": measure_each, "regression": measure_numbers}
