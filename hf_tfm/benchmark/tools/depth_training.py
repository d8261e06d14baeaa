"""Train a narrow, deep decoder, and record what shows whether its depth trains well: losses and gradients by layer.

Legend: L layers, T tokens in a sequence."""

import math
import tempfile
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback, set_seed

from hf_tfm.modeling.configuration_tfm import TfmDecoderConfig
from hf_tfm.modeling.loss import IGNORE_INDEX
from hf_tfm.modeling.modeling_tfm_decoder import TfmDecoderForCausalLM
from hf_tfm.training.arguments.data_arguments import DataArguments
from hf_tfm.training.arguments.task_arguments import TaskArguments
from hf_tfm.training.arguments.training_arguments import TfmTrainingArguments
from hf_tfm.training.data.sources import load_data
from hf_tfm.training.data.tokenizer import train_tokenizer
from hf_tfm.training.loop.trainer import TfmTrainer
from hf_tfm.training.objectives.causal_lm import CausalLM

__all__ = ["VARIANTS", "DepthData", "DepthSettings", "train_variant", "unigram_nats_per_token"]

# variants of residual and norm; "post" is the control for "deepnorm"
VARIANTS = ("pre", "deepnorm", "post")
# documents of the validation split that are scored during training, to see whether the loss still falls
VALIDATION_DOCUMENTS = 60
VALIDATIONS = 6
MAX_MUON_RATE = 0.02
# How far all branches together may change the residual stream in one step of Muon, where 1 is the size of the stream:
# Muon's rate times the weight of a branch times 2 L branches. The same for every depth. With post-norm a larger change
# makes the stream grow along the layers, and the first layer's gradient outgrow the last's.
PRE_CHANGE, POST_CHANGE = 0.24, 0.48


@dataclass(frozen=True)
class DepthSettings:
    """Settings that all variants of an experiment share. Sizes in elements or tokens."""

    layers: int = 200
    hidden_size: int = 64
    heads: int = 4
    steps: int = 300
    batch_size: int = 8
    block_size: int = 128
    vocab_size: int = 2048
    learning_rate: float = 0.01
    warmup_steps: int = 20
    logging_steps: int = 10
    seed: int = 0


def variant_fields(variant: str, layers: int, hidden_size: int) -> dict[str, Any]:
    """Fields of the configuration."""
    if variant == "pre":
        # branches weighted by 1/L, so that Muon's rate is that of a shallow model; Dey et al. 2025, arXiv:2505.01618
        branch_weight = min(1.0, PRE_CHANGE / (2 * layers * MAX_MUON_RATE))
        return {"residual_type": "pre", "depth_scaling": "scaled", "residual_scale": branch_weight}
    if variant == "deepnorm":
        return {"residual_type": "post", "depth_scaling": "deepnorm"}
    # DeepNorm with alpha = beta = 1, which is the original Transformer with its Xavier initialisation
    return {"residual_type": "post", "depth_scaling": "none", "initializer_range": hidden_size**-0.5}


def muon_learning_rate(variant: str, layers: int) -> float:
    """Muon's peak rate. DeepNorm fixes the weight of a branch at 1/alpha with alpha = (2 L)^(1/4); the rate must supply
    the rest of the factor 1/L."""
    return MAX_MUON_RATE if variant == "pre" else min(MAX_MUON_RATE, POST_CHANGE / (2 * layers) ** 0.75)


class DepthData:
    """Python's own documentation in sequences of T tokens, and the loss of constant predictions on its test split."""

    def __init__(self, settings: DepthSettings) -> None:
        objective = CausalLM(TaskArguments(block_size=settings.block_size), settings.seed)
        self.data = load_data(objective, DataArguments(), settings.seed, VALIDATION_DOCUMENTS)
        self.tokenizer = train_tokenizer(self.data.texts("train"), settings.vocab_size, settings.block_size)
        self.rows = objective.examples(self.data.splits, self.tokenizer, num_proc=None)
        self.unigram = unigram_nats_per_token(self.label_counts("train"), self.label_counts("test"))

    def label_counts(self, split: str) -> torch.Tensor:
        """How often each token of the vocabulary is predicted in a split."""
        labels = torch.tensor(self.rows[split]["labels"])[:, 1:]
        return torch.bincount(labels[labels != IGNORE_INDEX], minlength=len(self.tokenizer)).double()


def unigram_nats_per_token(train_counts: torch.Tensor, test_counts: torch.Tensor) -> dict[str, float]:
    """Losses of predictions that ignore the context. `entropy`: of the test counts, the lowest that any constant
    prediction reaches on them. `cross_entropy`: of the training counts plus one, on the test counts."""
    test = test_counts / test_counts.sum()
    prediction = (train_counts + 1) / (train_counts + 1).sum()
    return {"entropy": float(torch.special.entr(test).sum()), "cross_entropy": float(-(test * prediction.log()).sum())}


class GradientNormCallback(TrainerCallback):
    """Records the gradient norm of every layer at every logged step, before the optimiser step. A gradient that is not
    finite ends the run; `first_nonfinite_step` is its step."""

    def __init__(self, settings: DepthSettings, description: str) -> None:
        self.settings, self.description = settings, description
        self.first_nonfinite_step: int | None = None
        self.gradient_norms: dict[int, list[float]] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress = tqdm(total=args.max_steps, desc=self.description, unit="step")

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        norms = [gradient_norm(layer) for layer in model.base_model.layers]
        step = state.global_step + 1
        if step == 1 or step % self.settings.logging_steps == 0:
            self.gradient_norms[step] = norms
        if not math.isfinite(sum(norms)):
            self.first_nonfinite_step = self.first_nonfinite_step or step
            control.should_training_stop = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress.update()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.progress.set_postfix({name: f"{value:.3f}" for name, value in logs.items() if name == "loss"})

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.progress.close()


def gradient_norm(layer: nn.Module) -> float:
    """The norm of all gradients of a layer, as one vector."""
    gradients = [parameter.grad for parameter in layer.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients))


def build_model(variant: str, settings: DepthSettings, tokenizer: Any) -> TfmDecoderForCausalLM:
    """A decoder with random weights. A norm scales embeddings to 1 per element, whatever the table's initialisation:
    the first layers then see a stream as large as the last, and their gradients are comparable."""
    config = TfmDecoderConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.block_size,
        embedding_norm="after_positions",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **variant_fields(variant, settings.layers, settings.hidden_size),
    )
    return TfmDecoderForCausalLM(config)


def training_arguments(variant: str, settings: DepthSettings, output_dir: str) -> TfmTrainingArguments:
    return TfmTrainingArguments(
        output_dir=output_dir,
        seed=settings.seed,
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        muon_learning_rate=muon_learning_rate(variant, settings.layers),
        warmup_steps=settings.warmup_steps,
        # both optimisers ignore the size of the gradient; without clipping the recorded norms are those of the loss
        max_grad_norm=0.0,
        logging_steps=settings.logging_steps,
        logging_first_step=True,
        logging_nan_inf_filter=False,
        eval_steps=max(1, settings.steps // VALIDATIONS),
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def train_variant(variant: str, settings: DepthSettings, data: DepthData) -> dict[str, Any]:
    """Train one variant. Returns its losses in nats per token, gradient norms by layer, and seconds."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        arguments = training_arguments(variant, settings, folder)
        set_seed(settings.seed)
        model = build_model(variant, settings, data.tokenizer)
        trainer = TfmTrainer(model, arguments, data.data, data.rows, data.tokenizer)
        recorder = GradientNormCallback(settings, f"{variant}, {settings.layers} layers")
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(recorder)
        trainer.train()
        test = trainer.evaluate_split("test", "test")["test_nats_per_token"]
    history = trainer.state.log_history
    return {
        "config_fields": variant_fields(variant, settings.layers, settings.hidden_size),
        "muon_learning_rate": arguments.muon_learning_rate,
        "parameters": model.num_parameters(),
        "seconds": time.perf_counter() - started,
        "loss": values_by_step(history, "loss"),
        "validation": values_by_step(history, "eval_nats_per_token"),
        "gradient_norms": {str(step): norms for step, norms in recorder.gradient_norms.items()},
        "first_nonfinite_step": recorder.first_nonfinite_step,
        "test": test,
    }


def values_by_step(history: list[dict[str, Any]], key: str) -> dict[str, float]:
    """Step -> value, for the entries of a log that have `key`. Steps are strings, as in JSON."""
    return {str(entry["step"]): entry[key] for entry in history if key in entry}
