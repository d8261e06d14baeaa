"""Running the model again on a recorded row, several copies of it at once, for one of its predictions.

Legend: B copies, T tokens, V labels.
"""

from collections.abc import Iterator
from typing import Any

import torch

from .predicting_heads import require_head
from .recording import Recording, no_cache

__all__ = ["batches", "logits_of_copies"]

# tokens in one batch of copies; activations for gradients of a model as large as GPT-2 take a gigabyte then
BATCH_TOKENS = 1024


def logits_of_copies(recording: Recording, copies: int, prediction: int) -> torch.Tensor:
    """Logits (B, V) of one prediction for copies of the recorded row; hooks may make the copies differ."""
    model = recording.model
    head = require_head(model, recording.inputs)
    inputs = dict(recording.inputs)
    if "target" in recording.stacks:
        # a head that reads the shifted source gives the decoder no ids of its own
        inputs["decoder_input_ids"] = recorded_ids(recording)
    inputs = {name: value.expand(copies, -1) for name, value in inputs.items()}
    states = model.base_model(**inputs, **no_cache(model), return_dict=True).last_hidden_state
    return head.logits_at(states, prediction)


def recorded_ids(recording: Recording) -> Any:
    ids = recording.stacks["target"].ids
    return None if ids is None else ids[None]


def batches(items: list[Any], recording: Recording) -> Iterator[list[Any]]:
    """Some items at a time, so that a copy of the row for each makes a batch of moderate size."""
    length = sum(len(stack.embeddings) for stack in recording.stacks.values())
    size = max(1, BATCH_TOKENS // length)
    for start in range(0, len(items), size):
        yield items[start : start + size]
