"""Sampled text for display: inputs and random numbers are the same before and after training."""

from typing import Any

import torch

__all__ = ["first_tokens", "sample_text"]

MAX_NEW_TOKENS = 60


def first_tokens(data: Any, tokenizer: Any, count: int = 2, tokens: int = 6) -> list[str]:
    """The first tokens of each of the first test texts, decoded."""
    rows = data.splits["test"].select(range(min(count, len(data.splits["test"]))))
    texts = [text for row in rows for text in data.objective.texts(row)][:count]
    return [tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids[:tokens]) for text in texts]


def sample_text(model: Any, tokenizer: Any, prompt: Any, seed: int, add_special_tokens: bool = True) -> str:
    """A prompt with up to 60 sampled tokens after it (temperature 0.8, top-p 0.95). The random state and the mode of
    the model are restored afterwards. Raises ValueError if the prompt fills all positions of the model."""
    inputs = tokenizer(prompt, return_tensors="pt", add_special_tokens=add_special_tokens).to(model.device)
    free_positions = model.config.max_position_embeddings - inputs.input_ids.shape[1]
    if free_positions < 1:
        raise ValueError(
            f"The prompt {prompt!r} has {inputs.input_ids.shape[1]} tokens, and the model reads at most "
            f"{model.config.max_position_embeddings}; shorten --prompt."
        )
    training = model.training
    model.eval()
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        ids = model.generate(
            **inputs, max_new_tokens=min(MAX_NEW_TOKENS, free_positions), do_sample=True, temperature=0.8, top_p=0.95,
            top_k=0,
        )  # fmt: skip
    model.train(training)
    return tokenizer.decode(ids[0], skip_special_tokens=True)
