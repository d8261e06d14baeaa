"""Who wrote a logit: an exact sum over embeddings, heads, feed-forwards and biases, and for each head over the tokens
that it reads. Each part is gradient times value in a `Skeleton`, which is affine in the parts.

Legend: T queries, S keys, H heads, K key-value heads, D head size, C hidden size.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from ..modeling.value_residual import ValueResidual
from .model_state import inspected
from .recording import AttentionCall, Branch, Recording, to_array
from .report import Attribution, Part
from .skeleton import Skeleton

__all__ = ["attribution", "attributions"]

NOT_LINEAR = (
    "The head is not linear: the parts make up what it reads, in the direction of the logit's gradient, and what they "
    "leave of the logit stands in the row of the head."
)


def attribution(recording: Recording, prediction: int, label: int) -> Attribution:
    """The parts of one logit. `prediction`: which of the head's predictions (a language model has one per token);
    `label`: the id of a token or class."""
    return attributions(recording, [(prediction, label)])[0]


def attributions(recording: Recording, chosen: list[tuple[int, int]]) -> list[Attribution]:
    """The same for several logits."""
    skeleton = Skeleton(recording)
    return [Decomposition(skeleton, recording, prediction, label).result() for prediction, label in chosen]


class Decomposition:
    """The parts of one logit."""

    def __init__(self, skeleton: Skeleton, recording: Recording, prediction: int, label: int) -> None:
        self.skeleton, self.recording, self.stack = skeleton, recording, skeleton.stack
        self.prediction, self.label = prediction, label
        self.score = skeleton.score(skeleton.states, prediction, label)
        biases = [norm.bias for norm in skeleton.norms if norm.bias is not None]
        groups = [[skeleton.embeddings], skeleton.leaves, skeleton.writes, biases]
        gradients = iter(self.gradients([value for group in groups for value in group]))
        self.embeddings, self.leaves, self.writes, self.biases = ([next(gradients) for _ in group] for group in groups)
        self.sources: list[np.ndarray] = []

    def gradients(self, values: list[torch.Tensor]) -> list[torch.Tensor]:
        found = torch.autograd.grad(self.score, values, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(v) if g is None else g for v, g in zip(values, found, strict=True)]

    def result(self) -> Attribution:
        head = self.skeleton.head
        states = self.stack.last[None]
        logit = self.skeleton.score(states, self.prediction, self.label).item()
        with inspected(self.recording.model):
            parts = [*self.parts()]
        parts.append(self.head_part(states, parts))
        final = head.logits_of(self.recording.output)[0, self.prediction, self.label].item()
        gap = abs(logit - sum(part.value for part in parts))
        note = "" if head.is_linear else NOT_LINEAR
        return Attribution(
            self.prediction, str(self.label), logit, final, gap, parts, self.sources, head.cap, head.scale, note
        )

    def part(self, kind: str, gradient: torch.Tensor, value: torch.Tensor, **where: Any) -> Part:
        return Part(kind, dot(gradient, value), stack=self.stack.name, **where)

    def parts(self) -> Iterator[Part]:
        yield self.part("embedding", self.embeddings[0], self.skeleton.embeddings, name="embeddings")
        for i, branch in enumerate(self.stack.branches):
            call = self.skeleton.call_of(branch)
            if call is None:
                yield self.part(
                    "feed-forward", self.leaves[i], self.skeleton.leaves[i], layer=branch.layer, name=branch.tap
                )
            else:
                yield from self.head_parts(branch, call, self.leaves[i][0], self.writes[i])
        biases = [(norm, norm.bias) for norm in self.skeleton.norms if norm.bias is not None]
        for (norm, bias), gradient in zip(biases, self.biases, strict=True):
            yield self.part("bias", gradient, bias, layer=norm.layer, name=f"bias of {norm.name}")

    def head_parts(
        self, branch: Branch, call: AttentionCall, gradient: torch.Tensor, write_gradient: torch.Tensor
    ) -> Iterator[Part]:
        """The heads of an attention, and its value and output biases, which belong to no head. `gradient` (T, H D): of
        the heads' outputs; `write_gradient` (1, T, C): of what `o_proj` gives."""
        heads, keys = call.weights.shape[0], call.weights.shape[-1]
        rows = gradient.abs().sum(-1) > 0
        gradient = gradient[rows].unflatten(-1, (heads, -1))  # (T, H, D)
        if call.gate is not None:
            gradient = gradient * call.gate[:, rows].transpose(0, 1)
        weights = call.weights[:, rows]
        bias = value_bias(call, self.stack.attentions[0])  # (H, D)
        read = torch.einsum("hts,thd->hsd", weights, gradient)
        sources = (read * (call.values() - bias[:, None])).sum(-1)  # (H, S)
        for head in range(heads):
            self.sources.append(to_array(sources[head]).reshape(keys))
            yield Part(
                "head", float(sources[head].double().sum()), branch.layer, head, call.kind, self.stack.name,
                f"{branch.tap}, head {head + 1}",
            )  # fmt: skip
        where = {"layer": branch.layer, "attention": call.kind}
        if call.module.v_proj.bias is not None:
            received = torch.einsum("ht,thd->hd", weights.sum(-1), gradient)
            yield self.part("bias", received, bias, name=f"value biases of {branch.tap}", **where)
        if call.module.o_proj.bias is not None:
            constant = call.module.o_proj(torch.zeros_like(self.skeleton.value_of(branch)[:1]))
            yield self.part("bias", write_gradient.sum(1), constant, name=f"output bias of {branch.tap}", **where)

    def head_part(self, states: torch.Tensor, parts: list[Part]) -> Part:
        """What the head adds: its value at zero where it is linear, what the parts leave over where it is not."""
        if self.skeleton.head.is_linear:
            value = self.skeleton.score(torch.zeros_like(states), self.prediction, self.label).item()
            return Part("head bias", value, stack=self.stack.name, name="bias of the head")
        value = self.score.item() - sum(part.value for part in parts)
        return Part("head bias", value, stack=self.stack.name, name="what the head adds beyond its linear part")


def value_bias(call: AttentionCall, first: AttentionCall) -> torch.Tensor:
    """What `v_proj` adds to the value of each query head (H, D). `first`: the first attention of the stack, whose
    values a value residual mixes in."""
    zeros = call.value.new_zeros(1, call.module.v_proj.in_features)
    bias = call.module.v_proj(zeros).view(-1, call.module.head_dim)  # (K, D)
    bias = bias.repeat_interleave(call.module.num_key_value_groups, dim=0)
    if not isinstance(call.module.value_residual, ValueResidual):
        return bias
    own, others = call.module.value_residual.mix
    return own * bias + others * value_bias(first, first)


def dot(left: torch.Tensor, right: torch.Tensor) -> float:
    """Summed in float64."""
    return float((left.detach().double() * right.detach().double()).sum())
