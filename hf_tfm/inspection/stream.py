"""The residual stream: what each branch adds, and whether the embeddings and all that is added make the last tap.

Legend: P taps, T tokens, C hidden size.
"""

from typing import Any

import torch

from .model_state import inspected
from .recording import Branch, Recording, StackRecording, stacked
from .report import Stream

__all__ = ["stream_growth", "written"]


def written(branch: Branch) -> torch.Tensor:
    """What a branch adds to the sum (T, C): its output through the norm and the scales of its residual connection."""
    residual, output = branch.residual, branch.output[None]
    for module in (residual.branch_norm, residual.layer_scale, residual.scale):
        output = output if module is None else module(output)
    return output[0]


def stream_growth(recording: Recording, stack: StackRecording) -> Stream:
    """Lengths and directions along the stream of one stack. The gap compares every tap with a sum made here, from the
    embeddings on: post_norm(skip_weight x + written)."""
    with inspected(recording.model):
        writes = [written(branch) for branch in stack.branches]
        total, gap = stack.embeddings, 0.0
        for branch, write in zip(stack.branches, writes, strict=True):
            total = total * branch.residual.skip_weight + write
            if branch.residual.post_norm is not None:
                total = branch.residual.post_norm(total[None])[0]
            gap = max(gap, relative_difference(total, branch.after))
    before = [branch.before for branch in stack.branches]
    cosines = [torch.cosine_similarity(x, write, dim=-1) for x, write in zip(before, writes, strict=True)]
    return Stream(stack.name, stack.taps, lengths(stack.stream), lengths(writes), stacked(cosines), gap)


def relative_difference(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30)).item()


def lengths(vectors: list[torch.Tensor]) -> Any:
    return stacked([vector.norm(dim=-1) for vector in vectors])
