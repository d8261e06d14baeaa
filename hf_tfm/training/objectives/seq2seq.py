"""Sequence to sequence: generate a target text from a source text, such as a translation or a summary."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from transformers import DataCollatorForSeq2Seq, EvalPrediction

from hf_tfm.modeling.modeling_tfm_seq2seq import TfmSeq2SeqForConditionalGeneration
from hf_tfm.usage import python_literal

from ..metrics.linear_baselines import rows_within_limits
from ..metrics.metric_registry import load_metric
from ..metrics.nearest_neighbor import nearest_rows
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.rows import LOCATION
from ..preprocessing.truncation import report_truncated, tokenize_within
from .base import ComputeMetrics, Objective, require_special_token, short_test_rows

__all__ = ["Seq2Seq", "generate_text", "seq2seq_usage_snippet"]

# BLEU counts 4-grams, so it says nothing about shorter targets.
MIN_WORDS_FOR_BLEU = 4


class Seq2Seq(Objective):
    """Reads source and target texts; the end-of-sequence token follows each. With --predict_with_generate evaluation
    generates a text for every source and compares it with the target."""

    task = "seq2seq"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForSeq2SeqLM"
    models = {"tfm_seq2seq": TfmSeq2SeqForConditionalGeneration}
    required_columns = ("source", "target")
    builtin_dataset = "date_pairs"
    split_column = "source"
    metric_labels = {
        "exact_match": "exact match",
        "bleu": "BLEU (sacrebleu)",
        "chrf": "chrF (sacrebleu)",
        "loss": "nats per target token (the loss)",
    }
    default_arguments = {
        "vocab_size": 512, "max_length": 64, "max_target_length": 32, "per_device_train_batch_size": 64,
        "eval_steps": 200, "predict_with_generate": True, "max_eval_samples": 200, "max_steps": 1200,
    }  # fmt: skip
    default_config_fields = {"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    # as measured on Multi30k (its model card)
    own_data_config_fields = {"num_hidden_layers": 3, "hidden_dropout": 0.1}
    peft_task_type = "SEQ_2_SEQ_LM"
    generates_text = True
    validation_metric = baseline_metric = "chrf"
    supports_extra_metrics = True
    metric_columns = ("length",)
    length_columns = {"max_length": "input_ids", "max_target_length": "labels"}

    def tokenizer_style(self, model_type: str) -> str:
        return "source"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "eos_token", "which ends every text")
        require_special_token(tokenizer, "pad_token", "which pads short rows")

    def max_row_length(self) -> int:
        return max(self.args.max_length, self.args.max_target_length)

    def encoder(self, tokenizer: Any) -> Any:
        return partial(
            encode_pairs, tokenizer=tokenizer, max_length=self.args.max_length,
            max_target_length=self.args.max_target_length, long_texts=self.long_texts,
        )  # fmt: skip

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`, `attention_mask` and `labels`."""
        encode = self.encoder(tokenizer)
        return {
            name: report_truncated(
                map_rows(table, encode, remove=["source", "target", LOCATION], num_proc=num_proc, desc="Tokenising"),
                name,
                "--max_length or --max_target_length",
            )
            for name, table in splits.items()
        }

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return DataCollatorForSeq2Seq(tokenizer, model=model)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        targets = [text.strip() for text in split["target"]]
        mean_words = sum(len(text.split()) for text in targets) / len(targets)
        names = ["exact_match", "chrf", *(["sacrebleu"] if mean_words >= MIN_WORDS_FOR_BLEU else [])]
        metrics = {name: load_metric(name, cache_dir) for name in names}

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            ids = np.asarray(prediction.predictions)
            ids = np.where(ids < 0, tokenizer.pad_token_id, ids)
            texts = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
            found: Any = {
                name: metric.compute(predictions=texts, references=targets) for name, metric in metrics.items()
            }
            results = {"exact_match": float(found["exact_match"]["exact_match"]), "chrf": found["chrf"]["score"]}
            if "sacrebleu" in found:
                results["bleu"] = found["sacrebleu"]["score"]
                self.metric_notes["BLEU"] = f"sacrebleu {found['sacrebleu']['signature']}"
            return results | self.extra_metrics(texts, targets, cache_dir)

        return compute

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """The target of the training row whose source is nearest."""
        if data.streaming:
            return {}
        sources, targets = data.splits["train"]["source"][:], data.splits["train"]["target"][:]
        rows = rows_within_limits([sources], 1)
        nearest = nearest_rows([sources[row] for row in rows], data.splits["test"]["source"][:])
        if nearest is None:
            return {}
        limited = "" if len(rows) == len(sources) else f", of {len(rows):,} rows"
        texts = [targets[row].strip() for row in rows[nearest]]
        references = [text.strip() for text in data.splits["test"]["target"]]
        with TemporaryDirectory() as folder:
            found: Any = load_metric("chrf", folder).compute(predictions=texts, references=references)
        return {f"target of the nearest training source{limited}": found["score"]}

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        if prompts:
            return [{"source": prompt} for prompt in prompts]
        return short_test_rows(data, 3)

    def format_input(self, sample_input: dict[str, str]) -> str:
        return sample_input["source"]

    def reference(self, sample_input: dict[str, str]) -> str | None:
        return sample_input.get("target")

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: dict[str, str]) -> str:
        return generate_text(model, tokenizer, sample_input["source"], self.args.max_target_length)

    def usage_snippet(self, checkpoint: str, sample_input: dict[str, str]) -> str:
        return seq2seq_usage_snippet(checkpoint, sample_input["source"], skip_special_tokens=True)


def encode_pairs(
    batch: dict[str, list[str]], tokenizer: Any, max_length: int, max_target_length: int, long_texts: str
) -> dict[str, Any]:
    """Token ids of sources and targets, and the summed length of both, by which rows are grouped."""
    sources, targets = list(batch["source"]), list(batch["target"])
    source = tokenize_within(tokenizer, sources, None, max_length, long_texts, "--max_length")
    target = tokenize_within(tokenizer, targets, None, max_target_length, long_texts, "--max_target_length")
    return {
        "input_ids": source["input_ids"],
        "attention_mask": source["attention_mask"],
        "labels": target["input_ids"],
        "length": [sum(map(len, pair)) for pair in zip(source["input_ids"], target["input_ids"], strict=True)],
        "truncated": [any(pair) for pair in zip(source["truncated"], target["truncated"], strict=True)],
    }


def generate_text(model: Any, tokenizer: Any, source: str, max_length: int, skip_special_tokens: bool = True) -> str:
    """The text that an encoder-decoder generates from a source with its generation config, at most `max_length`
    tokens."""
    max_positions = model.config.max_position_embeddings
    inputs = tokenizer(source, return_tensors="pt", truncation=True, max_length=max_positions).to(model.device)
    training = model.training
    model.eval()
    ids = model.generate(**inputs, max_length=min(max_length, max_positions))
    model.train(training)
    return tokenizer.decode(ids[0], skip_special_tokens=skip_special_tokens).strip()


def seq2seq_usage_snippet(checkpoint: str, source: str, skip_special_tokens: bool) -> str:
    """Uses model and tokenizer directly, because transformers 5 has no pipeline for text to text."""
    return "\n".join(
        [
            "from transformers import AutoModelForSeq2SeqLM, AutoTokenizer",
            f"tokenizer = AutoTokenizer.from_pretrained({checkpoint})",
            f"model = AutoModelForSeq2SeqLM.from_pretrained({checkpoint})",
            f'ids = model.generate(**tokenizer({python_literal(source)}, return_tensors="pt"))',
            f"print(tokenizer.decode(ids[0], skip_special_tokens={skip_special_tokens}))",
        ]
    )
