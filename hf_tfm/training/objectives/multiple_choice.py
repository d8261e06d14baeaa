"""Multiple choice: find which of several texts belongs to a given text."""

import re
from collections import Counter
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Features, List, Value
from transformers import DataCollatorForMultipleChoice, EvalPrediction

from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForMultipleChoice
from hf_tfm.usage import python_literal

from ..preprocessing.dataset_utils import iterate_rows, map_rows
from ..preprocessing.labels import parse_number
from ..preprocessing.row_values import RowError, choices_of, text_of
from ..preprocessing.rows import LOCATION
from ..preprocessing.truncation import report_truncated, tokenize_within
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    require_special_token,
    short_test_rows,
)

__all__ = ["MultipleChoice"]

# Training rows whose choices are counted.
ROWS_COUNTED = 1000


class MultipleChoice(Objective):
    """Reads a stem, several choices (the same number in every row) and the index of the correct one, from 0."""

    task = "multiple-choice"
    pipeline_tag = "multiple-choice"
    auto_class = "AutoModelForMultipleChoice"
    models = {"tfm_encoder": TfmEncoderForMultipleChoice}
    required_columns = ("stem", "choices", "label")
    builtin_dataset = "summary_choices"
    split_column = "stem"
    supports_extra_metrics = True
    validation_metric = "accuracy"
    length_columns = {"max_length": "input_ids"}
    metric_labels = {"accuracy": "accuracy", "loss": "nats per choice (the loss)"}
    # a small vocabulary: the two spellings of a word, in code and in a sentence, then share most of their tokens
    default_arguments = {
        "vocab_size": 512, "max_length": 96, "per_device_train_batch_size": 8, "eval_steps": 400, "max_steps": 1200,
    }  # fmt: skip
    # The built-in texts share words at any position, so the model has no positions; token types separate the two texts.
    default_config_fields = {
        "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "position_type": "none",
        "type_vocab_size": 2, "pooling": "mean", "initializer_range": 0.1, "hidden_dropout": 0.1,
    }  # fmt: skip

    # texts of others need positions; sizes and dropout of a classifier
    own_data_config_fields = {
        "hidden_size": 128, "position_type": "rotary", "initializer_range": 0.02, "hidden_dropout": 0.2,
        "embedding_dropout": 0.2,
    }  # fmt: skip

    def text_columns(self) -> tuple[str, ...]:
        return ("stem",)

    def texts(self, row: dict[str, Any]) -> Any:
        yield row["stem"]
        yield from row["choices"]

    def features(self) -> Features:
        return Features({"stem": Value("string"), "choices": List(Value("string")), "label": Value("int64")})

    def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        choices, keys = choices_of(row["choices"])
        label = text_of(row["label"], "label")
        index = keys.index(label) if label in keys else parse_number(label)
        if index is None or index not in range(len(choices)):
            known = (
                f"one of the keys {', '.join(keys)}" if keys else f"the index, from 0, of one of {len(choices)} choices"
            )
            raise RowError(f"has the label {label!r}, which is not {known}")
        return {"stem": text_of(row["stem"], "stem"), "choices": choices, "label": int(index)}

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        """Learn how many choices most training rows have: every row needs as many, because a batch is one tensor."""
        counted = islice(iterate_rows(splits["train"]), ROWS_COUNTED)
        [(self.num_choices, _)] = Counter(len(row["choices"]) for row in counted).most_common(1)
        return splits

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which pads short rows")

    def encoder(self, tokenizer: Any) -> Any:
        return partial(
            encode_choices, tokenizer=tokenizer, max_length=self.args.max_length, long_texts=self.long_texts,
            num_choices=self.num_choices,
        )  # fmt: skip

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids` and `attention_mask`, one list per choice, and `labels`."""
        encode = self.encoder(tokenizer)
        columns = [*self.required_columns, LOCATION]
        return {
            name: report_truncated(
                map_rows(
                    table, encode, remove=columns, num_proc=num_proc, desc="Tokenising",
                ),
                name,
                "--max_length",
            )
            for name, table in splits.items()
        }  # fmt: skip

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorForMultipleChoice(tokenizer)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        def compute(prediction: EvalPrediction) -> dict[str, float]:
            predictions, references = np.asarray(prediction.predictions).argmax(-1), np.asarray(prediction.label_ids)
            accuracy = float((predictions == references).mean())
            return {"accuracy": accuracy} | self.extra_metrics(predictions, references, cache_dir)

        return compute

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """Accuracy of the choice that has the largest part of its words in common with the stem."""
        rows = list(data.splits["test"])
        return {"most words in common": float(np.mean([nearest_choice(row) == row["label"] for row in rows]))}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        rows = short_test_rows(data, 3)
        return [{"stem": prompt, "choices": rows[0]["choices"]} for prompt in prompts] if prompts else rows

    def format_input(self, sample_input: dict[str, Any]) -> str:
        choices = "\n".join(f"{index}: {choice}" for index, choice in enumerate(sample_input["choices"]))
        return f"{sample_input['stem']}\n\n{choices}"

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return sample_input["choices"][sample_input["label"]] if "label" in sample_input else None

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        stems = [sample_input["stem"]] * len(sample_input["choices"])
        encoded = tokenizer(
            stems, list(sample_input["choices"]), truncation=True, max_length=self.args.max_length, padding=True,
            return_tensors="pt",
        )  # fmt: skip
        logits = forward_in_eval_mode(model, {name: value[None] for name, value in encoded.items()}).logits
        return sample_input["choices"][int(logits.argmax())]

    def inspected_text(self, tokenizer: Any, sample_input: dict[str, Any], output: str) -> dict[str, Any]:
        return {"text": (sample_input["stem"], output)}

    def usage_snippet(self, checkpoint: str, sample_input: dict[str, Any]) -> str:
        return "\n".join(
            [
                "from transformers import AutoModelForMultipleChoice, AutoTokenizer",
                f"tokenizer = AutoTokenizer.from_pretrained({checkpoint})",
                f"model = AutoModelForMultipleChoice.from_pretrained({checkpoint})",
                f"stem, choices = {python_literal(sample_input['stem'])}, {python_literal(sample_input['choices'])}",
                'inputs = tokenizer([stem] * len(choices), choices, padding=True, return_tensors="pt")',
                "print(choices[model(**{name: value[None] for name, value in inputs.items()}).logits.argmax()])",
            ]
        )


def words_of(text: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", text.lower()))


def nearest_choice(row: dict[str, Any]) -> int:
    """The index of the choice with the largest share of words that the stem has too; of equal ones, the first."""
    stem, choices = words_of(row["stem"]), [words_of(choice) for choice in row["choices"]]
    return int(np.argmax([len(words & stem) / max(1, len(words)) for words in choices]))


def encode_choices(
    batch: dict[str, list[Any]], tokenizer: Any, max_length: int, long_texts: str, num_choices: int
) -> dict[str, Any]:
    """The stem of each row paired with each of its choices. Raises RowError unless every row has `num_choices`,
    because a batch is one tensor of rows and choices."""
    for choices in batch["choices"]:
        if len(choices) != num_choices:
            raise RowError(
                f"has {len(choices)} choices, and most training rows {num_choices}; give every row the same number"
            )
    stems = list(chain.from_iterable([stem] * num_choices for stem in batch["stem"]))
    texts = list(chain.from_iterable(batch["choices"]))
    encoded = tokenize_within(tokenizer, stems, texts, max_length, long_texts, "--max_length")
    grouped: dict[str, list[Any]] = {
        name: [values[start : start + num_choices] for start in range(0, len(values), num_choices)]
        for name, values in encoded.items()
    }
    return grouped | {"truncated": [any(flags) for flags in grouped["truncated"]], "labels": list(batch["label"])}
