"""Choose which of several texts belongs to another one."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from transformers import DataCollatorForMultipleChoice, EvalPrediction

from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForMultipleChoice

from ..preprocessing.dataset_utils import iterate_rows, map_rows
from ..preprocessing.truncation import report_truncated, tokenize_within
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    python_literal,
    require_special_token,
    short_test_rows,
)

__all__ = ["MultipleChoice"]


class MultipleChoice(Objective):
    """A stem, several choices (as many in every row) and the number of the right one, from 0."""

    task = "multiple-choice"
    pipeline_tag = "multiple-choice"
    auto_class = "AutoModelForMultipleChoice"
    models = {"tfm_encoder": TfmEncoderForMultipleChoice}
    required_columns = ("stem", "choices", "label")
    builtin_dataset = "summary_choices"
    split_column = "stem"
    supports_extra_metrics = True
    metric_labels = {"accuracy": "share of right choices", "loss": "nats per choice (the loss)"}

    def text_columns(self) -> tuple[str, ...]:
        return ("stem",)

    def texts(self, row: dict[str, Any]) -> Any:
        yield row["stem"]
        yield from row["choices"]

    def prepare_rows(self, table: Any, where: str) -> Any:
        def check(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            for row, choices, label in zip(rows, batch["choices"], batch["label"], strict=True):
                if not str(label).isdigit() or not 0 <= int(label) < len(choices) or not all(choices):
                    raise ValueError(
                        f"Row {row + 1} of {where}: the label {label!r} must be the number, from 0, of one of its "
                        f"{len(choices)} choices, none of them empty."
                    )
            return {"label": [int(label) for label in batch["label"]]}

        return map_rows(super().prepare_rows(table, where), check, with_indices=True, desc="Checking choices")

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which fills short rows")

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids` and `attention_mask`, one list per choice, and `labels`."""
        limit, policy = self.args.max_length, self.long_texts
        count = len(next(iterate_rows(splits["train"]))["choices"])
        encode = partial(encode_choices, tokenizer=tokenizer, limit=limit, policy=policy, expected=count)
        return {
            name: report_truncated(
                map_rows(
                    table, encode, remove=list(table.column_names), with_indices=True, num_proc=num_proc,
                    desc="Tokenising",
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
            chosen, right = np.asarray(prediction.predictions).argmax(-1), np.asarray(prediction.label_ids)
            return {"accuracy": float((chosen == right).mean())} | self.extra_metrics(chosen, right, cache_dir)

        return compute

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        rows = short_test_rows(data, 3)
        return [{"stem": prompt, "choices": rows[0]["choices"]} for prompt in prompts] if prompts else rows

    def format_input(self, sample_input: dict[str, Any]) -> str:
        choices = "\n".join(f"{number}: {choice}" for number, choice in enumerate(sample_input["choices"]))
        return f"{sample_input['stem']}\n\n{choices}"

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return sample_input["choices"][sample_input["label"]] if "label" in sample_input else None

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        stems = [sample_input["stem"]] * len(sample_input["choices"])
        limit = self.args.max_length
        encoded = tokenizer(
            stems, list(sample_input["choices"]), truncation=True, max_length=limit, padding=True, return_tensors="pt"
        )
        scores = forward_in_eval_mode(model, {name: value[None] for name, value in encoded.items()}).logits
        return sample_input["choices"][int(scores.argmax())]

    def usage_snippet(self, home: str, sample_input: dict[str, Any]) -> str:
        return "\n".join(
            [
                "from transformers import AutoModelForMultipleChoice, AutoTokenizer",
                f"tokenizer = AutoTokenizer.from_pretrained({python_literal(home)})",
                f"model = AutoModelForMultipleChoice.from_pretrained({python_literal(home)}, trust_remote_code=True)",
                f"stem, choices = {python_literal(sample_input['stem'])}, {python_literal(sample_input['choices'])}",
                'inputs = tokenizer([stem] * len(choices), choices, padding=True, return_tensors="pt")',
                "print(choices[model(**{name: value[None] for name, value in inputs.items()}).logits.argmax()])",
            ]
        )


def encode_choices(
    batch: dict[str, list[Any]], rows: list[int], tokenizer: Any, limit: int, policy: str, expected: int
) -> dict[str, Any]:
    counts = [len(choices) for choices in batch["choices"]]
    for row, count in zip(rows, counts, strict=True):
        # a batch is one block of rows and choices: other numbers would shift rows against each other
        if count != expected:
            raise ValueError(f"Row {row + 1} has {count} choices, and the first one {expected}; give all rows as many.")
    stems = list(chain.from_iterable([stem] * count for stem, count in zip(batch["stem"], counts, strict=True)))
    owners = list(chain.from_iterable([row] * count for row, count in zip(rows, counts, strict=True)))
    texts = list(chain.from_iterable(batch["choices"]))
    encoded = tokenize_within(tokenizer, stems, texts, limit, policy, "--max_length", owners)
    rest = {name: iter(values) for name, values in encoded.items()}
    grouped: dict[str, list[Any]] = {name: [[next(values) for _ in range(count)] for count in counts]
                                     for name, values in rest.items()}  # fmt: skip
    return grouped | {"truncated": [any(flags) for flags in grouped["truncated"]], "labels": list(batch["label"])}
