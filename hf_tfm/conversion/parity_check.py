"""Compares the outputs of a model before and after conversion on one small batch."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["TOLERANCES", "make_test_batch", "max_relative_difference", "model_outputs"]

BATCH_SIZE, LENGTH = 2, 16
OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state")

# Largest difference relative to the largest output. Sums in another order stay below it, another model does not.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def make_test_batch(config: Any, head: str) -> dict[str, Tensor]:
    """Random tokens; each row ends with the end-of-sequence token. No padding, since some native models ignore it."""
    generator = torch.Generator().manual_seed(0)
    max_length = getattr(config, "max_position_embeddings", None) or LENGTH
    shape = (BATCH_SIZE, min(LENGTH, max_length))
    ids = torch.randint(config.vocab_size, shape, generator=generator)
    eos = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    if eos is not None and 0 <= eos < config.vocab_size:
        ids[ids == eos] = (eos + 1) % config.vocab_size
        ids[:, -1] = eos
    if head == "multiple-choice":
        ids = ids[None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder and head in ("base", "seq2seq-lm"):
        decoder_vocab_size = getattr(config, "decoder_vocab_size", None) or config.vocab_size
        batch["decoder_input_ids"] = torch.randint(decoder_vocab_size, shape, generator=generator)
    return batch


def model_outputs(model: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    """The logits of a model for a batch, or its hidden states if it has no head."""
    with torch.no_grad():
        outputs = model(**batch)
    return [outputs[name].float() for name in OUTPUTS if outputs.get(name) is not None]


def max_relative_difference(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest difference, relative to the largest output before."""
    return max(
        ((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item() for a, b in zip(before, after, strict=True)
    )
