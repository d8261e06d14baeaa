"""Options for training: Seq2SeqTrainingArguments of transformers with measured defaults and some additional fields."""

import dataclasses
import os
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Literal

import torch
from transformers import IntervalStrategy, SchedulerType, Seq2SeqTrainingArguments
from transformers.trainer_utils import SaveStrategy
from transformers.training_args import OptimizerNames
from transformers.utils.import_utils import is_torch_greater_or_equal

from hf_tfm.privacy import shareable

__all__ = ["LEARNING_RATES", "TfmTrainingArguments"]

# Peak learning rate of AdamW for each --optimizer. With muon, AdamW trains only embeddings, norms and biases, which
# allow a higher rate.
LEARNING_RATES = {"muon": 0.01, "adamw": 3e-3, "trainer": 5e-5}
# Optimizer steps after which most tasks have learned from the built-in data, in about three minutes on two CPU cores.
MAX_STEPS = 400
# Steps between two evaluations, unless the length of the run follows the data.
EVAL_STEPS = 100
# Values of --report_to that are also names of packages.
REPORT_TO_PACKAGES = (
    "tensorboard", "wandb", "trackio", "mlflow", "comet_ml", "neptune", "clearml", "codecarbon", "dagshub", "dvclive",
    "swanlab",
)  # fmt: skip
TRANSFORMERS_FIELDS = {item.name: item for item in dataclasses.fields(Seq2SeqTrainingArguments)}
# Help texts of transformers, for fields of which only the default is different here.
TRANSFORMERS_HELP = {name: dict(item.metadata) for name, item in TRANSFORMERS_FIELDS.items()}


def is_launched_with(backend: str) -> bool:
    """Whether `accelerate launch` started this process with FSDP or DEEPSPEED."""
    return os.environ.get(f"ACCELERATE_USE_{backend}", "false").lower() == "true"


@dataclass
class TfmTrainingArguments(Seq2SeqTrainingArguments):
    """Training arguments with defaults for a small model on two CPU cores. A task can change them, see
    `Objective.default_arguments`."""

    _argument_group_name = "training (all fields of transformers.Seq2SeqTrainingArguments, and some additional ones)"

    task: str = field(default="causal-lm", metadata={"help": "What the model learns; the tasks are listed at the end."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the model, its card and all results; unset: runs/<task>."}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Start again in an --output_dir that holds another run; deletes its checkpoints."},
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={"help": "Checkpoint folder to resume from; unset: the last whole one of the same run, if any."},
    )
    hub_license: str | None = field(
        default=None, metadata={"help": "Licence of the model in its card, as the Hub writes it, such as apache-2.0."}
    )
    prompt: list[str] | None = field(
        default=None, metadata={"help": "Inputs for which outputs are shown before, during and after training."}
    )
    max_eval_samples: int | None = field(
        default=None,
        metadata={
            "help": "Validation rows that are evaluated during training; unset: all. The final evaluation uses all."
        },
    )
    inspect_page: bool = field(
        default=True,
        metadata={"help": "Write inspect.html beside the model card: the model from inside, on the first sample."},
    )
    report: bool = field(
        default=True,
        metadata={"help": "Write the card with its plot, baselines, samples and inspect.html. Without: results only."},
    )
    optimizer: Literal["muon", "adamw", "trainer"] = field(
        default="muon",
        metadata={"help": "muon (hidden matrices; AdamW for the rest), adamw (everything) or trainer (see --optim)."},
    )
    learning_rate: float | None = field(
        default=None,
        metadata={
            "help": "Peak learning rate of AdamW; unset: "
            + ", ".join(f"{rate:g} with --optimizer {name}" for name, rate in LEARNING_RATES.items())
            + "."
        },
    )
    muon_learning_rate: float = field(
        default=0.02, metadata={"help": "Peak learning rate of Muon: spectral norm of the update of a square matrix."}
    )
    muon_momentum: float = field(default=0.95, metadata={"help": "Momentum of Muon, 0 to 1."})
    ema_decay: float = field(
        default=0.0,
        metadata={"help": "Decay of an exponential moving average of the weights, which is evaluated and saved instead "
                  "of the last weights; usual is 0.999; 0: none."},
    )  # fmt: skip
    on_spike: Literal["none", "log", "skip", "stop"] = field(
        default="none",
        metadata={"help": "What to do when loss or gradient norm of a step is 6 standard deviations above those of the "
                  "last 100: log it with its batch (_spikes.jsonl), and then skip its update or stop the run."},
    )  # fmt: skip
    weight_decay: float = field(
        default=0.1, metadata={"help": "Weight decay of hidden matrices; the rest of the weights has none."}
    )
    adam_beta2: float = field(default=0.95, metadata=TRANSFORMERS_HELP["adam_beta2"])
    lr_scheduler_type: SchedulerType | str = field(
        default="warmup_stable_decay", metadata=TRANSFORMERS_HELP["lr_scheduler_type"]
    )
    warmup_steps: float = field(default=20, metadata=TRANSFORMERS_HELP["warmup_steps"])
    decay_fraction: float = field(
        default=0.6,
        metadata={
            "help": "warmup_stable_decay: fraction of all steps in which the learning rate decays linearly to 0."
        },
    )
    max_steps: int | None = field(
        default=None,
        metadata={"help": "Optimizer steps; unset: as many as --num_train_epochs takes, else by the size of your data, "
                  f"with early stopping; built-in data: {MAX_STEPS}."},
    )  # fmt: skip
    num_train_epochs: float = field(
        default=0.0, metadata={"help": "Epochs, instead of a number of steps; 0: see --max_steps."}
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={"help": "Evaluations without improvement on the validation split after which training stops and the "
                  "best weights are taken; 0: never; unset: 5 if the length follows your data, else never."},
    )  # fmt: skip
    per_device_train_batch_size: int = field(default=16, metadata=TRANSFORMERS_HELP["per_device_train_batch_size"])
    per_device_eval_batch_size: int = field(default=32, metadata=TRANSFORMERS_HELP["per_device_eval_batch_size"])
    logging_steps: float = field(default=20, metadata=TRANSFORMERS_HELP["logging_steps"])
    eval_strategy: IntervalStrategy | str = field(default="steps", metadata=TRANSFORMERS_HELP["eval_strategy"])
    eval_steps: float | None = field(
        default=None,
        metadata={"help": "Steps between two evaluations; below 1: a fraction of all steps; unset: "
                  f"{EVAL_STEPS}, or a twentieth of a run whose length follows your data."},
    )  # fmt: skip
    save_steps: float = field(default=200, metadata=TRANSFORMERS_HELP["save_steps"])
    save_total_limit: int | None = field(default=1, metadata=TRANSFORMERS_HELP["save_total_limit"])
    include_num_input_tokens_seen: str = field(
        default="non_padding", metadata=TRANSFORMERS_HELP["include_num_input_tokens_seen"]
    )
    bf16: bool = field(
        default=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        metadata={"help": "Compute in bfloat16 with float32 weights; the default on GPUs that support it."},
    )
    dataloader_pin_memory: bool = field(
        default=torch.cuda.is_available(), metadata=TRANSFORMERS_HELP["dataloader_pin_memory"]
    )
    # The collators read columns that the model does not take.
    remove_unused_columns: bool = field(default=False, metadata=TRANSFORMERS_HELP["remove_unused_columns"])
    # Every task uses all weights of its model; searching for unused ones walks the graph in each step.
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata=TRANSFORMERS_HELP["ddp_find_unused_parameters"]
    )
    tp_size: int = field(
        default=1, metadata={"help": "Processes that split each layer (tensor parallelism; start with torchrun)."}
    )
    fsdp_size: int = field(
        default=1, metadata={"help": "Processes that shard the weights (FSDP2; start with torchrun)."}
    )

    def __post_init__(self) -> None:
        self.output_dir = self.output_dir or f"runs/{self.task}"
        # whether the length of a run on the user's data follows the data (see training_length)
        self.length_is_default = self.max_steps is None and self.num_train_epochs <= 0
        self.eval_steps_is_default = self.eval_steps is None
        if self.max_steps is None:
            self.max_steps = -1 if self.num_train_epochs > 0 else MAX_STEPS
        if self.eval_steps is None:
            self.eval_steps = EVAL_STEPS
        if self.learning_rate is None:
            self.learning_rate = LEARNING_RATES[self.optimizer]
        # without it, where there is no accelerator, each of several processes would take itself for the only one
        self.use_cpu = self.use_cpu or not torch.accelerator.is_available()
        super().__post_init__()
        # each process reads a stream itself: accelerate's main process would concatenate the batches of all processes,
        # which fails where their lengths differ
        accelerator_config: Any = self.accelerator_config
        if accelerator_config.dispatch_batches is None:
            accelerator_config.dispatch_batches = False
        self.check_steps()
        self.check_early_stopping()
        self.check_fractions()
        self.check_optimizer()
        self.check_on_spike()
        self.check_sharding()
        self.check_report_to()
        if self.push_to_hub and not self.report:
            raise ValueError("--push_to_hub pushes the card too; leave out --no_report.")

    def __getstate__(self) -> dict[str, Any]:
        """What training_args.bin holds, which people share: no token and no folder of this machine. A copy
        by the module `copy` lacks them too; `dataclasses.replace` keeps them."""
        return shareable(vars(self))

    def to_dict(self) -> dict[str, Any]:
        """What experiment trackers log."""
        return shareable(super().to_dict())

    def check_report_to(self) -> None:
        """Raises ValueError for a missing package. Trainer would do so only after the data are read and the model is
        built."""
        missing = [name for name in REPORT_TO_PACKAGES if name in (self.report_to or ()) and find_spec(name) is None]
        if missing:
            raise ValueError(f"--report_to {' '.join(missing)} needs a package: pip install {' '.join(missing)}")

    def check_steps(self) -> None:
        """Raises ValueError for no steps, and for --enable_jit_checkpoint, whose handler of SIGTERM lets the script go
        on as if training were complete."""
        steps = self.max_steps or 0
        if steps == 0 or (steps < 0 and self.num_train_epochs <= 0):
            raise ValueError(
                f"--max_steps {self.max_steps} and --num_train_epochs {self.num_train_epochs:g} are no steps; give one "
                "of them a number above 0."
            )
        if self.enable_jit_checkpoint:
            raise ValueError(
                "--enable_jit_checkpoint is not needed: train.py saves a checkpoint on SIGTERM too; leave it out."
            )

    def check_early_stopping(self) -> None:
        """Raises ValueError for --early_stopping_patience without evaluations or checkpoints, and with a choice of the
        best weights by transformers."""
        patience = self.early_stopping_patience
        if patience is None:
            return
        if patience < 0:
            raise ValueError(f"--early_stopping_patience must be 0 (never) or more evaluations, got {patience}.")
        if patience and (self.eval_strategy == IntervalStrategy.NO or self.save_strategy == SaveStrategy.NO):
            raise ValueError(
                "--early_stopping_patience evaluates, and saves the best weights; leave out --eval_strategy no and "
                "--save_strategy no."
            )
        if patience and self.load_best_model_at_end:
            raise ValueError(
                "--early_stopping_patience loads the best weights at the end; leave out --load_best_model_at_end."
            )

    def check_fractions(self) -> None:
        """Raises ValueError for fractions outside their range."""
        if not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"--decay_fraction must be from 0 to 1, got {self.decay_fraction}.")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema_decay must be from 0 to below 1, got {self.ema_decay}; usual is 0.999.")

    def check_optimizer(self) -> None:
        """Raises ValueError if --optimizer and --optim select different optimizers."""
        if self.optimizer != "trainer" and self.optim != OptimizerNames(TRANSFORMERS_FIELDS["optim"].default):
            raise ValueError(
                f"--optim {OptimizerNames(self.optim).value} has no effect with --optimizer {self.optimizer}; add "
                "--optimizer trainer to use it."
            )

    def check_on_spike(self) -> None:
        """Raises ValueError for --on_spike with DeepSpeed, which takes the step before it can be skipped."""
        if self.on_spike != "none" and (self.deepspeed or is_launched_with("DEEPSPEED")):
            raise ValueError(f"--on_spike {self.on_spike} does not work with DeepSpeed; use --on_spike none.")

    def check_sharding(self) -> None:
        """Raises ValueError for options that do not work with --fsdp_size or --tp_size."""
        sizes = self.sharding_options()
        if sizes and not is_torch_greater_or_equal("2.8"):
            raise ValueError(f"{sizes[0]} needs torch 2.8 or later, which saves sharded weights; upgrade torch.")
        if sizes and self.optimizer == "muon":
            raise ValueError(f"--optimizer muon needs whole matrices, and {sizes[0]} splits them; use adamw.")

    def sharding_options(self) -> list[str]:
        """Those of --fsdp_size and --tp_size that shard the weights."""
        return [f"--{name} {size}" for name in ("fsdp_size", "tp_size") if (size := getattr(self, name)) > 1]

    @property
    def sharded_by_accelerate(self) -> bool:
        """Whether --fsdp, --deepspeed or a configuration file of accelerate shards the weights."""
        return bool(self.fsdp or self.deepspeed or is_launched_with("FSDP") or is_launched_with("DEEPSPEED"))

    @property
    def rows_per_step(self) -> int:
        """Rows that all processes together read in an optimizer step; those of --tp_size share their rows."""
        return self.train_batch_size * self.gradient_accumulation_steps * max(self.world_size // self.tp_size, 1)
