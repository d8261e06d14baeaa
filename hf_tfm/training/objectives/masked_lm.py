"""Masked language modelling: predict masked tokens from both sides (Devlin et al. 2019, arXiv:1810.04805)."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction

from hf_tfm.modeling.loss import IGNORE_INDEX
from hf_tfm.modeling.modeling_tfm_encoder import TfmEncoderForMaskedLM
from hf_tfm.usage import python_literal

from ..metrics.perplexity import sum_losses
from ..preprocessing.token_masking import MaskedLMCollator, word_ids_of
from .base import ComputeMetrics, forward_in_eval_mode, require_special_token
from .causal_lm import LanguageModel
from .label_frequencies import unigram_baseline
from .text_sampling import first_tokens

__all__ = ["MaskedLM", "pack_token_rows"]


class MaskedLM(LanguageModel):
    """Concatenates the documents, with the separator token between them, and cuts them into rows of T tokens. The masks
    change in every training epoch and are fixed in evaluation."""

    task = "masked-lm"
    pipeline_tag = "fill-mask"
    auto_class = "AutoModelForMaskedLM"
    models = {"tfm_encoder": TfmEncoderForMaskedLM}
    metric_labels = {
        "nats_per_token": "nats per masked token (the loss)",
        "perplexity": "perplexity per masked token",
        "accuracy": "accuracy on masked tokens",
    }

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        for token, reason in (
            ("mask_token", "which replaces masked tokens"),
            ("sep_token", "which ends every row"),
            ("cls_token", "which starts every row"),
        ):
            require_special_token(tokenizer, token, reason)

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids` and `word_ids` (the index of each token's word, -1 for special tokens)."""
        length = self.args.block_size
        if length < 3:
            raise ValueError(
                f"--block_size {length} has no room between two special tokens; give at least 3, for example 128."
            )
        pack = partial(pack_token_rows, tokenizer=tokenizer, length=length)
        return self.pack_rows(splits, pack, num_proc)

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        args = self.args
        return MaskedLMCollator(
            tokenizer, args.mask_rate, args.mask_unit, args.mean_span, seed=self.seed, fixed=not training
        )

    def preprocess_logits(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """Per row: nats summed over masked tokens, their number, and the number predicted correctly: (B, 3)."""
        logits = super().preprocess_logits(logits, labels)
        correct = (logits.argmax(-1) == labels) & labels.ne(IGNORE_INDEX)
        return torch.cat([sum_losses(logits, labels), correct.sum(-1, keepdim=True)], dim=-1)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        return masked_token_metrics

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        return unigram_baseline(self, data, examples, tokenizer)

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[str]:
        mask = tokenizer.mask_token
        return prompts or [f"{text}{mask}" for text in first_tokens(data, tokenizer, tokens=8)]

    def format_input(self, sample_input: str) -> str:
        return sample_input

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: str) -> str:
        """The input with the most likely token in place of each mask."""
        inputs = tokenizer(sample_input, return_tensors="pt", truncation=True, max_length=self.args.block_size)
        predicted = forward_in_eval_mode(model, dict(inputs)).logits.argmax(-1).cpu()
        ids = torch.where(inputs["input_ids"] == tokenizer.mask_token_id, predicted, inputs["input_ids"])
        return tokenizer.decode(ids[0], skip_special_tokens=True)

    def usage_snippet(self, checkpoint: str, sample_input: str) -> str:
        return "\n".join(
            [
                "from transformers import pipeline",
                f'fill = pipeline("fill-mask", model={checkpoint})',
                f'print([token["token_str"] for token in fill({python_literal(sample_input)})])',
            ]
        )


def masked_token_metrics(prediction: EvalPrediction) -> dict[str, float]:
    losses, masked, correct = np.asarray(prediction.predictions, dtype=np.float64).sum(0)
    nats = losses / masked
    return {
        "nats_per_token": nats,
        "perplexity": float(np.exp(nats)),
        "accuracy": correct / masked,
        "scored_tokens": int(masked),
    }


def pack_token_rows(batch: dict[str, list[str]], tokenizer: Any, length: int) -> dict[str, list[list[int]]]:
    """Rows of at most `length` tokens of the concatenated documents, with separators between documents, and the
    classification and separator token around each row."""
    encoded = tokenizer(list(batch["text"]), add_special_tokens=False, return_attention_mask=False, verbose=False)
    ids: list[int] = []
    word_ids: list[int] = []
    for index, document in enumerate(encoded["input_ids"]):
        first = next_word_id(word_ids)
        ids += [*document, tokenizer.sep_token_id]
        word_ids += [*(first + word for word in word_ids_of(encoded, index)), -1]
    rows = list(split_with_special_tokens(ids[:-1], word_ids[:-1], tokenizer, length))
    return {"input_ids": [ids for ids, _ in rows], "word_ids": [word_ids for _, word_ids in rows]}


def next_word_id(word_ids: list[int]) -> int:
    """One more than the index of the last word."""
    return next((word + 1 for word in reversed(word_ids) if word >= 0), 0)


def split_with_special_tokens(
    ids: list[int], word_ids: list[int], tokenizer: Any, length: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Rows (input ids, word ids) of at most `length` tokens, special tokens included."""
    size = length - 2
    for start in range(0, len(ids), size):
        piece = slice(start, start + size)
        yield [tokenizer.cls_token_id, *ids[piece], tokenizer.sep_token_id], [-1, *word_ids[piece], -1]
