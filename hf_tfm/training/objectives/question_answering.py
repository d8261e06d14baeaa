"""Extractive question answering: find the answer in a text, or that there is none (Rajpurkar et al. 2016,
arXiv:1606.05250; 2018, arXiv:1806.03822)."""

from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from datasets import Dataset, Features, List, Value
from transformers import EvalPrediction

from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForQuestionAnswering
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForQuestionAnswering
from hf_tfm.modeling.modeling_tfm_seq2seq import TfmSeq2SeqForQuestionAnswering
from hf_tfm.usage import python_literal

from ..metrics.metric_registry import load_metric
from ..metrics.sliding_window import sliding_window_answer
from ..preprocessing.dataset_utils import iterate_rows, map_rows
from ..preprocessing.encoding_checks import fitting_length
from ..preprocessing.qa_windows import best_answers, make_qa_windows
from ..preprocessing.row_values import answers_of, text_of
from ..preprocessing.rows import LOCATION, PROBLEM
from ..utils.printing import print_on_main_process
from .base import (
    ComputeMetrics,
    Objective,
    forward_in_eval_mode,
    require_special_token,
    short_test_rows,
)

__all__ = ["QuestionAnswering"]

# Training rows by which the simple method knows how long answers are.
ANSWERS_COUNTED = 10_000
# Trainer pads kept logits of shorter rows with this value.
LOGITS_PADDING = -100


class QuestionAnswering(Objective):
    """Reads questions, contexts and the positions of the answers. Long contexts are split into overlapping windows; the
    label of a question without an answer is the first token, as in SQuAD 2."""

    task = "question-answering"
    pipeline_tag = "question-answering"
    auto_class = "AutoModelForQuestionAnswering"
    models = {
        "tfm_encoder": TfmEncoderForQuestionAnswering,
        "tfm_decoder": TfmDecoderForQuestionAnswering,
        "tfm_seq2seq": TfmSeq2SeqForQuestionAnswering,
    }
    required_columns = ("id", "context", "question", "answers")
    optional_columns = ("is_impossible",)
    builtin_dataset = "questions"
    split_column = "context"
    metric_labels = {
        "exact_match": "exact match, per cent",
        "f1": "F1 of the words of the answer, per cent",
        "HasAns_exact": "exact match on questions with an answer, per cent",
        "NoAns_exact": "exact match on questions without one, per cent",
        "loss": "nats per start or end position (the loss)",
    }
    default_arguments = {"max_length": 256, "eval_steps": 200}
    default_config_fields = {"hidden_dropout": 0.1}
    supports_label_smoothing = False
    peft_task_type = "QUESTION_ANS"
    metric_columns = ("offsets", "example")
    validation_metric = baseline_metric = "f1"

    def text_columns(self) -> tuple[str, ...]:
        return ("context", "question")

    def features(self) -> Features:
        answers = {"text": List(Value("string")), "answer_start": List(Value("int64"))}
        texts = {name: Value("string") for name in ("id", "context", "question")}
        return Features({**texts, "answers": answers})

    def prepare(self, row: dict[str, Any]) -> dict[str, Any]:
        texts = {name: text_of(row[name], name) for name in ("id", "context", "question")}
        return {**texts, "answers": answers_of(row["answers"], texts["context"], row.get("is_impossible"))}

    def tokenizer_style(self, model_type: str) -> str:
        return "bracketed" if model_type == "tfm_seq2seq" else "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "pad_token", "which pads short rows")

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        """In an evaluated split each row must have its own id, which identifies its prediction."""
        return splits | {name: self.with_unique_ids(splits[name], name) for name in ("validation", "test")}

    def with_unique_ids(self, table: Any, split: str) -> Any:
        repeated = repeated_ids(table, split)
        return self.bad_rows.map(table, partial(add_problems, problems=repeated), remove=[]) if repeated else table

    def encoder(self, tokenizer: Any) -> Any:
        args = self.args
        return partial(encode_windows, tokenizer=tokenizer, length=args.max_length, stride=args.doc_stride)

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """One row per window: `input_ids`, `attention_mask`, `start_positions`, `end_positions`, and the
        columns that locate the tokens in the text."""
        encode = self.encoder(tokenizer)
        windows = {
            name: map_rows(
                table, encode, remove=[*self.required_columns, LOCATION], with_indices=True, num_proc=num_proc,
                desc="Splitting into windows",
            )
            for name, table in splits.items()
        }  # fmt: skip
        if "max_answer_tokens" in self.args.fits_data and isinstance(windows["train"], Dataset):
            self.fit_answer_length(windows["train"])
        return windows

    def fit_answer_length(self, windows: Dataset) -> None:
        """Raise the longest answer that is predicted to what the training answers need."""
        args = self.args
        longest = 1 + int(np.max(np.subtract(windows["end_positions"][:], windows["start_positions"][:])))
        args.max_answer_tokens = fitting_length(longest, min(args.max_answer_tokens, args.max_length), args.max_length)
        print_on_main_process(
            f"Answers in tokens, by your data: --max_answer_tokens {args.max_answer_tokens} (longest: {longest})"
        )

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        # always on the right: padding on the left would shift the positions of the answers
        return partial(pad_right, tokenizer)

    def preprocess_logits(self, logits: Any, labels: Any) -> torch.Tensor:
        """Logits of each token as the first and as the last of the answer: (B, T, 2)."""
        return torch.stack([logits[0], logits[1]], dim=-1)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        columns = {name: features[name][:] for name in self.metric_columns}
        examples = {name: split[name][:] for name in ("id", "context", "answers")}
        allow_null = any(not answers["text"] for answers in examples["answers"])

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            logits = np.asarray(prediction.predictions)
            logits = np.where(logits == LOGITS_PADDING, -np.inf, logits)
            answers = best_answers(
                logits[..., 0], logits[..., 1], columns, examples, max_answer_tokens=self.args.max_answer_tokens,
                allow_null=allow_null,
            )  # fmt: skip
            if allow_null:
                return squad_v2_metrics(answers, examples, cache_dir)
            return squad_metrics(answers, examples, cache_dir)

        return compute

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """A sliding window over the sentence with the most words of the question; where some questions have no answer,
        also none for all of them."""
        rows = {name: data.splits["test"][name][:] for name in ("id", "context", "question", "answers")}
        training_rows = islice(iterate_rows(data.splits["train"]), ANSWERS_COUNTED)
        sizes = [len(text.split()) for row in training_rows for text in row["answers"]["text"][:1]]
        num_words = int(np.median(sizes)) if sizes else 1
        texts = {"sliding window": list(map(partial(sliding_window_answer, num_words=num_words), rows["context"],
                                            rows["question"]))}  # fmt: skip
        has_unanswered = any(not answers["text"] for answers in rows["answers"])
        texts |= {"no answer": [""] * len(rows["id"])} if has_unanswered else {}
        measure = squad_v2_metrics if has_unanswered else squad_metrics
        found = {
            name: {
                key: {"text": text, "no_answer_probability": 0.0} for key, text in zip(rows["id"], answers, strict=True)
            }
            for name, answers in texts.items()
        }
        with TemporaryDirectory() as folder:
            return {name: measure(answers, rows, Path(folder))["f1"] for name, answers in found.items()}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        rows = short_test_rows(data, 3)
        if not prompts:
            return list(rows)
        context = rows[0]["context"]
        return [{"id": str(index), "question": question, "context": context} for index, question in enumerate(prompts)]

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
        is_token = batch["attention_mask"].numpy() == 1
        start_logits = np.where(is_token, outputs.start_logits.float().cpu().numpy(), -np.inf)
        end_logits = np.where(is_token, outputs.end_logits.float().cpu().numpy(), -np.inf)
        answers = best_answers(
            start_logits, end_logits, columns, row, max_answer_tokens=self.args.max_answer_tokens, allow_null=True
        )
        return answers[sample_input["id"]]["text"] or "(no answer)"

    def inspected_text(self, tokenizer: Any, sample_input: dict[str, Any], output: str) -> dict[str, Any]:
        return {"text": (sample_input["question"], sample_input["context"])}

    def usage_snippet(self, checkpoint: str, sample_input: dict[str, Any]) -> str:
        """Uses model and tokenizer directly, because transformers 5 has no pipeline for question answering."""
        question, context = python_literal(sample_input["question"]), python_literal(sample_input["context"])
        return "\n".join(
            [
                "from transformers import AutoModelForQuestionAnswering, AutoTokenizer",
                f"tokenizer = AutoTokenizer.from_pretrained({checkpoint})",
                f"model = AutoModelForQuestionAnswering.from_pretrained({checkpoint})",
                f'inputs = tokenizer({question}, {context}, return_tensors="pt")',
                "outputs = model(**inputs)",
                "start, end = outputs.start_logits.argmax(), outputs.end_logits.argmax()",
                "print(tokenizer.decode(inputs.input_ids[0, start : end + 1]) if start else '(no answer)')",
            ]
        )


def pad_right(tokenizer: Any, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(tokenizer.pad(rows, padding_side="right", return_tensors="pt"))


def repeated_ids(table: Any, split: str) -> dict[str, str]:
    """What is wrong with each row whose id an earlier row has, by location."""
    first: dict[str, str] = {}
    problem = "has the id {}, as has {}; in the {} split each row needs its own id"
    return {
        location: problem.format(name, first[name], split)
        for name, location in zip(table["id"][:], table[LOCATION][:], strict=True)
        if first.setdefault(name, location) != location
    }


def add_problems(batch: dict[str, list[Any]], problems: dict[str, str]) -> dict[str, list[str]]:
    return {PROBLEM: [problems.get(location, "") for location in batch[LOCATION]]}


def encode_windows(
    batch: dict[str, list[Any]], rows: list[int] | None = None, *, tokenizer: Any, length: int, stride: int
) -> dict[str, list[Any]]:
    """Windows as `make_qa_windows` returns them. `rows`: the index of each row in its split."""
    return make_qa_windows(dict(batch) | ({} if rows is None else {"row": rows}), tokenizer, length, stride)


def squad_metrics(answers: Any, examples: Any, cache_dir: Path) -> dict[str, float]:
    predictions = [{"id": name, "prediction_text": answer["text"]} for name, answer in answers.items()]
    result: Any = load_metric("squad", cache_dir).compute(
        predictions=predictions, references=squad_references(examples)
    )
    return {name: float(result[name]) for name in ("exact_match", "f1")}


def squad_v2_metrics(answers: Any, examples: Any, cache_dir: Path) -> dict[str, float]:
    predictions = [
        {"id": name, "prediction_text": answer["text"], "no_answer_probability": answer["no_answer_probability"]}
        for name, answer in answers.items()
    ]
    result: Any = load_metric("squad_v2", cache_dir).compute(
        predictions=predictions, references=squad_references(examples)
    )
    subsets = {name: float(result[name]) for name in ("HasAns_exact", "NoAns_exact") if name in result}
    return {"exact_match": float(result["exact"]), "f1": float(result["f1"]), **subsets}


def squad_references(examples: Any) -> list[dict[str, Any]]:
    rows = zip(examples["id"], examples["answers"], strict=True)
    return [{"id": name, "answers": {key: answers[key] for key in ("text", "answer_start")}} for name, answers in rows]
