"""How a run trains: Hugging Face's own arguments with measured defaults, and the few choices that are ours."""

import dataclasses
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Literal

import torch
from transformers import IntervalStrategy, SchedulerType, Seq2SeqTrainingArguments
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import OptimizerNames

__all__ = ["LEARNING_RATES", "TASKS", "TfmTrainingArguments"]

# Peak rates of AdamW by word of --optimizer: embeddings and norms, its share beside Muon, bear a higher one.
LEARNING_RATES = {"muon": 0.01, "adamw": 3e-3, "trainer": 5e-5}
TASKS = (
    "causal-lm", "masked-lm", "denoising", "seq2seq", "sequence-classification", "token-classification",
    "question-answering", "multiple-choice", "chat",
)  # fmt: skip
# Optimiser steps that show a task's learning in about three minutes on two cores.
MAX_STEPS = 400
MAX_STEPS_OF_TASK = {"seq2seq": 1200, "multiple-choice": 1200}
MAX_STEPS_HELP = ", ".join(f"{task} {steps}" for task, steps in MAX_STEPS_OF_TASK.items())
# Words of --report_to that are names of packages, too.
REPORT_TO_PACKAGES = (
    "tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "neptune", "clearml", "codecarbon", "dagshub", "dvclive",
    "swanlab",
)  # fmt: skip
TRANSFORMERS_FIELDS = {item.name: item for item in dataclasses.fields(Seq2SeqTrainingArguments)}
# The host's own descriptions, for fields of which only the default is ours.
TRANSFORMERS_HELP = {name: dict(item.metadata) for name, item in TRANSFORMERS_FIELDS.items()}


@dataclass
class TfmTrainingArguments(Seq2SeqTrainingArguments):
    """The host's arguments with defaults for a small model on two CPU cores. A task may change defaults: see
    `defaults` of its objective; `--task WORD --help` shows them."""

    _argument_group_name = "training (all of Hugging Face's Seq2SeqTrainingArguments, and some of our own)"

    task: str = field(default="causal-lm", metadata={"help": f"What the model learns: {', '.join(TASKS)}."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the model, its card and all results; unset: runs/<task>."}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Start afresh in an output_dir that holds another run; its checkpoints are deleted."},
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "A checkpoint folder to go on from; unset: the last whole one of this same run, if any."},
    )
    prompt: list[str] | None = field(
        default=None, metadata={"help": "Inputs that are shown to the model before, during and after training."}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Validation rows measured during training; unset: all. The end takes all."}
    )
    optimizer: Literal["muon", "adamw", "trainer"] = field(
        default="muon",
        metadata={"help": "muon (hidden matrices; AdamW for the rest), adamw (all) or trainer (as --optim says)."},
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Peak rate of AdamW: about the change of one element in one step; unset: "
            + ", ".join(f"{rate:g} with --optimizer {word}" for word, rate in LEARNING_RATES.items())
            + "."
        },
    )
    muon_learning_rate: float = field(
        default=0.02, metadata={"help": "Peak rate of Muon: spectral norm of a square matrix' change in one step."}
    )
    muon_momentum: float = field(
        default=0.95, metadata={"help": "Muon: share of the running mean of gradients that survives a step, 0 to 1."}
    )
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Share of the running mean of weights that survives a step; 0: none is kept. It is measured "
                  "and saved in place of the last weights."},
    )  # fmt: skip
    weight_decay: float = field(
        default=0.1,
        metadata={"help": "Decay of hidden matrices: the share lost in one step is this times the learning rate."},
    )
    adam_beta2: float = field(default=0.95, metadata=TRANSFORMERS_HELP["adam_beta2"])
    lr_scheduler_type: SchedulerType | str = field(
        default="warmup_stable_decay", metadata=TRANSFORMERS_HELP["lr_scheduler_type"]
    )
    warmup_steps: float = field(default=20, metadata=TRANSFORMERS_HELP["warmup_steps"])
    decay_fraction: float = field(
        default=0.6,
        metadata={"help": "Share of all steps over which the rate falls linearly to 0 (warmup_stable_decay only)."},
    )
    max_steps: int | None = field(
        default=None,
        metadata={
            "help": f"Optimiser steps; unset: {MAX_STEPS}, or as --num_train_epochs says. Other: {MAX_STEPS_HELP}."
        },
    )
    num_train_epochs: float = field(default=0.0, metadata={"help": "Passes over the training data, instead of steps."})
    per_device_train_batch_size: int = field(default=16, metadata=TRANSFORMERS_HELP["per_device_train_batch_size"])
    per_device_eval_batch_size: int = field(default=32, metadata=TRANSFORMERS_HELP["per_device_eval_batch_size"])
    logging_steps: float = field(default=20, metadata=TRANSFORMERS_HELP["logging_steps"])
    eval_strategy: IntervalStrategy | str = field(default="steps", metadata=TRANSFORMERS_HELP["eval_strategy"])
    eval_steps: float | None = field(default=100, metadata=TRANSFORMERS_HELP["eval_steps"])
    save_steps: float = field(default=200, metadata=TRANSFORMERS_HELP["save_steps"])
    save_total_limit: int | None = field(default=1, metadata=TRANSFORMERS_HELP["save_total_limit"])
    include_num_input_tokens_seen: str = field(
        default="non_padding", metadata=TRANSFORMERS_HELP["include_num_input_tokens_seen"]
    )
    bf16: bool = field(
        default=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        metadata={"help": "Compute in bfloat16 over float32 weights; the default where a GPU has it."},
    )
    dataloader_pin_memory: bool = field(
        default=torch.cuda.is_available(), metadata=TRANSFORMERS_HELP["dataloader_pin_memory"]
    )
    # examples hold what their collator reads, which is more than the model does
    remove_unused_columns: bool = field(default=False, metadata=TRANSFORMERS_HELP["remove_unused_columns"])
    # every task uses all of its model's weights, and looking for others costs a walk over the graph in each step
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata=TRANSFORMERS_HELP["ddp_find_unused_parameters"]
    )
    tp_size: int = field(default=1, metadata={"help": "Processes that share each layer's heads and units (torchrun)."})
    fsdp_size: int = field(
        default=1, metadata={"help": "Processes that share the weights, gathered block by block (torchrun; FSDP2)."}
    )

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ValueError(f"--task {self.task} is unknown; known tasks: {', '.join(TASKS)}.")
        self.output_dir = self.output_dir or f"runs/{self.task}"
        if self.max_steps is None:
            self.max_steps = -1 if self.num_train_epochs > 0 else MAX_STEPS_OF_TASK.get(self.task, MAX_STEPS)
        if self.learning_rate is None:
            self.learning_rate = LEARNING_RATES[self.optimizer]
        super().__post_init__()
        self.check_fractions()
        self.check_optimizer()
        self.check_sharding()
        self.check_report_to()

    def check_report_to(self) -> None:
        """Raises ValueError for a place to report to whose package is missing: the host would say so once the data are
        read and the model is built."""
        missing = [name for name in REPORT_TO_PACKAGES if name in (self.report_to or ()) and find_spec(name) is None]
        if missing:
            raise ValueError(f"--report_to {' '.join(missing)} needs a package: pip install {' '.join(missing)}")

    def check_fractions(self) -> None:
        """Raises ValueError for a share outside [0, 1], and for running means of weights that never move."""
        if not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"--decay_fraction is a share of all steps, from 0 to 1, got {self.decay_fraction}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema_decay is a share from 0 to below 1, got {self.ema_decay}; usual is 0.999.")

    def check_optimizer(self) -> None:
        """Raises ValueError where two options name two optimisers."""
        if self.optimizer != "trainer" and self.optim != OptimizerNames(TRANSFORMERS_FIELDS["optim"].default):
            raise ValueError(
                f"--optim {OptimizerNames(self.optim).value} is Trainer's own choice, but --optimizer is "
                f"{self.optimizer}; add --optimizer trainer to use it."
            )

    def check_sharding(self) -> None:
        """Raises ValueError for what the host cannot do with weights that --fsdp_size or --tp_size spread."""
        asked = [f"--{name} {size}" for name in ("fsdp_size", "tp_size") if (size := getattr(self, name)) > 1]
        if not asked:
            return
        if self.save_strategy != SaveStrategy.NO and not self.save_only_model:
            raise ValueError(
                f"{asked[0]} spreads the weights while they are loaded, and such a run cannot be gone on from: add "
                "--save_only_model, or shard by accelerate instead (hf_tfm/training/configs/fsdp2.yaml)."
            )
        if self.optimizer == "muon":
            raise ValueError(f"--optimizer muon needs whole matrices, and {asked[0]} splits them; use adamw.")
