"""Token classification: one tag for each word of a sentence."""

from collections import Counter, defaultdict
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from datasets import Features, List, Value
from transformers import DataCollatorForTokenClassification, EvalPrediction

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForTokenClassification
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForTokenClassification
from hf_tfm.usage import python_literal

from ..metrics.metric_registry import load_metric
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.labels import LabelEncoder, keep_label_order, sorted_names
from ..preprocessing.row_values import RowError, text_list
from ..preprocessing.rows import LOCATION, PROBLEM
from ..preprocessing.word_alignment import align_word_labels, word_predictions
from ..utils.printing import print_on_main_process
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    require_special_token,
    short_test_rows,
)

__all__ = ["TokenClassification"]

SPAN_PREFIXES = ("B-", "I-", "E-", "S-", "L-", "U-")


class TokenClassification(Objective):
    """Reads lists of words and lists of tags. The first token of a word has its tag as label. Rows that are too long
    are split between words, without loss. Tags such as B-person and I-person are evaluated as spans (seqeval)."""

    task = "token-classification"
    pipeline_tag = "token-classification"
    auto_class = "AutoModelForTokenClassification"
    models = {"tfm_encoder": TfmEncoderForTokenClassification, "tfm_decoder": TfmDecoderForTokenClassification}
    required_columns = ("tokens", "tags")
    builtin_dataset = "token_types"
    split_column = "tokens"
    metric_labels = {
        "f1": "F1 (of spans, or mean over classes)",
        "precision": "precision of spans",
        "recall": "recall of spans",
        "accuracy": "accuracy on words",
        "loss": "nats per word (the loss)",
    }
    supports_streaming = False
    default_arguments = {"max_length": 128}
    default_config_fields = {"hidden_dropout": 0.1}
    peft_task_type = "TOKEN_CLS"
    supports_extra_metrics = True
    metric_columns = ("row", "first_word", "first_pieces")
    validation_metric = "f1"
    labels: LabelEncoder

    def features(self) -> Features:
        return Features({"tokens": List(Value("string")), "tags": List(Value("string"))})

    def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        words, tags = text_list(row["tokens"], "tokens"), text_list(row["tags"], "tags")
        if len(words) != len(tags):
            raise RowError(f"has {len(words)} tokens and {len(tags)} tags; each token needs one")
        return {"tokens": words, "tags": tags}

    def texts(self, row: dict[str, Any]) -> Any:
        yield " ".join(row["tokens"])

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which pads short rows")

    def row_classes(self, tables: dict[str, Any]) -> list[list[str]]:
        return [list(set(tags)) for tags in tables["train"]["tags"][:]]

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        names = self.class_names.get("tags") or sorted_names(chain.from_iterable(splits["train"]["tags"][:]))
        if len(names) < 2:
            raise ValueError(f"All training words have one tag ({', '.join(names)}); at least two are needed.")
        self.labels = keep_label_order(LabelEncoder("class", names), self.checkpoint_labels)
        self.has_span_tags = all(name == "O" or name.startswith(SPAN_PREFIXES) for name in names)
        print_on_main_process(f"Tags: {self.labels.summary()}")
        encode = partial(encode_tags, labels=self.labels)
        named = {name: table.rename_column("tags", "_tags") for name, table in splits.items()}
        return {
            name: self.bad_rows.map(table, encode, remove=["_tags"], desc="Reading tags")
            for name, table in named.items()
        }

    def config_fields(self, tokenizer: Any) -> dict[str, Any]:
        fields = self.labels.config_fields()
        return {name: value for name, value in fields.items() if name != "problem_type"}

    def encoder(self, tokenizer: Any) -> Any:
        return partial(align_rows, tokenizer=tokenizer, max_length=self.args.max_length)

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`, and the columns that locate the words."""
        align = self.encoder(tokenizer)
        return {
            name: map_rows(
                table,
                align,
                remove=[*self.required_columns, LOCATION],
                with_indices=True,
                num_proc=num_proc,
                desc="Tokenising",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorForTokenClassification(tokenizer)

    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        return super().preprocess_logits(logits, labels).argmax(-1)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        columns = {name: features[name][:] for name in self.metric_columns}
        names = self.labels.names

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            pairs = word_predictions(prediction.predictions, prediction.label_ids, columns)
            references = [[names[tag] for tag in tags] for tags, _ in pairs]
            predictions = [[names[tag] for tag in tags] for _, tags in pairs]
            results = self.tag_results(references, predictions, cache_dir)
            return results | self.extra_metrics(predictions, references, cache_dir)

        return compute

    def tag_results(
        self, references: list[list[str]], predictions: list[list[str]], cache_dir: Path
    ) -> dict[str, float]:
        if self.has_span_tags:
            return span_metrics(references, predictions, cache_dir)
        return tag_metrics(references, predictions, cache_dir)

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """F1 of the most frequent training tag of each word; new words get the most frequent tag of all."""
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        for row in data.splits["train"]:
            for word, tag in zip(row["tokens"], row["tags"], strict=True):
                counts[word][tag] += 1
        most_frequent = sum(counts.values(), Counter()).most_common(1)[0][0]
        tag_of_word = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
        rows = list(data.splits["test"])
        names = self.labels.names
        references = [[names[tag] for tag in row["tags"]] for row in rows]
        predictions = [[names[tag_of_word.get(word, most_frequent)] for word in row["tokens"]] for row in rows]
        with TemporaryDirectory() as folder:
            return {"most frequent tag of the word": self.tag_results(references, predictions, Path(folder))["f1"]}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [{"tokens": prompt.split()} for prompt in prompts]
        return short_test_rows(data, 2)

    def format_input(self, sample_input: dict[str, Any]) -> str:
        return " ".join(sample_input["tokens"])

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return self.format_tags(sample_input["tokens"], sample_input["tags"]) if "tags" in sample_input else None

    def format_tags(self, words: list[str], tags: list[int]) -> str:
        names = [self.labels.names[tag] for tag in tags]
        return " ".join(word if tag == "O" else f"{word}/{tag}" for word, tag in zip(words, names, strict=True))

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        rows = {"tokens": [sample_input["tokens"]], "tags": [[0] * len(sample_input["tokens"])]}
        features = align_word_labels(rows, tokenizer, self.args.max_length)
        columns = {name: features.pop(name) for name in self.metric_columns}
        batch = self.collator(tokenizer, model, False)(
            [dict(zip(features, values, strict=True)) for values in zip(*features.values(), strict=True)]
        )
        labels = batch.pop("labels")
        predicted = forward_in_eval_mode(model, batch).logits.argmax(-1).cpu()
        [(_, tags)] = word_predictions(predicted, labels, columns)
        return self.format_tags(sample_input["tokens"], tags)

    def usage_snippet(self, checkpoint: str, sample_input: dict[str, Any]) -> str:
        text = " ".join(sample_input["tokens"])
        return "\n".join(
            [
                "from transformers import pipeline",
                f'tag = pipeline("token-classification", model={checkpoint})',
                f'print([(word["word"], word["entity"]) for word in tag({python_literal(text)})])',
            ]
        )


def align_rows(
    batch: dict[str, list[Any]], rows: list[int] | None = None, *, tokenizer: Any, max_length: int
) -> dict[str, list[Any]]:
    """Words and tags as `align_word_labels` returns them. `rows`: the index of each row in its split."""
    return align_word_labels(dict(batch) | ({} if rows is None else {"row": rows}), tokenizer, max_length)


def encode_tags(batch: dict[str, list[Any]], labels: LabelEncoder) -> dict[str, list[Any]]:
    """Tags as label ids, and the reason where the training split does not have one."""
    encoded, problems = [], []
    for tags in batch["_tags"]:
        try:
            encoded.append([labels.label_id(name) for name in tags])
            problems.append("")
        except RowError as error:
            encoded.append([0])
            problems.append(str(error).replace("label", "tag"))
    return {"tags": encoded, PROBLEM: problems}


def span_metrics(references: list[list[str]], predictions: list[list[str]], cache_dir: Path) -> dict[str, float]:
    result: Any = load_metric("seqeval", cache_dir).compute(predictions=predictions, references=references)
    return {name: float(result[f"overall_{name}"]) for name in ("f1", "precision", "recall", "accuracy")}


def tag_metrics(references: list[list[str]], predictions: list[list[str]], cache_dir: Path) -> dict[str, float]:
    """Macro F1 and accuracy over all words."""
    names = sorted({tag for tags in [*references, *predictions] for tag in tags})
    ids = {name: index for index, name in enumerate(names)}
    predicted, expected = (np.array([ids[tag] for tags in rows for tag in tags]) for rows in (predictions, references))
    f1: Any = load_metric("f1", cache_dir).compute(predictions=predicted, references=expected, average="macro")
    return {"f1": float(f1["f1"]), "accuracy": float((predicted == expected).mean())}
