"""Denoising: reconstruct text from a corrupted copy. T5's span corruption (Raffel et al. 2020, arXiv:1910.10683) or
BART's text infilling (Lewis et al. 2020, arXiv:1910.13461)."""

from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from hf_tfm.modeling.modeling_tfm_seq2seq import TfmSeq2SeqForConditionalGeneration

from ..metrics.perplexity import Perplexity, sum_losses
from ..preprocessing.span_corruption import SpanCorruptionCollator, add_sentinels
from ..preprocessing.text_infilling import BartNoisingCollator
from .base import ComputeMetrics, perplexity_results, require_special_token
from .causal_lm import LanguageModel
from .label_frequencies import unigram_baseline
from .seq2seq import generate_text, seq2seq_usage_snippet

__all__ = ["Denoising"]


class Denoising(LanguageModel):
    """Concatenates the documents and cuts them into rows of at most T tokens, the end-of-sequence token included. The
    corruption changes in every training epoch and is fixed in evaluation."""

    task = "denoising"
    pipeline_tag = "text-generation"
    auto_class = "AutoModelForSeq2SeqLM"
    models = {"tfm_seq2seq": TfmSeq2SeqForConditionalGeneration}
    peft_task_type = "SEQ_2_SEQ_LM"
    metric_labels = {
        "nats_per_token": "nats per target token (the loss)",
        "perplexity": "perplexity per target token",
    }

    def tokenizer_style(self, model_type: str) -> str:
        return {"t5": "source", "bart": "bracketed"}[self.args.noise]

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        require_special_token(tokenizer, "eos_token", "which ends every row")
        require_special_token(tokenizer, "pad_token", "which starts every decoder input")
        if self.args.noise == "t5":
            # one per masked token, because document boundaries in a row can split every span
            self.sentinels = add_sentinels(tokenizer, max(1, round(self.args.block_size * self.args.mask_rate)))
        else:
            require_special_token(tokenizer, "mask_token", "which replaces masked spans")

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows of `input_ids`: uncorrupted text with the tokenizer's first and last special token."""
        if self.args.block_size < 4:
            raise ValueError(
                f"--block_size {self.args.block_size} is too short to corrupt; give at least 4, for example 128."
            )
        pack = partial(pack_text_rows, tokenizer=tokenizer, length=self.args.block_size)
        return self.pack_rows(splits, pack, num_proc)

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Any:
        args, common = self.args, {"seed": self.seed, "fixed": not training}
        if args.noise == "t5":
            return SpanCorruptionCollator(tokenizer, self.sentinels, args.mask_rate, args.mean_span, **common)
        return BartNoisingCollator(tokenizer, args.mask_rate, args.mean_span, **common)

    def preprocess_logits(self, logits: Any, labels: torch.Tensor) -> torch.Tensor:
        """Per row: nats summed over the target tokens, and their number: (B, 2)."""
        return sum_losses(super().preprocess_logits(logits, labels), labels)

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        return partial(perplexity_results, metric=Perplexity(cache_dir), source_bytes=None)

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        return unigram_baseline(self, data, examples, tokenizer)

    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[str]:
        if prompts:
            return prompts
        mask = tokenizer.decode(self.sentinels[:1]) if self.args.noise == "t5" else tokenizer.mask_token
        rows = data.splits["test"].select(range(min(2, len(data.splits["test"]))))
        return [mask_middle(row["text"], mask) for row in rows]

    def format_input(self, sample_input: str) -> str:
        return sample_input

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: str) -> str:
        return generate_text(model, tokenizer, sample_input, self.args.block_size, skip_special_tokens=False)

    def usage_snippet(self, checkpoint: str, sample_input: str) -> str:
        return seq2seq_usage_snippet(checkpoint, sample_input, skip_special_tokens=False)


def mask_middle(text: str, mask: str) -> str:
    """The first twelve words of a text, with the two middle ones replaced by the mask."""
    words = text.split()[:12]
    middle = len(words) // 2
    return " ".join([*words[:middle], mask, *words[middle + 2 :]])


def pack_text_rows(batch: dict[str, list[str]], tokenizer: Any, length: int) -> dict[str, list[list[int]]]:
    """Rows of at most `length` tokens of the concatenated documents, between the special tokens of one text."""
    encoded = tokenizer(list(batch["text"]), add_special_tokens=False, return_attention_mask=False, verbose=False)
    end = tokenizer.eos_token_id
    ids = list(chain.from_iterable([*document, end] for document in encoded["input_ids"]))[:-1]
    prefix = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    size = length - 1 - len(prefix)
    return {"input_ids": [[*prefix, *ids[start : start + size], end] for start in range(0, len(ids), size)]}
