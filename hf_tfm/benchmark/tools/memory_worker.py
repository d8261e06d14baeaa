"""Measure the memory of one model for `hf-tfm bench memory`, in a process that has run nothing else:
`python -m hf_tfm.benchmark.tools.memory_worker '{"part": "loss"}'` prints one line of JSON."""

import json
import sys
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast, MoeModelOutputWithPast

from ..harness.batches import Batch
from ..harness.interleaved_timing import ModelPair
from ..harness.memory_usage import peak_growth, start_peak_growth
from ..harness.model_pairs import compared_models
from ..harness.peer_models import ModelSizes
from ..harness.training_steps import (
    FUSED_LOSS,
    TASK_HEADS,
    compute_loss,
    create_optimizer,
    make_step_batches,
    training_step,
)

__all__ = ["PARTS", "MemorySettings", "measure_memory"]

PARTS = ("step", "loss")


@dataclass(frozen=True)
class MemorySettings(ModelSizes):
    """Options of `hf-tfm bench memory`, see its --help. `peer`: one name of --peers; `ours`: measure our model that is
    compared with the peer, otherwise the peer."""

    part: str = "step"
    task: str = "causal-lm"
    peer: str = "native"
    ours: bool = True
    recipe: str | None = None
    batch_size: int = 8
    steps: int = 2
    mean_length_fraction: float = 0.4
    dtype: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    seed: int = 0

    @property
    def sizes(self) -> ModelSizes:
        return ModelSizes(**{field.name: getattr(self, field.name) for field in fields(ModelSizes)})


class FixedHiddenStates(nn.Module):
    """Replaces the base model of a head: returns the same final hidden states (B, T, C) for any input."""

    def __init__(self, states: torch.Tensor, output_class: type) -> None:
        super().__init__()
        self.states, self.output_class = nn.Parameter(states), output_class

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        # a view: the gradient of the states is computed and kept, as for the backward pass of a base model
        return self.output_class(last_hidden_state=self.states.view_as(self.states))


def build_model(settings: MemorySettings) -> tuple[Any, ModelPair]:
    """The model to measure, and the pair that it belongs to."""
    head = TASK_HEADS[settings.task]
    compared = compared_models(head, [settings.peer], settings.sizes, settings.recipe, True, FUSED_LOSS, settings.seed)
    compared.cast_weights(settings.dtype)
    pair = compared.pairs[0]
    return compared.models[pair.ours if settings.ours else pair.peer], pair


def keep_head_only(model: Any, batch: Batch, settings: MemorySettings) -> None:
    """Replace the base model by fixed hidden states, and create the gradients of all weights."""
    output_class = MoeModelOutputWithPast if settings.ours else BaseModelOutputWithPast
    generator = torch.Generator().manual_seed(settings.seed)
    states = torch.randn((*batch["input_ids"].shape, model.config.hidden_size), generator=generator)
    states = states.to(model.device, model.dtype)
    setattr(model, model.base_model_prefix, FixedHiddenStates(states, output_class))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)


def measure_memory(settings: MemorySettings) -> dict[str, Any]:
    """`growth_bytes`: the peak above what the process holds with imports, model and batches. `loss`: nats per label of
    the first batch before any step."""
    torch.set_num_threads(settings.threads)
    model, pair = build_model(settings)
    steps = make_step_batches(settings, model.config.vocab_size)
    batches = [step.ours if settings.ours else step.peer for step in steps]
    # eval mode turns dropout off and nothing else, so that the losses of both models can be compared
    model.eval().to(settings.device)
    if settings.part == "loss":
        keep_head_only(model, batches[0], settings)
    with torch.no_grad():
        loss = compute_loss(model, batches[0], settings.dtype).item()
    start = start_peak_growth(settings.device)
    if settings.part == "loss":
        compute_loss(model, batches[0], settings.dtype).backward()
    else:
        train(model, batches, settings.dtype)
    return {
        "growth_bytes": peak_growth(start, settings.device), "idle_bytes": start, "loss": loss, "peer_name": pair.peer,
        "same_weights": pair.same_weights,
    }  # fmt: skip


def train(model: Any, batches: list[Batch], dtype: str) -> None:
    """The first optimiser steps of a model: gradients and the optimiser's state are allocated here."""
    optimizer = create_optimizer(model)
    for batch in batches:
        training_step(model, optimizer, batch, dtype)


if __name__ == "__main__":
    print(json.dumps(measure_memory(MemorySettings(**json.loads(sys.argv[1])))))
