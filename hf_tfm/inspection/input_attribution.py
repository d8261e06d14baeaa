"""Integrated gradients: which input tokens a logit depends on.   Sundararajan et al. 2017, arXiv:1703.01365.

The path goes from one vector for every token, the baseline, to the word vectors, of source and target together;
positions and token types stay. Legend: B points of the path, T tokens, E embedding size.
"""

from typing import Any

import numpy as np
import torch

from .model_state import hooks, inspected
from .recording import Recording, to_array
from .report import InputAttribution
from .reruns import batches, logits_of_copies

__all__ = ["integrated_gradients"]

TOLERANCE = 0.01


def integrated_gradients(
    recording: Recording, prediction: int, label: int, baseline: int | None = None, max_steps: int = 256
) -> InputAttribution:
    """Scores of all tokens, which sum to F(text) - F(baseline), where F is the logit. `baseline`: id of the token that
    the path begins with (default: the mean of the table). Gauss-Legendre quadrature: steps are doubled from 32 until
    the sum is right within 1 %, or at `max_steps` (`completeness` says how far it is then). The error does not fall
    evenly with the steps, so the best result counts."""
    paths = {name: path_of(stack, baseline) for name, stack in recording.stacks.items()}
    with inspected(recording.model):
        change = logits_at(recording, paths, [1.0], prediction, label)
        change = float(change - logits_at(recording, paths, [0.0], prediction, label))
        best: tuple[float, int, dict[str, np.ndarray]] | None = None
        steps = min(32, max_steps)
        while best is None or (best[0] > TOLERANCE and steps <= max_steps):
            scores = integrate(recording, paths, steps, prediction, label)
            error = abs(sum(float(values.sum()) for values in scores.values()) - change) / max(abs(change), 1e-12)
            best = (error, steps, scores) if best is None or error < best[0] else best
            steps *= 2
    begin = "the mean word vector" if baseline is None else f"token {baseline}"
    return InputAttribution(prediction, str(label), best[2], best[1], best[0], begin)


def path_of(stack: Any, baseline: int | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Beginning (1, T, E) and direction (1, T, E) of a stack's path."""
    table = stack.stack.embed_tokens
    every = torch.arange(table.num_embeddings, device=table.weight.device)
    with torch.no_grad():
        end = table(stack.ids)[None]
        begin = table(every).mean(0) if baseline is None else table(every[baseline])
    return begin.expand_as(end), end - begin


def points(paths: dict[str, Any], at: list[float]) -> dict[str, torch.Tensor]:
    """Word vectors (B, T, E) of every stack at points of the path between 0 and 1."""
    found = {}
    for name, (begin, direction) in paths.items():
        along = torch.tensor(at, dtype=direction.dtype, device=direction.device)[:, None, None]
        found[name] = (begin + along * direction).requires_grad_()
    return found


def run_at(recording: Recording, vectors: dict[str, torch.Tensor], prediction: int, label: int) -> torch.Tensor:
    """The logit (B,) with word vectors put in."""

    def put_in(value: torch.Tensor) -> Any:
        return lambda module, args, kwargs, output: value

    pairs = [(recording.stacks[name].stack.embed_tokens, put_in(value)) for name, value in vectors.items()]
    copies = len(next(iter(vectors.values())))
    with hooks(forward=pairs):
        return logits_of_copies(recording, copies, prediction)[:, label]


def logits_at(recording: Recording, paths: dict[str, Any], at: list[float], prediction: int, label: int) -> Any:
    return run_at(recording, points(paths, at), prediction, label).double().item()


def integrate(
    recording: Recording, paths: dict[str, Any], steps: int, prediction: int, label: int
) -> dict[str, np.ndarray]:
    """Scores (T,) of every stack."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    pairs = list(zip((nodes + 1) / 2, weights / 2, strict=True))
    totals = {name: torch.zeros_like(direction, dtype=torch.float64) for name, (_, direction) in paths.items()}
    for some in batches(pairs, recording):
        vectors = points(paths, [node for node, _ in some])
        with torch.enable_grad():
            logits = run_at(recording, vectors, prediction, label)
            gradients = torch.autograd.grad(logits.sum(), list(vectors.values()))
        share = torch.tensor([weight for _, weight in some], dtype=torch.float64, device=logits.device)
        for name, gradient in zip(vectors, gradients, strict=True):
            totals[name] += (gradient.double() * share[:, None, None]).sum(0, keepdim=True)
    return {name: to_array((totals[name] * paths[name][1]).sum(-1)[0]) for name in paths}
