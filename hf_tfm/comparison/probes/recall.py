"""Multi-query associative recall: a small model of the arm's design learns to look up what it has read."""

import io
import tempfile
from contextlib import redirect_stdout
from typing import Any

import torch
from torch.utils.data import TensorDataset
from transformers import EvalPrediction, Trainer, TrainerCallback, set_seed

from hf_tfm.modeling.loss import IGNORE_INDEX
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.loop.optimizers import make_optimizer

from ..step_clock import MEASURED_STEPS, StepClock
from .base import Probe, ProbedRun, ProbeResult

__all__ = ["Recall", "recall_sequences", "small_config"]

# Ids below KEYS are keys, the next VALUES are values.
KEYS, VALUES, PAIRS = 16, 16, 8
BATCH, HELD_OUT = 64, 256
# At this rate of embeddings two and four layers learn it in 100 to 150 steps; at half of it four layers do not in 400.
# Training ends where it has been learned.
LEARNING_RATE = 0.02
STEPS, EVAL_STEPS, LEARNED = 400, 50, 0.99
# Least width of a head and of the model, so that it takes seconds.
HEAD_DIM, WIDTH = 16, 64
WIDTH_FIELDS = (
    "hidden_size", "embedding_size", "intermediate_size", "moe_intermediate_size", "shared_expert_intermediate_size",
)  # fmt: skip
# what belongs to another vocabulary, or to files
OTHER_FIELDS = (
    "architectures", "auto_map", "dtype", "origin", "pad_token_id", "bos_token_id", "eos_token_id",
)  # fmt: skip


class Recall(Probe):
    """Accuracy on held-out sequences of pairs of a key and a value, followed by the keys in another order, each to be
    answered by its value. The model is new: the arm's configuration with narrow heads and a small vocabulary, trained
    by Muon at one rate for all arms.   Arora et al. 2023, arXiv:2312.04927.

    A key does not say where its pair stands, and the value is not in the vector of its key, so that one layer, which
    sees which values there are, gets one of PAIRS right; a second layer reads what the first put beside each value, as
    an induction head does (Olsson et al. 2022, arXiv:2209.11895)."""

    name = "recall"
    labels = {
        "recall_accuracy": f"right answers from pairs that were read, after at most {STEPS} steps; chance: {1 / PAIRS}"
    }

    def measure(self, run: ProbedRun) -> ProbeResult:
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(run.config, run.seed, folder, run.run_args.training.use_cpu)
            trainer.add_callback(StopWhenLearned())
            trainer.train()
            return ProbeResult({"recall_accuracy": trainer.evaluate()["eval_recall_accuracy"]})

    def seconds(self, config: Any, run_args: Any, evaluation_seconds: float) -> float:
        """Measured on a few steps, for a model that never learns it."""
        with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
            trainer = make_trainer(config, 0, folder, run_args.training.use_cpu, MEASURED_STEPS)
            trainer.add_callback(clock := StepClock())
            trainer.train()
        return clock.step_seconds * STEPS


def recall_sequences(count: int, seed: int) -> TensorDataset:
    """Ids (count, 3 PAIRS + 1) and labels: key, value, key, value ..., then the keys in another order. As everywhere in
    causal language models, the answer to an id is the label of the place after it, so that one more id follows."""
    generator = torch.Generator().manual_seed(seed)

    def draw(choices: int) -> torch.Tensor:
        # PAIRS different numbers
        return torch.rand(count, choices, generator=generator).argsort(-1)[:, :PAIRS]

    keys, values, order = draw(KEYS), draw(VALUES) + KEYS, draw(PAIRS)
    pairs = torch.stack((keys, values), -1).flatten(1)
    last = torch.zeros(count, 1, dtype=torch.long)
    ids = torch.cat((pairs, keys.gather(1, order), last), 1)
    unanswered = torch.full((count, 2 * PAIRS + 1), IGNORE_INDEX)
    return TensorDataset(ids, torch.cat((unanswered, values.gather(1, order)), 1))


def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
    ids, labels = (torch.stack(column) for column in zip(*rows, strict=True))
    return {"input_ids": ids, "labels": labels}


def small_config(config: Any) -> Any:
    """The configuration with narrow heads, all widths in proportion, and the vocabulary of the sequences. Heads that
    are as narrow already stay as they are."""
    heads = config.num_attention_heads
    head_dim = max(HEAD_DIM, 2 * -(-WIDTH // (2 * heads)))
    ratio = min(1.0, head_dim / config.head_dim)
    fields = {name: value for name, value in config.to_dict().items() if name not in OTHER_FIELDS}
    widths = {name: max(2, 2 * round(fields[name] * ratio / 2)) for name in WIDTH_FIELDS if fields.get(name)}
    sizes = {"head_dim": min(head_dim, config.head_dim), "vocab_size": KEYS + VALUES}
    return type(config).from_dict(fields | widths | sizes | {"max_position_embeddings": 3 * PAIRS + 1})


def make_trainer(config: Any, seed: int, folder: str, use_cpu: bool, steps: int | None = None) -> Trainer:
    """transformers' Trainer with a new model, new sequences in every step, and Muon."""
    steps = steps or STEPS
    args = TfmTrainingArguments(
        output_dir=folder, seed=seed, max_steps=steps, learning_rate=LEARNING_RATE, lr_scheduler_type="linear",
        per_device_train_batch_size=BATCH,
        eval_steps=EVAL_STEPS, per_device_eval_batch_size=HELD_OUT, save_strategy="no", logging_strategy="no",
        report_to=[], disable_tqdm=True, bf16=False, use_cpu=use_cpu, include_num_input_tokens_seen="no",
    )  # fmt: skip
    set_seed(seed)
    model = TfmDecoderForCausalLM(small_config(config))
    return Trainer(
        model, args, collate, recall_sequences(steps * BATCH, 2 * seed), recall_sequences(HELD_OUT, 2 * seed + 1),
        compute_metrics=recall_accuracy, optimizers=(make_optimizer(model, args), None),
        preprocess_logits_for_metrics=lambda logits, labels: logits.argmax(-1),
    )  # fmt: skip


def recall_accuracy(prediction: EvalPrediction) -> dict[str, float]:
    """Share of the answers that are right."""
    answers, labels = prediction.predictions[:, :-1], prediction.label_ids[:, 1:]  # pyright: ignore[reportArgumentType, reportCallIssue]
    return {"recall_accuracy": float((answers == labels)[labels != IGNORE_INDEX].mean())}


class StopWhenLearned(TrainerCallback):
    """Ends training at an evaluation in which nearly all answers are right."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        control.should_training_stop = metrics["eval_recall_accuracy"] >= LEARNED
