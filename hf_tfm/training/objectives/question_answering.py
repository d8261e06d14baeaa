"""Find the answer to a question in a text, or that there is none (Rajpurkar et al. 2016, 2018)."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForQuestionAnswering
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForQuestionAnswering
from hf_tfm.modeling.modeling_tfm_seq2seq import TfmSeq2SeqForQuestionAnswering

from ..metrics.metric_registry import load_metric
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.qa_windows import best_answers, check_answers, make_qa_windows
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    python_literal,
    require_special_token,
    short_test_rows,
)

__all__ = ["QuestionAnswering"]


class QuestionAnswering(Objective):
    """Questions, contexts and the answers' places in them. Long contexts are read in windows that overlap; questions
    without an answer point at the first token, as in SQuAD 2."""

    task = "question-answering"
    pipeline_tag = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    models = {
        "tfm_encoder": TfmEncoderForQuestionAnswering,
        "tfm_decoder": TfmDecoderForQuestionAnswering,
        "tfm_seq2seq": TfmSeq2SeqForQuestionAnswering,
    }
    required_columns = ("id", "context", "question", "answers")
    builtin_dataset = "questions"
    split_column = "context"
    metric_labels = {
        "exact_match": "answers that equal a right one, per cent",
        "f1": "words shared with a right answer (F1), per cent",
        "HasAns_exact": "the same where there is an answer, per cent",
        "NoAns_exact": "the same where there is none, per cent",
        "loss": "nats per border of the answer (the loss)",
    }
    metric_columns = ("offsets", "example")

    def text_columns(self) -> tuple[str, ...]:
        return ("context", "question")

    def prepare_rows(self, table: Any, where: str) -> Any:
        def check(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
            check_answers(batch)
            return {
                "id": [str(name) for name in batch["id"]],
                "answers": [unify_answers(row) for row in batch["answers"]],
            }

        return map_rows(super().prepare_rows(table, where), check, desc="Checking answers")

    def tokenizer_style(self, model_type: str) -> str:
        return "bracketed" if model_type == "tfm_seq2seq" else "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which fills short rows")

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """One row per window: `input_ids`, `attention_mask`, `start_positions`, `end_positions`, and columns that lead
        back to the text."""
        for name in ("validation", "test"):
            check_unique_ids(splits[name], name)
        cut = partial(batch_windows, tokenizer=tokenizer, length=self.args.max_length, stride=self.args.doc_stride)
        return {
            name: map_rows(
                table,
                cut,
                remove=list(table.column_names),
                with_indices=True,
                num_proc=num_proc,
                desc="Cutting windows",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        # at the right, whatever the tokenizer's habit: at the left, padding would move the answers
        return partial(pad_right, tokenizer)

    def preprocess_logits(self, logits: Any, labels: Any) -> torch.Tensor:
        """Scores of every token as first and as last of the answer: (B, T, 2)."""
        return torch.stack([logits[0], logits[1]], dim=-1)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        columns = {name: features[name][:] for name in self.metric_columns}
        examples = {name: split[name][:] for name in ("id", "context", "answers")}
        allow_null = any(not answers["text"] for answers in examples["answers"])

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            scores = np.asarray(prediction.predictions)
            starts, ends = (
                np.where(scores[..., side] == LOGITS_PADDING, -np.inf, scores[..., side]) for side in (0, 1)
            )
            found = best_answers(
                starts, ends, columns, examples, max_answer_tokens=self.args.max_answer_tokens, allow_null=allow_null
            )
            if allow_null:
                return squad_v2_metrics(found, examples, cache_dir)
            return squad_metrics(found, examples, cache_dir)

        return compute

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        rows = short_test_rows(data, 3)
        if not prompts:
            return list(rows)
        return [{"id": str(number), "question": question, "context": rows[0]["context"]}
                for number, question in enumerate(prompts)]  # fmt: skip

    def format_input(self, sample_input: dict[str, Any]) -> str:
        return f"{sample_input['question']}\n\n{sample_input['context']}"

    def reference(self, sample_input: dict[str, Any]) -> str | None:
        return (sample_input["answers"]["text"] or ["(no answer)"])[0] if "answers" in sample_input else None

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, Any]) -> str:
        row = {name: [sample_input[name]] for name in ("id", "context", "question")}
        row["answers"] = [{"text": [], "answer_start": []}]
        features = make_qa_windows(row, tokenizer, self.args.max_length, self.args.doc_stride)
        columns = {name: features.pop(name) for name in self.metric_columns}
        inputs = {name: values for name, values in features.items() if name not in ("start_positions", "end_positions")}
        batch = tokenizer.pad(inputs, padding_side="right", return_tensors="pt")
        outputs = forward_in_eval_mode(model, dict(batch))
        scores = [scores.float().cpu().numpy() for scores in (outputs.start_logits, outputs.end_logits)]
        scores = [np.where(batch["attention_mask"].numpy() == 1, side, -np.inf) for side in scores]
        found = best_answers(*scores, columns, row, max_answer_tokens=self.args.max_answer_tokens, allow_null=True)
        return found[sample_input["id"]]["text"] or "(no answer)"

    def usage_snippet(self, home: str, sample_input: dict[str, Any]) -> str:
        """transformers 5 has no pipeline for questions, so the two objects are used directly."""
        name, question = python_literal(home), python_literal(sample_input["question"])
        context = python_literal(sample_input["context"])
        return "\n".join(
            [
                "from transformers import AutoModelForQuestionAnswering, AutoTokenizer",
                f"tokenizer = AutoTokenizer.from_pretrained({name})",
                f"model = AutoModelForQuestionAnswering.from_pretrained({name}, trust_remote_code=True)",
                f'inputs = tokenizer({question}, {context}, return_tensors="pt")',
                "outputs = model(**inputs)",
                "start, end = outputs.start_logits.argmax(), outputs.end_logits.argmax()",
                "print(tokenizer.decode(inputs.input_ids[0, start : end + 1]) if start else '(no answer)')",
            ]
        )


# What the host fills shorter rows of kept scores with.
LOGITS_PADDING = -100


def pad_right(tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(tokenizer.pad(rows, padding_side="right", return_tensors="pt"))


def unify_answers(answers: Any) -> dict[str, list[Any]]:
    """Answers as {"text": [...], "answer_start": [...]}, from either layout."""
    if isinstance(answers, dict):
        return {key: list(answers[key]) for key in ("text", "answer_start")}
    return {key: [answer[key] for answer in answers] for key in ("text", "answer_start")}


def check_unique_ids(table: Any, split: str) -> None:
    """Raises ValueError for two questions of a measured split with one id: predictions are found by it."""
    twins = [name for name, count in Counter(table["id"][:]).items() if count > 1]
    if twins:
        raise ValueError(
            f"{len(twins)} ids of the {split} split stand in several rows ({twins[0]}); give each its own."
        )


def batch_windows(
    batch: dict[str, list[Any]], rows: list[int], tokenizer: Any, length: int, stride: int
) -> dict[str, list[Any]]:
    return make_qa_windows(dict(batch) | {"row": rows}, tokenizer, length, stride)


def squad_metrics(found: Any, examples: Any, cache_dir: Path) -> dict[str, float]:
    predictions = [{"id": name, "prediction_text": answer["text"]} for name, answer in found.items()]
    result: Any = load_metric("squad", cache_dir).compute(
        predictions=predictions, references=squad_references(examples)
    )
    return {name: float(result[name]) for name in ("exact_match", "f1")}


def squad_v2_metrics(found: Any, examples: Any, cache_dir: Path) -> dict[str, float]:
    predictions = [
        {"id": name, "prediction_text": answer["text"], "no_answer_probability": answer["no_answer_probability"]}
        for name, answer in found.items()
    ]
    result: Any = load_metric("squad_v2", cache_dir).compute(
        predictions=predictions, references=squad_references(examples)
    )
    parts = {name: float(result[name]) for name in ("HasAns_exact", "NoAns_exact") if name in result}
    return {"exact_match": float(result["exact"]), "f1": float(result["f1"]), **parts}


def squad_references(examples: Any) -> list[dict[str, Any]]:
    named = zip(examples["id"], examples["answers"], strict=True)
    return [{"id": name, "answers": {key: answers[key] for key in ("text", "answer_start")}} for name, answers in named]
