"""Length: what a model loses on text that is longer than the rows it learned from."""

import math
from itertools import chain
from typing import Any

import torch

from hf_tfm.modeling.position import LearnedPosition
from hf_tfm.training.objectives.causal_lm import encode_documents, split_into_rows
from hf_tfm.training.preprocessing.dataset_utils import iterate_rows

from .base import Probe, ProbedRun, ProbeResult, summed_losses

__all__ = ["Length"]

TIMES = (1, 2, 4)


class Length(Probe):
    """Bits per byte of the validation text, its documents joined and cut into rows of 1, 2 and 4 times the training
    length, and how much they rise from that at 1. Every length scores the same tokens, each once, so that a model which
    uses what stands farther back gains, and one that cannot read on rises.   Press et al. 2022, arXiv:2108.12409,
    evaluate so, without overlap."""

    name = "length"
    labels = {f"length_{times}x": f"bits per byte at {times}x the training length" for times in TIMES} | {
        f"length_{times}x_rise": f"bits per byte at {times}x minus that at 1x" for times in TIMES[1:]
    }
    drawn = tuple(f"length_{times}x" for times in TIMES)
    tasks = ("causal-lm",)

    def measure(self, run: ProbedRun) -> ProbeResult:
        tokens, size = joined_tokens(run)
        length = run.run_args.task.block_size
        known = {times: self.obstacle(run.model, len(tokens), times, length) for times in TIMES}
        bits = {
            times: math.nan if known[times] else bits_per_byte(run, tokens, times * length, size) for times in TIMES
        }
        measures = {f"length_{times}x": value for times, value in bits.items()}
        measures |= {f"length_{times}x_rise": bits[times] - bits[1] for times in TIMES[1:]}
        return ProbeResult(measures, next(filter(None, known.values()), ""))

    def obstacle(self, model: Any, tokens: int, times: int, length: int) -> str:
        """Why rows of so many times the training length cannot be read; empty if they can."""
        rows = [part.embedding.num_embeddings - part.offset for part in model.modules()
                if isinstance(part, LearnedPosition)]  # fmt: skip
        if rows and min(rows) < times * length:
            return f"the table of learned positions ends at {min(rows)} tokens, before {times}x the training length"
        if tokens < times * length:
            return f"the validation text has {tokens} tokens, fewer than one row of {times}x the training length"
        return ""

    def seconds(self, config: Any, run_args: Any, evaluation_seconds: float) -> float:
        return len(TIMES) * evaluation_seconds


def joined_tokens(run: ProbedRun) -> tuple[list[int], int]:
    """The validation documents with the end-of-sequence token after each and before the first, and the UTF-8 bytes of
    the text."""
    texts = [row["text"] for row in iterate_rows(run.data.splits["validation"])]
    documents = encode_documents({"text": texts}, run.tokenizer)
    return [run.tokenizer.eos_token_id, *chain.from_iterable(documents)], sum(len(text.encode()) for text in texts)


def bits_per_byte(run: ProbedRun, tokens: list[int], length: int, size: int) -> float:
    rows = list(split_into_rows(tokens, length, padding=run.tokenizer.eos_token_id))
    ids, labels = (torch.tensor(column) for column in zip(*rows, strict=True))
    nats, _ = summed_losses(run.model, ids, labels)
    return nats / math.log(2) / size
