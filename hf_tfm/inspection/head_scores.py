"""What kind of head each one is: scores of attention weights by their definitions, on the rows where they are defined.

Distance and entropy: Clark et al. 2019, arXiv:1906.04341. Previous token and induction: Olsson et al. 2022,
arXiv:2209.11895. First token and sinks: Xiao et al. 2023, arXiv:2309.17453.

Legend: L layers, H heads, T queries, S keys.
"""

from typing import Any

import numpy as np
import torch

from .recording import AttentionCall, Recording, StackRecording, record, stacked
from .report import HeadScores

__all__ = ["head_summary", "random_induction", "repeated_tokens", "score_heads"]

# tokens of the random sequence, which is then repeated
RANDOM_LENGTH = 24
NAMES = ("distance", "entropy", "previous token", "next token", "induction", "first token", "sink")


def score_heads(
    weights: np.ndarray, visible: np.ndarray, ids: list[int] | None = None, missing: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Scores (L, H) by name, and the number of rows that each is the mean over (the largest of all heads); NaN where
    there is none.

    `weights` (L, H, T, S); `visible` (L, T, S); `ids` of the tokens where queries and keys are the same sequence, None
    in cross-attention; `missing` (L, H, T): what learned sinks take, None without sinks."""
    # layer by layer: float64 of all maps of a long text takes gigabytes
    layers = [
        score_layer(maps.astype(np.float64), mask, ids, None if missing is None else missing[layer])
        for layer, (maps, mask) in enumerate(zip(weights, visible, strict=True))
    ]
    scores = {name: np.stack([layer[name][0] for layer in layers]) for name in NAMES}
    return scores, {name: max(layer[name][1] for layer in layers) for name in NAMES}


def score_layer(
    weights: np.ndarray, visible: Any, ids: list[int] | None, missing: np.ndarray | None
) -> dict[str, tuple[np.ndarray, int]]:
    """The same for one layer: weights (H, T, S) and mask (T, S) to scores (H,) and numbers of rows."""
    length, keys = weights.shape[-2:]
    total = weights.sum(-1)
    entropy = -np.where(weights > 0, weights * np.log(np.where(weights > 0, weights, 1.0)), 0.0).sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # of the weights that no sink takes
        entropy = entropy / total + np.log(total)
        count = visible.sum(-1)
        values: dict[str, Any] = {"entropy": (entropy / np.log(count), (count > 1) & (total > 0))}
    first = np.zeros((length, keys), bool)
    first[:, 0] = True
    targets = {"first token": first}
    if ids is not None:
        # the first token itself may see nothing else
        first[0] = False
        gap = np.arange(length)[:, None] - np.arange(keys)[None]
        values["distance"] = ((weights * np.abs(gap)).sum(-1) / np.where(total > 0, total, 1.0), total > 0)
        targets |= {"previous token": gap == 1, "next token": gap == -1, "induction": induction_targets(ids)}
    for name, target in targets.items():
        seen = target & visible
        values[name] = ((weights * seen).sum(-1), seen.any(-1))
    if missing is not None:
        values["sink"] = (missing, np.ones(length, bool))
    nothing = (np.zeros_like(total), np.zeros(length, bool))
    return {name: mean_over_rows(*values.get(name, nothing)) for name in NAMES}


def induction_targets(ids: list[int]) -> np.ndarray:
    """Flags (T, T): for each query the keys that follow an earlier token of the same id, itself apart."""
    same = np.asarray(ids)[:, None] == np.asarray(ids)[None]
    targets = np.zeros_like(same)
    targets[:, 1:] = np.tril(same, -1)[:, :-1]
    np.fill_diagonal(targets, False)
    return targets


def mean_over_rows(values: np.ndarray, defined: np.ndarray) -> tuple[np.ndarray, int]:
    """Mean (H,) of values (H, T) over the defined rows, and the largest number of them."""
    defined = np.broadcast_to(defined, values.shape)
    count = defined.sum(-1)
    total = np.where(defined, values, 0.0).sum(-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), int(count.max(initial=0))


def head_summary(recording: Recording) -> list[HeadScores]:
    """The scores of every attention of a model, one entry per stack and kind."""
    summaries = []
    for name, stack in recording.stacks.items():
        for kind in dict.fromkeys(call.kind for call in stack.attentions):
            calls = stack.attentions_of(kind)
            ids = stack.ids.tolist() if kind == "self" and stack.ids is not None else None
            has_sinks = any(call.sinks is not None for call in calls)
            missing = stacked([call.missing() for call in calls]) if has_sinks else None
            summaries.append(HeadScores(name, kind, *score_heads(*maps(calls), ids, missing)))
            if kind == "self" and calls[0].module.is_causal:
                summaries[-1].random_induction = random_induction(recording, stack)
    return summaries


def maps(calls: list[AttentionCall]) -> tuple[np.ndarray, np.ndarray]:
    return stacked([call.weights for call in calls]), stacked([call.visible for call in calls])


def repeated_tokens(vocab_size: int, length: int, rows: int = 1, seed: int = 0) -> torch.Tensor:
    """Random ids (rows, 2 length) whose second half repeats the first, the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, (rows, length), generator=generator).repeat(1, 2)


def random_induction(recording: Recording, stack: StackRecording, seed: int = 0) -> np.ndarray:
    """The induction score (L, H) on a random sequence that is repeated once, always the same; an encoder-decoder reads
    it after the source of the recording."""
    config = recording.model.config
    longest = max(2, min(RANDOM_LENGTH, config.max_position_embeddings // 2))
    ids = repeated_tokens(stack.stack.embed_tokens.num_embeddings, longest, seed=seed)
    name = "decoder_input_ids" if config.is_encoder_decoder else "input_ids"
    inputs: dict[str, Any] = {**recording.inputs, name: ids}
    beside = ("attention_mask", "position_ids") if name == "input_ids" else ()
    dropped = {"token_type_ids", "decoder_attention_mask", "decoder_position_ids", *beside}
    repeated = record(recording.model, {key: value for key, value in inputs.items() if key not in dropped})[0]
    calls = repeated.stacks[stack.name].attentions_of("self")
    return score_heads(*maps(calls), repeated.stacks[stack.name].ids.tolist())[0]["induction"]  # pyright: ignore[reportOptionalMemberAccess]
