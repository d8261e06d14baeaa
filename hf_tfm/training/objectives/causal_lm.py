"""Causal language modelling: predict every token from the tokens before it."""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from transformers import default_data_collator

from hf_tfm.modeling.loss import IGNORE_INDEX
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM
from hf_tfm.usage import python_literal

from ..metrics.perplexity import Perplexity, sum_next_token_losses
from ..metrics.text_baselines import text_baselines
from ..preprocessing.dataset_utils import map_rows
from ..preprocessing.row_values import is_missing, text_of
from ..preprocessing.rows import LOCATION
from .base import ComputeMetrics, Objective, perplexity_results, require_special_token
from .text_sampling import first_tokens, sample_text

__all__ = ["CausalLM", "LanguageModel"]

# Prompts for the built-in data: frequent beginnings of docstrings.
DOCUMENTATION_PROMPTS = ["Return a", "This module"]


class LanguageModel(Objective):
    """Base of the tasks on running text: documents are packed into rows of T tokens (--block_size)."""

    split_fractions = (0.90, 0.05, 0.05)
    length_option = "--block_size"
    metric_labels = {
        "bits_per_byte": "bits per byte of text",
        "nats_per_token": "nats per token (the loss)",
        "perplexity": "perplexity per token",
    }

    def prepare(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """A text without line breaks at its ends; empty ones are left out."""
        if is_missing(row["text"]):
            return None
        return {"text": text_of(row["text"], "text").strip("\r\n")}

    def max_row_length(self) -> int:
        return self.args.block_size

    def pack_rows(self, splits: dict[str, Any], pack: Any, num_proc: int | None) -> dict[str, Any]:
        """Every split with its texts packed into rows by the function `pack`."""
        return {
            name: map_rows(table, pack, remove=["text", LOCATION], num_proc=num_proc, desc="Packing rows")
            for name, table in splits.items()
        }


class CausalLM(LanguageModel):
    """Concatenates the documents, with the end-of-sequence token after each, and cuts them into rows of T tokens.
    Neighbouring rows share one token, so that every token is predicted exactly once.

    With packing="separate" position ids restart at each document, so that no token attends to another document."""

    task = "causal-lm"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForCausalLM"
    models = {"tfm_decoder": TfmDecoderForCausalLM}
    default_config_fields = {"recipe": "llama"}
    shift_labels = True
    peft_task_type = "CAUSAL_LM"

    def tokenizer_style(self, model_type: str) -> str:
        return "plain"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "eos_token", "which separates documents")

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids` and `labels`, each T tokens long. Raises ValueError if T is below 2."""
        length = self.args.block_size
        if length < 2:
            raise ValueError(f"--block_size {length} leaves nothing to predict; give at least 2, for example 128.")
        pack = pack_separate if self.args.packing == "separate" else pack_connected
        return self.pack_rows(splits, partial(pack, tokenizer=tokenizer, length=length), num_proc)

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        return default_data_collator

    def preprocess_logits(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """Per row: nats summed over the predicted tokens, and their number: (B, 2)."""
        return sum_next_token_losses(super().preprocess_logits(logits, labels), labels)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        return partial(perplexity_results, metric=Perplexity(cache_dir), source_bytes=source_bytes, rows=len(features))

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        return {} if data.streaming else text_baselines(list(data.texts("train")), list(data.texts("test")))

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[str]:
        return prompts or (DOCUMENTATION_PROMPTS if data.is_default else first_tokens(data, tokenizer))

    def format_input(self, sample_input: str) -> str:
        return sample_input

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: str) -> str:
        return sample_text(model, tokenizer, sample_input, self.seed)

    def inspected_text(self, tokenizer: Any, sample_input: str, output: str) -> dict[str, Any]:
        # the prompt with its continuation
        return {"text": output}

    def usage_snippet(self, checkpoint: str, sample_input: str) -> str:
        return "\n".join(
            [
                "from transformers import pipeline",
                f'generate = pipeline("text-generation", model={checkpoint})',
                f'print(generate({python_literal(sample_input)}, max_new_tokens=40)[0]["generated_text"])',
            ]
        )


def encode_documents(batch: dict[str, list[str]], tokenizer: Any) -> list[list[int]]:
    """The token ids of each document, the end-of-sequence token included."""
    encoded = tokenizer(list(batch["text"]), add_special_tokens=False, return_attention_mask=False, verbose=False)
    return [[*ids, tokenizer.eos_token_id] for ids in encoded["input_ids"]]


def pack_connected(batch: dict[str, list[str]], tokenizer: Any, length: int) -> dict[str, list[list[int]]]:
    """Rows of concatenated documents, in which a token attends to earlier documents of its row."""
    end = tokenizer.eos_token_id
    tokens = [end, *chain.from_iterable(encode_documents(batch, tokenizer))]
    rows = list(split_into_rows(tokens, length, padding=end))
    return {"input_ids": [ids for ids, _ in rows], "labels": [labels for _, labels in rows]}


def split_into_rows(tokens: list[int], length: int, padding: int) -> Iterator[tuple[list[int], list[int]]]:
    """Rows (input ids, labels) of exactly `length` tokens, in which every token but the first is predicted once.

    Each row starts with the last token of the previous row. The last row starts earlier so that it is full, and the
    tokens that it repeats have no label. Only a text shorter than one row is padded, on the right, where no predicted
    token attends to the padding."""
    missing = max(0, length - len(tokens))
    for start in range(0, len(tokens) - 1, length - 1):
        first = max(0, min(start, len(tokens) - length))
        ids = tokens[first : first + length]
        repeated = start - first + 1
        yield ids + [padding] * missing, [IGNORE_INDEX] * repeated + ids[repeated:] + [IGNORE_INDEX] * missing


def pack_separate(batch: dict[str, list[str]], tokenizer: Any, length: int) -> dict[str, list[list[int]]]:
    """Rows of whole documents, which the position ids separate; longer documents are split into pieces that share one
    token.

    The end-of-sequence token starts each document, so that its first token is predicted too, and ends it. Pieces are
    appended to a row while they fit; padding fills the rest, with positions of its own and no labels."""
    end = tokenizer.eos_token_id
    pieces = [piece for ids in encode_documents(batch, tokenizer) for piece in split_long_document([end, *ids], length)]
    rows: list[list[list[int]]] = []
    for piece in pieces:
        if rows and sum(map(len, rows[-1])) + len(piece) <= length:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    padded = [pad_packed_row(row, length, end) for row in rows]
    return {key: [row[key] for row in padded] for key in ("input_ids", "position_ids", "labels")}


def split_long_document(tokens: list[int], length: int) -> list[list[int]]:
    """Pieces of at most `length` tokens, each starting with the last token of the previous piece."""
    return [tokens[start : start + length] for start in range(0, max(1, len(tokens) - 1), length - 1)]


def pad_packed_row(pieces: list[list[int]], length: int, padding: int) -> dict[str, list[int]]:
    """The columns of one row: pieces followed by padding."""
    rest = length - sum(map(len, pieces))
    return {
        "input_ids": [*chain.from_iterable(pieces), *[padding] * rest],
        "position_ids": [*chain.from_iterable(range(len(piece)) for piece in pieces), *range(rest)],
        "labels": [*chain.from_iterable([IGNORE_INDEX, *piece[1:]] for piece in pieces), *[IGNORE_INDEX] * rest],
    }
