"""Text that a model writes, for the eye: the same prompts and the same dice before and after training."""

from typing import Any

import torch

from .data import Documents

__all__ = ["continue_prompts", "default_prompts"]

# Openings that are frequent in docstrings.
DOCUMENTATION_PROMPTS = ["Return a", "This module"]
NEW_TOKENS = 60


def default_prompts(documents: Documents, tokenizer: Any) -> list[str]:
    """Two beginnings: fixed ones for the documentation that Python carries, else the first six tokens of test texts."""
    if documents.is_default:
        return DOCUMENTATION_PROMPTS
    texts = documents.splits["test"]["text"][:2]
    return [tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids[:6]) for text in texts]


def continue_prompts(model: Any, tokenizer: Any, prompts: list[str], seed: int) -> list[str]:
    """Each prompt with up to 60 sampled tokens after it (temperature 0.8, the likeliest 95 in 100 of the probability).
    The caller's random numbers and the model's mode are left as they were."""
    was_training = model.training
    model.eval()
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        texts = [continue_one(model, tokenizer, prompt) for prompt in prompts]
    model.train(was_training)
    return texts


def continue_one(model: Any, tokenizer: Any, prompt: str) -> str:
    inputs = tokenizer(prompt, return_tensors="pt").to(model.device)
    room = model.config.max_position_embeddings - inputs.input_ids.shape[1]
    if room < 1:
        raise ValueError(
            f"The prompt {prompt!r} has {inputs.input_ids.shape[1]} tokens, the model reads at most "
            f"{model.config.max_position_embeddings}; shorten --prompt."
        )
    written = model.generate(
        **inputs, max_new_tokens=min(NEW_TOKENS, room), do_sample=True, temperature=0.8, top_p=0.95, top_k=0
    )
    return tokenizer.decode(written[0], skip_special_tokens=True)
