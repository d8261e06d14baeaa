"""What a model can be trained to do, by task word: one class and one line in OBJECTIVES each.

An objective says which class of model it trains, what an example looks like, and how results are measured. It knows no
sizes, no optimiser and no schedule.

Legend: B batch, T tokens in a row (the block size), V vocabulary."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import DatasetDict
from transformers import EvalPrediction, PreTrainedModel, default_data_collator

from hf_tfm.modeling.configuration_tfm import TfmDecoderConfig
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM

from .arguments import ModelArguments
from .metrics import IGNORE_INDEX, Perplexity, sum_next_token_losses

__all__ = ["OBJECTIVES", "CausalLM", "Objective", "get_objective"]


class Objective:
    """The blanks that a task fills."""

    task: str
    pipeline_tag: str
    auto_class: str
    config_class: Any
    model_class: Any
    collator: Callable[[list[Any]], dict[str, Any]] = staticmethod(default_data_collator)

    def build(self, args: ModelArguments, tokenizer: Any, block_size: int) -> PreTrainedModel:
        """A model with random weights; the tokenizer decides the vocabulary and the special tokens.
        Raises ValueError if its longest sequence is shorter than a row."""
        words = {
            "vocab_size": len(tokenizer),
            "max_position_embeddings": block_size,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }
        config = self.config_class.recipe(args.recipe, **words | args.words())
        if config.max_position_embeddings < block_size:
            raise ValueError(
                f"--max_position_embeddings {config.max_position_embeddings} is shorter than a row of text; make it at "
                f"least --block_size ({block_size}), or rows shorter."
            )
        return self.model_class(config)

    def examples(self, documents: DatasetDict, tokenizer: Any, block_size: int, num_proc: int | None) -> DatasetDict:
        """Rows that the model trains on, from a column of text."""
        raise NotImplementedError

    def reduce_logits(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """What is kept of the logits of a batch, one row per example."""
        raise NotImplementedError

    def measure(self, cache_dir: Path, source_bytes: int) -> Callable[[EvalPrediction], dict[str, float]]:
        """The function that turns all kept rows of a split into results; `source_bytes`: UTF-8 bytes of its text."""
        raise NotImplementedError


class CausalLM(Objective):
    """Predict every token from those before it.

    Documents follow one another, each ended by the end-of-sequence token, and are cut into rows of T tokens that share
    one token with the row before, so that every token is predicted exactly once."""

    task = "causal-lm"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForCausalLM"
    config_class = TfmDecoderConfig
    model_class = TfmDecoderForCausalLM

    def examples(self, documents: DatasetDict, tokenizer: Any, block_size: int, num_proc: int | None) -> DatasetDict:
        """Rows of `input_ids` and `labels`, each T tokens long. Raises ValueError if T is below 2."""
        if block_size < 2:
            raise ValueError(f"--block_size {block_size} leaves nothing to predict; give 2 tokens or more: 128.")
        end = tokenizer.eos_token_id

        def pack(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
            encoded = tokenizer(batch["text"], add_special_tokens=False, return_attention_mask=False, verbose=False)
            tokens = [end, *chain.from_iterable([*ids, end] for ids in encoded["input_ids"])]
            rows = list(cut_rows(tokens, block_size, padding=end))
            return {"input_ids": [ids for ids, _ in rows], "labels": [labels for _, labels in rows]}

        return documents.map(
            pack, batched=True, remove_columns=["text"], num_proc=num_proc, desc=f"Cutting rows of {block_size} tokens"
        )

    def reduce_logits(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        return sum_next_token_losses(logits, labels)

    def measure(self, cache_dir: Path, source_bytes: int) -> Callable[[EvalPrediction], dict[str, float]]:
        metric = Perplexity(cache_dir)

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            losses, tokens = torch.as_tensor(prediction.predictions).double().unbind(-1)
            result = metric.compute(losses=losses.tolist(), tokens=tokens.long().tolist(), source_bytes=source_bytes)
            return result or {}

        return compute


def cut_rows(tokens: list[int], length: int, padding: int) -> Iterator[tuple[list[int], list[int]]]:
    """Rows (input ids, labels) of exactly `length` tokens, in which every token but the first is predicted once.

    A row begins with the last token of the row before. The last row is moved back to stay full, and what it repeats is
    not scored. Only a text shorter than a row is padded, at the right, where no scored token can see it."""
    missing = max(0, length - len(tokens))
    for start in range(0, len(tokens) - 1, length - 1):
        moved = max(0, min(start, len(tokens) - length))
        ids = tokens[moved : moved + length]
        seen = start - moved + 1
        yield ids + [padding] * missing, [IGNORE_INDEX] * seen + ids[seen:] + [IGNORE_INDEX] * missing


OBJECTIVES: dict[str, Objective] = {
    "causal-lm": CausalLM(),
}


def get_objective(task: str) -> Objective:
    """The objective of a task word. Raises ValueError with the known words."""
    if task not in OBJECTIVES:
        raise ValueError(f"--task {task} is unknown; known tasks: {', '.join(OBJECTIVES)}.")
    return OBJECTIVES[task]
