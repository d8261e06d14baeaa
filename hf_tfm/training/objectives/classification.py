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
from ..preprocessing.labels import LabelEncoder, class_label_names, fit_label_encoder, keep_label_order, names_from_ids
from ..preprocessing.truncation import report_truncated, tokenize_within
from ..utils.printing import print_on_main_process
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    python_literal,
    require_special_token,
    short_test_rows,
)

__all__ = ["SequenceClassification"]

METRIC_LABELS = {
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
    required_columns = ("text", "label")
    optional_columns = ("text_pair",)
    builtin_dataset = "labelled_docstrings"
    metric_labels = METRIC_LABELS
    lower_is_better = Objective.lower_is_better | {"rmse"}
    labels: LabelEncoder
    paired = False
    supports_streaming = False
    supports_extra_metrics = True

    def text_columns(self) -> tuple[str, ...]:
        return ("text", "text_pair") if self.paired else ("text",)

    def prepare_rows(self, table: Any, where: str) -> Any:
        self.paired = "text_pair" in (table.column_names or ())
        return super().prepare_rows(table, where)

    def tokenizer_style(self, model_type: str) -> str:
        return "bracketed" if model_type == "tfm_seq2seq" else "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which fills short rows")

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        columns = self.source_columns.get("label", ["label"])
        learnt = fit_label_encoder(splits["train"], "label", self.args.problem_type, columns)
        self.labels = keep_label_order(learnt, self.checkpoint_labels)
        print_on_main_process(f"Labels: {self.labels.summary()}")
        encoded = {}
        for name, table in splits.items():
            # each split's own: the same class may have another number there
            known = class_label_names(table.features["label"])
            encode = partial(encode_labels, labels=self.labels, known=known, flags=len(columns) > 1, split=name)
            encoded[name] = map_rows(table, encode, with_indices=True, remove=["label"], desc="Reading labels")
        return encoded

    def config_fields(self, tokenizer: Any) -> dict[str, Any]:
        return self.labels.config_fields()

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`. Raises ValueError for a text that is too long."""
        encode = partial(
            encode_texts, tokenizer=tokenizer, parts=self.text_columns(), limit=self.args.max_length,
            policy=self.long_texts,
        )  # fmt: skip
        return {
            name: report_truncated(
                map_rows(
                    table,
                    encode,
                    remove=[*self.text_columns()],
                    num_proc=num_proc,
                    with_indices=True,
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
            predictions = self.predict(np.asarray(prediction.predictions))
            results = self.label_results(prediction, cache_dir)
            return results | self.extra_metrics(predictions, prediction.label_ids, cache_dir)

        return compute

    def predict(self, logits: np.ndarray) -> np.ndarray:
        """Class (N,), flags (N, classes) or number (N,) of each row of logits (N, classes)."""
        if self.labels.problem_type == "single_label":
            return predict_class(logits)
        return predict_flags(logits) if self.labels.problem_type == "multi_label" else predict_number(logits)

    def label_results(self, prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
        if self.labels.problem_type == "single_label":
            return single_label_metrics(prediction, cache_dir)
        if self.labels.problem_type == "multi_label":
            return multi_label_metrics(prediction, cache_dir)
        return regression_metrics(prediction, cache_dir)

    def baselines(self, data: Any) -> dict[str, float]:
        """Always the class that is most frequent in training; always the mean of the training labels is not a
        correlation, so numbers have none."""
        if self.labels.problem_type != "single_label":
            return {}
        train, test = (np.asarray(data.splits[name]["labels"][:]) for name in ("train", "test"))
        return {"most frequent class": float((test == np.bincount(train).argmax()).mean())}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [{"text": prompt} for prompt in prompts]
        return short_test_rows(data, 3)

    def format_input(self, sample_input: dict[str, Any]) -> str:
        return " | ".join(sample_input[part] for part in ("text", "text_pair") if sample_input.get(part))

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return self.label_text(sample_input["labels"]) if "labels" in sample_input else None

    def label_text(self, label: Any) -> str:
        if self.labels.problem_type == "regression":
            return f"{label:.2f}"
        if self.labels.problem_type == "single_label":
            return self.labels.names[label]
        return ", ".join(name for name, flag in zip(self.labels.names, label, strict=True) if flag) or "none"

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        texts = [sample_input[part] for part in ("text", "text_pair") if sample_input.get(part)]
        inputs = tokenizer(*texts, return_tensors="pt", truncation=True, max_length=self.args.max_length)
        scores = forward_in_eval_mode(model, dict(inputs)).logits[0].float().cpu()
        return self.label_text(self.predict(scores.numpy()[None])[0].tolist())

    def usage_snippet(self, home: str, sample_input: dict[str, Any]) -> str:
        texts = {part: sample_input[part] for part in ("text", "text_pair") if sample_input.get(part)}
        given = python_literal(texts if len(texts) > 1 else texts["text"])
        return "\n".join(
            [
                "from transformers import pipeline",
                f'classify = pipeline("text-classification", model={python_literal(home)}, trust_remote_code=True)',
                f"print(classify({given}))",
            ]
        )


def encode_labels(
    batch: dict[str, list[Any]], rows: list[int], labels: LabelEncoder, known: Any, flags: bool, split: str
) -> dict[str, list[Any]]:
    """Labels as the model takes them; `known`: names of numbered classes. Raises ValueError that names the row."""
    encoded = []
    for row, label in zip(rows, batch["label"], strict=True):
        where = f"Row {row + 1} of the {split} split"
        if label is None or label == "":
            raise ValueError(f"{where} has no label; fill it or leave the row out.")
        if known is not None:
            label = names_from_ids(label, known, where)
        if flags:
            label = set_flag_names(label, labels, where)
        encoded.append(labels.encode(label, where))
    return {"labels": encoded}


def set_flag_names(flags: list[Any], labels: LabelEncoder, where: str) -> list[str]:
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
    return tokenize_within(
        tokenizer, texts[0], texts[1] if len(texts) > 1 else None, limit, policy, "--max_length", rows
    )


def predict_class(scores: np.ndarray) -> np.ndarray:
    return scores.argmax(-1)


def predict_flags(scores: np.ndarray) -> np.ndarray:
    return (scores > 0).astype(int)


def predict_number(scores: np.ndarray) -> np.ndarray:
    return scores[:, 0]


def single_label_metrics(prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
    found = {"predictions": predict_class(np.asarray(prediction.predictions)), "references": prediction.label_ids}
    metrics = {name: load_metric(name, cache_dir) for name in ("accuracy", "f1", "matthews_correlation")}
    results = {name: metrics[name].compute(**found) for name in ("accuracy", "matthews_correlation")}
    f1 = metrics["f1"].compute(**found, average="macro")
    return {name: float((result or {})[name]) for name, result in (results | {"f1": f1}).items()}


def multi_label_metrics(prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
    predictions = predict_flags(np.asarray(prediction.predictions))
    references = np.asarray(prediction.label_ids).astype(int)
    metric: Any = load_metric("f1", cache_dir)
    found = {average: metric.compute(predictions=predictions, references=references, average=average)["f1"]
             for average in ("micro", "macro")}  # fmt: skip
    exact = float((predictions == references).all(-1).mean())
    return {"micro_f1": float(found["micro"]), "f1": float(found["macro"]), "accuracy": exact}


def regression_metrics(prediction: EvalPrediction, cache_dir: Path) -> dict[str, float]:
    predictions = predict_number(np.asarray(prediction.predictions)).astype(np.float64)
    references = np.asarray(prediction.label_ids, dtype=np.float64).reshape(-1)
    found: Any = {
        name: load_metric(name, cache_dir).compute(predictions=predictions, references=references)
        for name in ("pearsonr", "spearmanr")
    }
    rmse = float(np.sqrt(np.mean((predictions - references) ** 2)))
    return {name: float(result[name]) for name, result in found.items()} | {"rmse": rmse}
