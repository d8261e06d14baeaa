"""One experiment on depth: train a narrow decoder of many blocks, and keep what shows whether its depth is sound.

Legend: L blocks, T tokens in a row."""

import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback, set_seed

from hf_tfm.modeling.configuration_tfm import TfmDecoderConfig
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM
from hf_tfm.training.arguments import DataArguments, TaskArguments
from hf_tfm.training.metrics import IGNORE_INDEX
from hf_tfm.training.objectives.causal_lm import CausalLM
from hf_tfm.training.settings import TrainSettings
from hf_tfm.training.sources import load_data
from hf_tfm.training.tokenizer import train_tokenizer
from hf_tfm.training.trainer import TfmTrainer

__all__ = ["WIRINGS", "DepthSettings", "Text", "train_wiring"]

# Documents of the validation split that are scored on the way, to see whether the loss still falls.
VALIDATION_DOCUMENTS = 60
VALIDATIONS = 6
MUON_RATE = 0.02
# What all branches together may change the residual stream by in one step of Muon, 1 being the stream's own size: the
# rate of a matrix times the weight of its branch times the 2 L branches. The same for every depth. Without a norm
# after the sum, more makes the stream grow along the blocks, and the first block's gradient outgrow the last's.
PRE_CHANGE, POST_CHANGE = 0.24, 0.48


class Wiring(NamedTuple):
    """Words of the configuration, from the number of blocks and the width, and Muon's peak rate, from the former."""

    words: Callable[[int, int], dict[str, Any]]
    muon_learning_rate: Callable[[int], float]


def pre_words(blocks: int, width: int) -> dict[str, Any]:
    """Branches weighted by 1/L, so that Muon's rate is that of a shallow model.   Dey et al. 2025, arXiv:2505.01618."""
    weight = min(1.0, PRE_CHANGE / (2 * blocks * MUON_RATE))
    return {"residual_type": "pre", "depth_scaling": "scaled", "residual_scale": weight}


def deepnorm_words(blocks: int, width: int) -> dict[str, Any]:
    return {"residual_type": "post", "depth_scaling": "deepnorm"}


def post_words(blocks: int, width: int) -> dict[str, Any]:
    """The control: deepnorm with alpha = beta = 1, which leaves the original's Xavier weights."""
    return {"residual_type": "post", "depth_scaling": "none", "initializer_range": width**-0.5}


def deepnorm_rate(blocks: int) -> float:
    """deepnorm fixes a branch's weight at 1/alpha, alpha = (2 L)^(1/4), so the rate carries the rest of 1/L."""
    return min(MUON_RATE, POST_CHANGE / (2 * blocks) ** 0.75)


WIRINGS: dict[str, Wiring] = {
    "pre": Wiring(pre_words, lambda blocks: MUON_RATE),
    "deepnorm": Wiring(deepnorm_words, deepnorm_rate),
    "post": Wiring(post_words, deepnorm_rate),
}


@dataclass(frozen=True)
class DepthSettings:
    """What all wirings of one experiment share. Sizes count elements or tokens."""

    blocks: int = 200
    hidden_size: int = 64
    heads: int = 4
    steps: int = 300
    batch_size: int = 8
    block_size: int = 128
    vocab_size: int = 2048
    learning_rate: float = 0.01
    warmup_steps: int = 20
    log_every: int = 10
    seed: int = 0


class Text:
    """The documentation that Python carries, in rows of T tokens, and what constants reach on its test split."""

    def __init__(self, settings: DepthSettings) -> None:
        objective = CausalLM(TaskArguments(block_size=settings.block_size), settings.seed)
        self.data = load_data(objective, DataArguments(), settings.seed, VALIDATION_DOCUMENTS)
        self.tokenizer = train_tokenizer(self.data.texts("train"), settings.vocab_size, settings.block_size)
        self.rows = objective.examples(self.data.splits, self.tokenizer, num_proc=None)
        self.unigram = unigram_nats(*(self.counts(split) for split in ("train", "test")))

    def counts(self, split: str) -> torch.Tensor:
        """How often each token of the vocabulary is predicted in a split."""
        labels = torch.tensor(self.rows[split]["labels"])[:, 1:]
        return torch.bincount(labels[labels != IGNORE_INDEX], minlength=len(self.tokenizer)).double()


def unigram_nats(learnt: torch.Tensor, scored: torch.Tensor) -> dict[str, float]:
    """Nats per token of predictions that ignore the context: `entropy`, the best that any constant prediction reaches
    on the scored counts, and `learnt`, by the training counts plus one."""
    share = scored / scored.sum()
    guess = (learnt + 1) / (learnt + 1).sum()
    return {"entropy": float(torch.special.entr(share).sum()), "learnt": float(-(share * guess.log()).sum())}


class DepthRecorder(TrainerCallback):
    """Gradient norm of every block at every logged step, taken before the optimiser sees it. A gradient that is not
    finite ends the run and leaves its step in `broken_at`."""

    def __init__(self, settings: DepthSettings, name: str) -> None:
        self.settings, self.name = settings, name
        self.broken_at: int | None = None
        self.gradient_norms: dict[int, list[float]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar = tqdm(total=args.max_steps, desc=f"{self.name}, {self.settings.blocks} blocks", unit="step")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        norms = [gradient_norm(block) for block in model.base_model.layers]
        step = state.global_step + 1
        if step == 1 or step % self.settings.log_every == 0:
            self.gradient_norms[step] = norms
        if not math.isfinite(sum(norms)):
            self.broken_at = self.broken_at or step
            control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.bar.set_postfix({name: f"{value:.3f}" for name, value in logs.items() if name == "loss"})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.bar.close()


def gradient_norm(block: nn.Module) -> float:
    """The norm of all gradients of a block, as one vector."""
    gradients = [parameter.grad for parameter in block.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def build(wiring: Wiring, settings: DepthSettings, tokenizer: Any) -> TfmDecoderForCausalLM:
    """A decoder with random weights. Word vectors start with length 1 per element, whatever the table's: the first
    blocks then see a stream as large as the last, and their gradients stay comparable."""
    config = TfmDecoderConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.blocks,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.block_size,
        embedding_norm="after_positions",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **wiring.words(settings.blocks, settings.hidden_size),
    )
    return TfmDecoderForCausalLM(config)


def train_settings(wiring: Wiring, settings: DepthSettings, folder: str) -> TrainSettings:
    return TrainSettings(
        output_dir=folder,
        seed=settings.seed,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        muon_learning_rate=wiring.muon_learning_rate(settings.blocks),
        warmup_steps=settings.warmup_steps,
        # Both optimisers ignore the gradient's size; unclipped, the recorded norms are the loss' own.
        max_grad_norm=0.0,
        logging_steps=settings.log_every,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_steps=max(1, settings.steps // VALIDATIONS),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def train_wiring(name: str, settings: DepthSettings, text: Text) -> dict[str, Any]:
    """Train one wiring and return what happened: losses in nats per token, gradient norms per block, seconds."""
    wiring, started = WIRINGS[name], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        trained = train_settings(wiring, settings, folder)
        set_seed(settings.seed)
        model = build(wiring, settings, text.tokenizer)
        trainer = TfmTrainer(model, trained, text.data, text.rows, text.tokenizer)
        recorder = DepthRecorder(settings, name)
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(recorder)
        trainer.train()
        test = trainer.evaluate_split("test", "test")["test_nats_per_token"]
    history = trainer.state.log_history
    return {
        "words": wiring.words(settings.blocks, settings.hidden_size),
        "muon_learning_rate": trained.muon_learning_rate,
        "parameters": model.num_parameters(),
        "seconds": time.perf_counter() - started,
        "loss": of_steps(history, "loss"),
        "validation": of_steps(history, "eval_nats_per_token"),
        "gradient_norms": {str(step): norms for step, norms in recorder.gradient_norms.items()},
        "broken_at": recorder.broken_at,
        "test": test,
    }


def of_steps(history: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Step -> value, for the entries of a log that have `key`. Steps are text, as JSON has them."""
    return {str(entry["step"]): entry[key] for entry in history if key in entry}
