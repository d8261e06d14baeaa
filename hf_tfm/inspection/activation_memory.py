"""Bytes that the forward pass of a training step keeps for the backward pass, measured part by part.

Legend: B sequences, T tokens.
"""

import weakref
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import nn

from .model_parts import ModelPart
from .model_state import hooks, inspected
from .predicting_heads import AnswerSpan, LanguageModelHead, TokenClassifier, head_of

__all__ = ["activation_bytes"]

# tokens up to which a step is measured as it is asked for; larger ones follow from steps of these sizes
LARGEST_MEASURED = 1024
BATCHES, LONGEST = (1, 2), 48


def activation_bytes(model: Any, parts: list[ModelPart], batch: int, length: int) -> dict[str, int]:
    """Bytes for each part, and for the head with the loss, where it reads nothing but logits. Large steps are not run:
    bytes are a linear function of B and a quadratic one of T, and follow from small steps."""
    if batch * length <= LARGEST_MEASURED:
        return measure(model, parts, batch, length)
    longest = min(LONGEST, model.config.max_position_embeddings)
    lengths = (longest // 3, 2 * longest // 3, longest)
    measured = {(b, t): measure(model, parts, b, t) for b in BATCHES for t in lengths}
    return {
        part.name: round(
            sum(
                measured[b, t][part.name] * lagrange(b, BATCHES, batch) * lagrange(t, lengths, length)
                for b in BATCHES
                for t in lengths
            )
        )
        for part in parts
    }


def lagrange(node: int, nodes: tuple[int, ...], at: int) -> Fraction:
    """The polynomial that is 1 at one node and 0 at the others."""
    result = Fraction(1)
    for other in nodes:
        if other != node:
            result *= Fraction(at - other, node - other)
    return result


def measure(model: Any, parts: list[ModelPart], batch: int, length: int) -> dict[str, int]:
    """The same by running the step."""
    current = [parts[-1].name]
    saved: list[weakref.ref[Saved]] = []

    def keep(tensor: torch.Tensor) -> Saved:
        kept = Saved(current[-1], tensor)
        saved.append(weakref.ref(kept))
        return kept

    def enter(name: str) -> Any:
        return lambda module, args, kwargs: current.append(name)

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        current.pop()

    modules = [(part.name, module) for part in parts for module in part.modules.values()]
    with (
        inspected(model, training=True),
        hooks(
            forward_pre=[(module, enter(name)) for name, module in modules],
            forward=[(module, leave) for _, module in modules],
        ),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept.tensor),
    ):
        output = model(**step_inputs(model, batch, length))
    found = dict.fromkeys([part.name for part in parts], 0)
    seen = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    # what the graph of the output does not hold is gone
    for kept in filter(None, (reference() for reference in saved)):
        storage = kept.tensor.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            found[kept.part] += storage.nbytes()
    del output
    return found


@dataclass
class Saved:
    """A tensor that the graph keeps, and the part that was running when it was saved first."""

    part: str
    tensor: torch.Tensor


def step_inputs(model: Any, batch: int, length: int) -> dict[str, Any]:
    """Ordinary ids, the last one an end of sequence, and labels for what the head predicts."""
    config = model.config
    ids = torch.arange(length, device=model.device).expand(batch, -1) % min(config.vocab_size, 100)
    eos = config.eos_token_id
    if eos is not None:
        ids = ids.index_fill(1, ids.new_tensor([length - 1]), eos[0] if isinstance(eos, list) else eos)
    inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids % (config.decoder_vocab_size or config.vocab_size)
    if hasattr(config, "use_cache"):
        inputs["use_cache"] = False
    head = head_of(model, inputs)
    # transformers would leave hooks behind that record the router's logits
    if isinstance(head, LanguageModelHead) and model.load_balancing is None:
        inputs["labels"] = inputs.get("decoder_input_ids", ids)
    elif isinstance(head, TokenClassifier):
        inputs["labels"] = torch.zeros_like(ids)
    elif isinstance(head, AnswerSpan):
        inputs["start_positions"] = inputs["end_positions"] = ids.new_zeros(batch)
    return inputs
