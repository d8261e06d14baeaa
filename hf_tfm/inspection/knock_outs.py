"""What changes when each head or feed-forward is set to zero.

Legend: L layers, H heads, V labels.
"""

import re
from typing import Any, NamedTuple

import numpy as np
import torch

from .interventions import keep_heads, knock_out_hooks
from .lens import log_probabilities
from .model_state import hooks, inspected
from .recording import Recording
from .report import KnockOut
from .reruns import batches, logits_of_copies

__all__ = ["estimated_effects", "knock_out_grid", "parse_choice"]

# (stack, kind of attention, layer, head)
HeadPlace = tuple[str, str, int, int]


class Change(NamedTuple):
    """Change of the label's logit, and KL(whole || without) in nats."""

    logit: float
    divergence: float


def parse_choice(choice: str) -> int | None:
    """How many heads "all" (None), "top:8" (8) or "none" (0) asks for. Raises ValueError for another text."""
    if choice in ("all", "none"):
        return None if choice == "all" else 0
    number = re.fullmatch(r"top:([1-9]\d*)", choice)
    if number is None:
        raise ValueError(f'knockout="{choice}" must be "all", "none" or "top:N" with a number N, such as "top:8".')
    return int(number[1])


def knock_out_grid(recording: Recording, prediction: int, label: int, choice: str = "all") -> list[KnockOut]:
    """One entry per stack and kind of attention; nothing for "none". "top:N" runs the N heads, of all stacks together,
    whose effect is largest by a first-order estimate. Feed-forwards are run all.

    `prediction`, `label`: see `attribution`."""
    number = parse_choice(choice)
    if number == 0:
        return []
    places = [
        (name, call.kind, call.layer, head)
        for name, stack in recording.stacks.items()
        for call in stack.attentions
        for head in range(len(call.weights))
    ]
    if number is not None:
        effects = estimated_effects(recording, prediction, label)
        places = sorted(places, key=lambda place: -abs(effects[place]))[:number]
    with inspected(recording.model):
        whole = logits_of_copies(recording, 1, prediction)[0]
        heads = head_changes(recording, places, whole, prediction, label)
        mlps = {name: mlp_changes(recording, name, whole, prediction, label) for name in recording.stacks}
    return [
        grid_of(recording, name, kind, heads, mlps[name], prediction, label)
        for name, stack in recording.stacks.items()
        for kind in dict.fromkeys(call.kind for call in stack.attentions)
    ]


def grid_of(
    recording: Recording,
    stack: str,
    kind: str,
    heads: dict[HeadPlace, Change],
    mlps: list[Change],
    prediction: int,
    label: int,
) -> KnockOut:
    calls = recording.stacks[stack].attentions_of(kind)
    grid = np.full((2, len(calls), len(calls[0].weights)), np.nan)
    for (name, of_kind, layer, head), change in heads.items():
        if (name, of_kind) == (stack, kind):
            grid[:, layer, head] = change
    mlp = np.array(mlps).T
    return KnockOut(stack, kind, prediction, str(label), grid[0], grid[1], mlp[0], mlp[1])


def head_changes(
    recording: Recording, places: list[HeadPlace], whole: torch.Tensor, prediction: int, label: int
) -> dict[HeadPlace, Change]:
    """The heads of one attention run together, one copy of the row for each."""
    changes = {}
    for stack, kind, layer in dict.fromkeys(place[:3] for place in places):
        call = next(c for c in recording.stacks[stack].attentions_of(kind) if c.layer == layer)
        heads = [place[3] for place in places if place[:3] == (stack, kind, layer)]
        for some in batches(heads, recording):
            kept = torch.ones(len(some), len(call.weights), dtype=torch.bool)
            kept[range(len(some)), some] = False
            hook = (call.module.o_proj, keep_heads(kept, call.module.head_dim))
            with hooks(forward_pre=[hook]):
                logits = logits_of_copies(recording, len(some), prediction)
            for head, change in zip(some, compare(whole, logits, label), strict=True):
                changes[stack, kind, layer, head] = change
    return changes


def mlp_changes(recording: Recording, stack: str, whole: torch.Tensor, prediction: int, label: int) -> list[Change]:
    changes = []
    for layer in range(len(recording.stacks[stack].stack.layers)):
        with hooks(**knock_out_hooks(recording.model, layer, (), mlp=True, stack=stack)):
            changes += compare(whole, logits_of_copies(recording, 1, prediction), label)
    return changes


def compare(whole: torch.Tensor, logits: torch.Tensor, label: int) -> list[Change]:
    """Changes from logits (V,) to others (B, V)."""
    log, others = log_probabilities(whole), log_probabilities(logits)
    divergence = (log.exp() * (log - others)).sum(-1).clamp(min=0)
    change = logits[:, label].double() - whole[label].double()
    return [Change(*pair) for pair in zip(change.tolist(), divergence.tolist(), strict=True)]


def estimated_effects(recording: Recording, prediction: int, label: int) -> dict[HeadPlace, float]:
    """The change of a logit when a head is set to zero, to first order: minus the gradient times the head's output
    (Nanda 2023, "attribution patching")."""
    calls = [(name, call) for name, stack in recording.stacks.items() for call in stack.attentions]
    changes = [torch.zeros_like(call.outputs).transpose(0, 1).flatten(1)[None].requires_grad_() for _, call in calls]
    pairs = [(call.module.o_proj, added(change)) for (_, call), change in zip(calls, changes, strict=True)]
    with inspected(recording.model), torch.enable_grad(), hooks(forward_pre=pairs):
        logit = logits_of_copies(recording, 1, prediction)[0, label]
        gradients = torch.autograd.grad(logit, changes, allow_unused=True)
    effects = {}
    for (name, call), gradient in zip(calls, gradients, strict=True):
        # what nothing reads changes nothing
        product = (
            0.0 * call.outputs
            if gradient is None
            else gradient[0].unflatten(-1, (len(call.outputs), -1)).transpose(0, 1) * call.outputs
        )
        for head, effect in enumerate((-product).sum((1, 2)).tolist()):
            effects[name, call.kind, call.layer, head] = effect
    return effects


def added(change: torch.Tensor) -> Any:
    def hook(module: Any, args: Any, kwargs: Any) -> Any:
        return (args[0] + change, *args[1:]), kwargs

    return hook
