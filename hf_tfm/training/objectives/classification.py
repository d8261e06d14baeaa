"""Classify a text or a pair of texts: one class, several classes at once, or a number (regression)."""

import json
from functools import cache, partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Features, Value
from transformers import DataCollatorWithPadding, EvalPrediction

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForSequenceClassification
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForSequenceClassification
from hf_tfm.modeling.modeling_tfm_seq2seq import TfmSeq2SeqForSequenceClassification
from hf_tfm.usage import python_literal

from ..metrics.linear_baselines import linear_predictions, rows_within_limits
from ..metrics.metric_registry import load_metric
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.labels import LabelEncoder, fit_label_encoder, infer_label_kind, keep_label_order
from ..preprocessing.row_values import RowError, label_of, text_of
from ..preprocessing.rows import LOCATION, PROBLEM
from ..preprocessing.truncation import report_truncated, tokenize_within
from ..utils.printing import print_on_main_process
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    require_special_token,
    short_test_rows,
)

__all__ = ["SequenceClassification"]

METRIC_LABELS = {
    "micro_f1": "F1 over all labels (micro)",
    "accuracy": "accuracy",
    "f1": "F1, mean over classes",
    "matthews_correlation": "Matthews correlation",
    "pearsonr": "Pearson correlation",
    "spearmanr": "Spearman correlation",
    "rmse": "root mean squared error",
    "loss": "loss",
}
# kind of labels -> main result: of METRIC_LABELS, the first that is measured
MAIN_METRICS = {"class": "accuracy", "multi": "micro_f1", "number": "pearsonr"}


class SequenceClassification(Objective):
    """Reads a text, optionally a second text, and a label: words or whole numbers (one class), a list of them or
    several columns of 0 and 1 (any number of classes), or numbers of which some have a fraction (regression)."""

    task = "sequence-classification"
    pipeline_tag = "text-classification"
    auto_class = "AutoModelForSequenceClassification"
    models = {
        "tfm_encoder": TfmEncoderForSequenceClassification,
        "tfm_decoder": TfmDecoderForSequenceClassification,
        "tfm_seq2seq": TfmSeq2SeqForSequenceClassification,
    }
    required_columns = ("text", "label")
    optional_columns = ("text_pair",)
    builtin_dataset = "labelled_docstrings"
    metric_labels = METRIC_LABELS
    supports_streaming = False
    length_columns = {"max_length": "input_ids"}
    supports_extra_metrics = True
    default_arguments = {"max_length": 128}
    default_config_fields = {"pooling": "mean", "hidden_dropout": 0.1}
    # Measured on the validation split of TREC (model card of small data sets): a narrow model, more dropout, averages
    own_data_arguments = {"per_device_train_batch_size": 32, "muon_learning_rate": 0.01, "ema_decay": 0.99}
    own_data_config_fields = {
        "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "hidden_dropout": 0.2,
        "embedding_dropout": 0.2,
    }  # fmt: skip
    peft_task_type = "SEQ_CLS"
    labels: LabelEncoder

    def text_columns(self) -> tuple[str, ...]:
        return ("text", "text_pair") if "text_pair" in self.source_columns else ("text",)

    def features(self) -> Features:
        return Features(super().features() | {"label": Value("string")})

    def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        """The texts, and the label as JSON: a text, or a list of texts."""
        columns = self.source_columns["label"]
        label = label_of(row["label"]) if len(columns) == 1 else names_from_flags(row["label"], columns)
        texts = {column: text_of(row[column], column) for column in self.text_columns()}
        return {**texts, "label": json.dumps(label)}

    def tokenizer_style(self, model_type: str) -> str:
        return "bracketed" if model_type == "tfm_seq2seq" else "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which pads short rows")

    def row_classes(self, tables: dict[str, Any]) -> list[list[str]] | None:
        labels = {name: labels_of(table) for name, table in tables.items()}
        kind, _ = infer_label_kind(chain.from_iterable(labels.values()))
        if (self.args.label_kind or kind) == "number":
            return None
        return [label if isinstance(label, list) else [label] for label in labels["train"]]

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        columns = self.source_columns["label"]
        declared = tuple(columns) if len(columns) > 1 else self.class_names.get("label")
        values = {name: labels_of(table) for name, table in splits.items()}
        others = [label for name in splits if name != "train" for label in values[name]]
        labels = fit_label_encoder(values["train"], others, self.args.label_kind, declared)
        self.labels = keep_label_order(labels, self.checkpoint_labels)
        self.supports_label_smoothing = self.labels.kind == "class"
        self.validation_metric = MAIN_METRICS[self.labels.kind]
        print_on_main_process(f"Labels: {self.labels.summary()}")
        encode = partial(encode_labels, labels=self.labels)
        return {
            name: self.bad_rows.map(table, encode, remove=["label"], desc="Reading labels")
            for name, table in splits.items()
        }

    def config_fields(self, tokenizer: Any) -> dict[str, Any]:
        return self.labels.config_fields()

    def encoder(self, tokenizer: Any) -> Any:
        return partial(
            encode_texts, tokenizer=tokenizer, columns=self.text_columns(), max_length=self.args.max_length,
            long_texts=self.long_texts,
        )  # fmt: skip

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`."""
        encode = self.encoder(tokenizer)
        return {
            name: report_truncated(
                map_rows(
                    table,
                    encode,
                    remove=[*self.text_columns(), LOCATION],
                    num_proc=num_proc,
                    desc="Tokenising",
                ),
                name,
                "--max_length",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorWithPadding(tokenizer)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        def compute(prediction: EvalPrediction) -> dict[str, float]:
            predictions, references = self.predict(np.asarray(prediction.predictions)), np.asarray(prediction.label_ids)
            results = self.label_metrics(predictions, references, cache_dir)
            return results | self.extra_metrics(predictions, references, cache_dir)

        return compute

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """Logits (N, classes) to class ids (N,), flags (N, classes) or numbers (N,)."""
        if self.labels.kind == "class":
            return logits.argmax(-1)
        if self.labels.kind == "multi":
            return (logits > 0).astype(int)
        return logits[:, 0]

    def label_metrics(self, predictions: np.ndarray, references: np.ndarray, cache_dir: Path) -> dict[str, float]:
        if self.labels.kind == "class":
            return single_label_metrics(predictions, references, cache_dir)
        if self.labels.kind == "multi":
            return multi_label_metrics(predictions, references.astype(int), cache_dir)
        return regression_metrics(predictions.astype(np.float64), references.astype(np.float64).reshape(-1), cache_dir)

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """The most frequent training class (of numbers, a constant has no correlation), and a linear model on words and
        pairs of words."""
        columns, splits = self.text_columns(), data.splits
        labels = {name: np.asarray(splits[name]["labels"][:]) for name in ("train", "test")}
        texts = {name: [list(splits[name][column][:]) for column in columns] for name in ("train", "test")}
        rows = rows_within_limits(texts["train"], len(self.labels.names) or 1)
        train = [[column[row] for row in rows] for column in texts["train"]]
        predictions = {}
        if self.labels.kind == "class":
            predictions["most frequent class"] = np.full_like(labels["test"], np.bincount(labels["train"]).argmax())
        limited = "" if len(rows) == len(labels["train"]) else f", fitted to {len(rows):,} rows"
        model = "linear regression" if self.labels.kind == "number" else "linear classifier"
        predictions[f"{model} on words and pairs of words{limited}"] = linear_predictions(
            train, labels["train"][rows].squeeze(), texts["test"], self.labels.kind
        )
        return {
            name: self.main_result(predicted, labels["test"])
            for name, predicted in predictions.items()
            if predicted is not None
        }

    def main_result(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """The main result for this kind of labels."""
        with TemporaryDirectory() as folder:
            return self.label_metrics(predictions, references, Path(folder))[self.validation_metric]

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [{"text": prompt} for prompt in prompts]
        return short_test_rows(data, 3)

    def format_input(self, sample_input: dict[str, Any]) -> str:
        return " | ".join(given_texts(sample_input))

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return self.label_text(sample_input["labels"]) if "labels" in sample_input else None

    def label_text(self, label: Any) -> str:
        if self.labels.kind == "number":
            return f"{label:.2f}"
        if self.labels.kind == "class":
            return self.labels.names[label]
        return ", ".join(name for name, flag in zip(self.labels.names, label, strict=True) if flag) or "none"

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        inputs = tokenizer(
            *given_texts(sample_input), return_tensors="pt", truncation=True, max_length=self.args.max_length
        )
        logits = forward_in_eval_mode(model, dict(inputs)).logits.float().cpu().numpy()
        return self.label_text(self.predict(logits)[0].tolist())

    def inspected_text(self, tokenizer: Any, sample_input: dict[str, Any], output: str) -> dict[str, Any]:
        texts = given_texts(sample_input)
        return {"text": tuple(texts) if len(texts) > 1 else texts[0]}

    def usage_snippet(self, checkpoint: str, sample_input: dict[str, Any]) -> str:
        texts = {name: sample_input[name] for name in ("text", "text_pair") if sample_input.get(name)}
        argument = python_literal(texts if len(texts) > 1 else texts["text"])
        return "\n".join(
            [
                "from transformers import pipeline",
                f'classify = pipeline("text-classification", model={checkpoint})',
                f"print(classify({argument}))",
            ]
        )


def given_texts(sample_input: dict[str, Any]) -> list[str]:
    """The text, or both texts of a pair."""
    return [sample_input[name] for name in ("text", "text_pair") if sample_input.get(name)]


def labels_of(table: Any) -> list[str | list[str]]:
    decode = cache(json.loads)
    return [decode(label) for label in table["label"][:]]


def encode_labels(batch: dict[str, list[Any]], labels: LabelEncoder) -> dict[str, list[Any]]:
    """Labels as the model takes them, and the reason where that is not possible."""
    encoded, problems = [], []
    for label in batch["label"]:
        try:
            encoded.append(labels.encode(json.loads(label)))
            problems.append("")
        except RowError as error:
            encoded.append(labels.placeholder())
            problems.append(str(error))
    return {"labels": encoded, PROBLEM: problems}


def names_from_flags(flags: list[Any], columns: list[str]) -> list[str]:
    """Names of the columns that hold 1. Raises RowError for values other than 0 and 1."""
    values = [str(flag).strip().lower() for flag in flags]
    if not {"0", "1", "0.0", "1.0", "false", "true"}.issuperset(values):
        raise RowError(f"has the labels {flags}; the columns {', '.join(columns)} must hold 0 or 1")
    return [name for name, value in zip(columns, values, strict=True) if value in ("1", "1.0", "true")]


def encode_texts(
    batch: dict[str, list[str]], tokenizer: Any, columns: tuple[str, ...], max_length: int, long_texts: str
) -> dict[str, Any]:
    texts = [list(batch[name]) for name in columns]
    second = texts[1] if len(texts) > 1 else None
    return tokenize_within(tokenizer, texts[0], second, max_length, long_texts, "--max_length")


def single_label_metrics(predictions: np.ndarray, references: np.ndarray, cache_dir: Path) -> dict[str, float]:
    pair = {"predictions": predictions, "references": references}
    metrics = {name: load_metric(name, cache_dir) for name in ("accuracy", "f1", "matthews_correlation")}
    results = {name: metrics[name].compute(**pair) for name in ("accuracy", "matthews_correlation")}
    f1 = metrics["f1"].compute(**pair, average="macro")
    return {name: float((result or {})[name]) for name, result in (results | {"f1": f1}).items()}


def multi_label_metrics(predictions: np.ndarray, references: np.ndarray, cache_dir: Path) -> dict[str, float]:
    metric: Any = load_metric("f1", cache_dir)
    f1 = {average: metric.compute(predictions=predictions, references=references, average=average)["f1"]
             for average in ("micro", "macro")}  # fmt: skip
    accuracy = float((predictions == references).all(-1).mean())
    return {"micro_f1": float(f1["micro"]), "f1": float(f1["macro"]), "accuracy": accuracy}


def regression_metrics(predictions: np.ndarray, references: np.ndarray, cache_dir: Path) -> dict[str, float]:
    correlations: Any = {
        name: load_metric(name, cache_dir).compute(predictions=predictions, references=references)
        for name in ("pearsonr", "spearmanr")
    }
    rmse = float(np.sqrt(np.mean((predictions - references) ** 2)))
    return {name: float(result[name]) for name, result in correlations.items()} | {"rmse": rmse}
