"""One small batch that both sides of a conversion answer, so that no conversion ends unseen."""

from typing import Any

import torch
from torch import Tensor

__all__ = ["TOLERANCES", "answers", "largest_difference", "probe_batch"]

ROWS, LENGTH = 2, 16
OUTPUTS = ("logits", "start_logits", "end_logits", "last_hidden_state")

# Largest difference relative to the largest answer: sums in another order, not another model.
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 5e-2}


def probe_batch(config: Any, head: str) -> dict[str, Tensor]:
    """Random words, each row ending with the end-of-sequence token; no padding, which some native models ignore."""
    generator = torch.Generator().manual_seed(0)
    longest = getattr(config, "max_position_embeddings", None) or LENGTH
    shape = (ROWS, min(LENGTH, longest))
    ids = torch.randint(config.vocab_size, shape, generator=generator)
    end = config.eos_token_id[0] if isinstance(config.eos_token_id, list) else config.eos_token_id
    if end is not None and 0 <= end < config.vocab_size:
        ids[ids == end] = (end + 1) % config.vocab_size
        ids[:, -1] = end
    if head == "multiple-choice":
        ids = ids[None]
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder and head in ("base", "seq2seq-lm"):
        vocabulary = getattr(config, "decoder_vocab_size", None) or config.vocab_size
        batch["decoder_input_ids"] = torch.randint(vocabulary, shape, generator=generator)
    return batch


def answers(model: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    """What a model says to the batch: logits, or hidden states where it has no head."""
    with torch.no_grad():
        given = model(**batch)
    return [given[name].float() for name in OUTPUTS if given.get(name) is not None]


def largest_difference(before: list[Tensor], after: list[Tensor]) -> float:
    """The largest difference, relative to the largest answer."""
    return max(
        ((a - b).abs().max() / a.abs().max().clamp(min=1e-30)).item() for a, b in zip(before, after, strict=True)
    )
