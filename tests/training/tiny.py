"""Rows for each training task, and tiny models for them, shared by the training tests."""

from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from transformers import EvalPrediction
from transformers.trainer_pt_utils import EvalLoopContainer

from hf_tfm.training.arguments.model_arguments import ModelArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.data.sources import TaskData
from hf_tfm.training.data.splits import SPLITS
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.data.usable_rows import with_usable_rows
from hf_tfm.training.loop.model_creation import choose_model_type, make_model
from hf_tfm.training.objectives import OBJECTIVES, Objective

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
LENGTHS = {"block_size": 16, "max_length": 48, "max_target_length": 16, "doc_stride": 4}
WORDS = "blue green yellow red black white grey brown".split()


def sentence(number: int) -> str:
    return f"The sky number {number} is {WORDS[number % 8]}." * (1 + number % 2)


def question(number: int) -> dict[str, Any]:
    context, word = sentence(number), WORDS[number % 8]
    found = number % 3 > 0
    answers = {"text": [word] * found, "answer_start": [context.index(word)] * found}
    return {"id": f"q{number}", "context": context, "question": "Which colour?", "answers": answers}


# task -> function from an index to a row; every task needs an entry here
ROWS = {
    "causal-lm": lambda i: {"text": sentence(i)},
    "masked-lm": lambda i: {"text": sentence(i)},
    "denoising": lambda i: {"text": sentence(i)},
    "seq2seq": lambda i: {"source": sentence(i), "target": f"It is {WORDS[i % 8]} today"},
    "sequence-classification": lambda i: {"text": sentence(i), "label": WORDS[i % 3]},
    "token-classification": lambda i: {"tokens": ["Sky", WORDS[i % 8], str(i)], "tags": ["O", "B-colour", "I-colour"]},
    "question-answering": question,
    "multiple-choice": lambda i: {"stem": sentence(i), "choices": WORDS[:3], "label": i % 3},
    "chat": lambda i: {
        "messages": [
            {"role": "user", "content": f"Sky {i}?"},
            {"role": "assistant", "content": WORDS[i % 8]},
        ]
    },
    "embeddings": lambda i: {"anchor": sentence(i), "positive": f"It is {WORDS[i % 8]} today"},
}


@dataclass
class TinyTask:
    """A task with data, tokenizer and examples in memory."""

    objective: Objective
    data: TaskData
    tokenizer: Any
    examples: dict[str, Any]

    def model(self, kind: str | None = None, **options: Any) -> Any:
        """A new model, of the task's first model type unless `kind` gives another."""
        torch.manual_seed(0)
        arguments = SIZES | ({"architecture": kind.removeprefix("tfm_")} if kind else {}) | options
        return make_model(ModelArguments(**arguments), self.objective, self.tokenizer).eval()

    def batch(self, model: Any, training: bool = False, rows: slice = slice(0, 4)) -> dict[str, Any]:
        """A batch of training examples, as Trainer makes it."""
        return collate(self, model, self.examples["train"], range(*rows.indices(len(self.examples["train"]))), training)

    def kept(self, model: Any, split: str = "test", size: int = 3) -> EvalPrediction:
        """The predictions and labels that Trainer keeps of a split, padded to one length."""
        predictions, labels = EvalLoopContainer(padding_index=-100), EvalLoopContainer(padding_index=-100)
        table = self.examples[split]
        names = ("start_positions", "end_positions") if "start_positions" in table.column_names else ("labels",)
        for start in range(0, len(table), size):
            batch = collate(self, model, table, range(start, min(start + size, len(table))), False)
            with torch.no_grad():
                outputs = model(**batch)
            ignored = [*model.config.keys_to_ignore_at_inference, "loss"]
            logits = tuple(value for key, value in outputs.items() if key not in ignored)
            references = tuple(batch[name] for name in names)
            reference = references[0] if len(references) == 1 else references
            labels.add(reference)
            predictions.add(self.objective.preprocess_logits(logits[0] if len(logits) == 1 else logits, reference))
        return EvalPrediction(predictions.get_arrays(), labels.get_arrays())

    def measure(self, prediction: EvalPrediction, folder: Any, split: str = "test") -> dict[str, float]:
        """The results of a split."""
        rows, size = self.data.splits[split], self.data.source_bytes[split]
        return self.objective.make_compute_metrics(rows, self.examples[split], self.tokenizer, folder, size)(prediction)


def collate(tiny: TinyTask, model: Any, table: Any, rows: range, training: bool) -> dict[str, Any]:
    """A batch of the given rows without the columns that only metrics read."""
    extra = [name for name in tiny.objective.metric_columns if name in table.column_names]
    table = table.remove_columns(extra)
    return dict(tiny.objective.collator(tiny.tokenizer, model, training)([table[row] for row in rows]))


def make_tiny(
    task: str, rows: list[dict[str, Any]] | None = None, kind: str = "", init_from: str | None = None, **options: Any
) -> TinyTask:
    """A task with the same rows in every split. `options`: those of TaskArguments."""
    objective = OBJECTIVES[task](TaskArguments(**LENGTHS | options))
    if init_from:
        choose_model_type(ModelArguments(init_from=init_from), objective)
    table = Dataset.from_list(rows or [ROWS[task](number) for number in range(8)])
    splits = objective.fit_labels({name: objective.prepare_rows(table, name) for name in SPLITS})
    data = TaskData(splits, "made rows", is_default=False, objective=objective)
    style = objective.tokenizer_style(kind or next(iter(objective.models)))
    tokenizer = train_tokenizer(data.texts("train"), 300, objective.max_row_length(), style)
    objective.prepare_tokenizer(tokenizer)
    data = with_usable_rows(data, tokenizer)
    return TinyTask(objective, data, tokenizer, objective.examples(data.splits, tokenizer, None))
