"""One measured point of `hf-tfm bench memory`, in a process of its own so that its peak of memory is its own:
`python -m hf_tfm.benchmark.memory_point '{"part": "loss"}'` prints one line of JSON."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPast, MoeModelOutputWithPast

from .batches import Batch
from .contenders import field_of
from .measure import Match
from .peers import Sizes
from .resident import begin_growth, growth
from .steps import LEAN, TASKS, feeds_of, loss_of, optimizer_of, training_step

__all__ = ["PARTS", "Point", "measure"]


@dataclass(frozen=True)
class Point(Sizes):
    """Who computes what. `peer`: a word of --against; `ours`: our side of it, rather than its own. Sizes in elements
    and tokens, see `hf-tfm bench memory --help`."""

    part: str = "step"
    task: str = "causal-lm"
    peer: str = "native"
    ours: bool = True
    recipe: str | None = None
    batch_size: int = 8
    steps: int = 2
    fill: float = 0.4
    dtype: str = "fp32"
    device: str = "cpu"
    threads: int = 1
    seed: int = 0

    @property
    def sizes(self) -> Sizes:
        return Sizes(**{one.name: getattr(self, one.name) for one in fields(Sizes)})


class FinalStates(nn.Module):
    """In place of a trunk: the final hidden states (B, T, C) that it would give."""

    def __init__(self, states: torch.Tensor, output: type) -> None:
        super().__init__()
        self.states, self.output = nn.Parameter(states), output

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        # a view, so that the states' gradient is computed and kept as a trunk's backward would be given it
        return self.output(last_hidden_state=self.states.view_as(self.states))


def chosen(point: Point) -> tuple[Any, Match]:
    """The model to be weighed, and whom it is set against."""
    head = TASKS[point.task][0]
    made = field_of(head, [point.peer], point.sizes, point.recipe, True, LEAN, point.seed)
    made.halve(point.dtype)
    match = made.matches[0]
    return made.models[match.ours if point.ours else match.theirs], match


def whole_step(model: Any, batches: list[Batch], point: Point) -> Callable[[], None]:
    """Optimiser steps from the first on: gradients and the optimiser's state are part of what grows."""
    optimizer = optimizer_of(model)

    def run() -> None:
        for batch in batches:
            training_step(model, optimizer, batch, point.dtype)

    return run


def loss_alone(model: Any, batches: list[Batch], point: Point) -> Callable[[], None]:
    """From final hidden states through head and loss to their gradient. The gradients that stay are held before."""
    trunk, batch = model.base_model_prefix, batches[0]
    output = MoeModelOutputWithPast if point.ours else BaseModelOutputWithPast
    generator = torch.Generator().manual_seed(point.seed)
    states = torch.randn((*batch["input_ids"].shape, model.config.hidden_size), generator=generator)
    setattr(model, trunk, FinalStates(states.to(model.device, model.dtype), output))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def run() -> None:
        loss_of(model, batch, point.dtype).backward()

    return run


PARTS: dict[str, Callable[..., Callable[[], None]]] = {"step": whole_step, "loss": loss_alone}


def measure(point: Point) -> dict[str, Any]:
    """`growth_bytes`: the peak above what the process held with its imports, model and batches. `loss`: nats per label
    of the first batch before any step."""
    torch.set_num_threads(point.threads)
    model, match = chosen(point)
    words = model.config.vocab_size
    sizes = point.batch_size, point.length, point.fill, words
    feeds = feeds_of(point.task, point.steps, *sizes, point.seed, point.device)
    batches = [feed.ours if point.ours else feed.theirs for feed in feeds]
    # eval: without dropout the losses of either side can be compared, and nothing else differs
    run = PARTS[point.part](model.eval().to(point.device), batches, point)
    loss = first_loss(model, batches[0], point)
    begun = begin_growth(point.device)
    run()
    return {
        "growth_bytes": growth(begun, point.device), "idle_bytes": begun, "loss": loss, "theirs": match.theirs,
        "same_weights": match.same_weights,
    }  # fmt: skip


@torch.no_grad()
def first_loss(model: Any, batch: Batch, point: Point) -> float:
    return loss_of(model, batch, point.dtype).item()


if __name__ == "__main__":
    print(json.dumps(measure(Point(**json.loads(sys.argv[1])))))
