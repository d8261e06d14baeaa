"""The affine function from what branches write to what the head reads, with everything else held as it was recorded.

Attention patterns, gates of heads, outputs of feed-forwards and the scale of every norm are held, while the mean of a
layer norm stays a function of its input. What is left, the residual connections and the final norm, is affine in what
the branches write, in every wiring. Elhage et al. 2021, "A mathematical framework for Transformer circuits".

Legend: T tokens, H heads, D head size, C hidden size.
"""

from typing import Any

import torch
from torch import nn

from .model_state import hooks, inspected
from .predicting_heads import Head, require_head
from .recording import AttentionCall, Branch, Recording

__all__ = ["FrozenNorm", "Skeleton"]


class FrozenNorm:
    """A forward hook that replaces a norm by the same with the scale of its first call. `bias`: a leaf with a gradient,
    None without one. Raises ValueError for a norm that is not linear at a given scale, as far as is known here."""

    def __init__(self, name: str, layer: int | None, norm: Any) -> None:
        self.name, self.layer, self.norm = name, layer, norm
        if not isinstance(norm, nn.LayerNorm) and not hasattr(norm, "variance_epsilon"):
            raise ValueError(
                f"An attribution holds the scale of layer norms and RMS norms; this model has a {type(norm).__name__}."
            )
        self.centres = isinstance(norm, nn.LayerNorm)
        self.eps = norm.eps if self.centres else norm.variance_epsilon
        bias = getattr(norm, "bias", None)
        self.bias = None if bias is None else as_leaf(bias)
        self.scale: torch.Tensor | None = None

    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: torch.Tensor) -> torch.Tensor:
        x = args[0] - args[0].mean(-1, keepdim=True) if self.centres else args[0]
        if self.scale is None:
            self.scale = (x.detach().square().mean(-1, keepdim=True) + self.eps).rsqrt()
        x = x * self.scale
        if self.norm.weight is not None:
            x = x * self.norm.weight.detach()
        return x if self.bias is None else x + self.bias


class Skeleton:
    """`run` maps leaves to last hidden states. The leaves: `embeddings` (1, T, C), and one per branch of the stack that
    the head reads: the outputs of an attention's heads (1, T, H D), or that of a feed-forward (1, T, C). `states` and
    `writes`: of the recorded values."""

    def __init__(self, recording: Recording) -> None:
        self.model, self.stack = recording.model, recording.predicting
        self.head: Head = require_head(recording.model, recording.inputs)
        self.calls = {(call.layer, f"{call.kind}_attn"): call for call in self.stack.attentions}
        self.norms = [
            FrozenNorm(f"{kind.replace('_', ' ')} after {branch.tap}", branch.layer, getattr(branch.residual, kind))
            for branch in self.stack.branches
            for kind in ("branch_norm", "post_norm")
            if getattr(branch.residual, kind) is not None
        ]
        if not isinstance(self.stack.stack.norm, nn.Identity):
            self.norms.append(FrozenNorm("final norm", None, self.stack.stack.norm))
        self.embeddings = as_leaf(self.stack.embeddings[None])
        self.leaves = [as_leaf(self.value_of(branch)[None]) for branch in self.stack.branches]
        self.states, self.writes = self.run(self.embeddings, self.leaves)

    def call_of(self, branch: Branch) -> AttentionCall | None:
        """The attention of a branch; None for a feed-forward."""
        return self.calls.get((branch.layer, branch.name))

    def value_of(self, branch: Branch) -> torch.Tensor:
        call = self.call_of(branch)
        return branch.output if call is None else call.outputs.transpose(0, 1).flatten(1)

    def run(self, embeddings: torch.Tensor, leaves: list[torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Last hidden states (1, T, C), and what each branch gives (1, T, C)."""
        states, writes = embeddings, []
        with inspected(self.model), torch.enable_grad(), hooks(forward=[(norm.norm, norm) for norm in self.norms]):
            for branch, value in zip(self.stack.branches, leaves, strict=True):
                call = self.call_of(branch)
                writes.append(value if call is None else call.module.o_proj(value))
                states = branch.residual(states, writes[-1])
            return self.stack.stack.norm(states), writes

    def score(self, states: torch.Tensor, prediction: int, label: int) -> torch.Tensor:
        """The logit of a label for last hidden states (1, T, C), before scale and cap."""
        with inspected(self.model), torch.enable_grad():
            return self.head.scores_at(states, prediction)[0, label]


def as_leaf(values: torch.Tensor) -> torch.Tensor:
    return values.detach().clone().requires_grad_()
