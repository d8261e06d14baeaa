"""The settings of a run, one dataclass per subject, parsed by the host's HfArgumentParser.

Everything that TrainingArguments knows passes through; only defaults are chosen here, and they are measured ones."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import HfArgumentParser, IntervalStrategy, SchedulerType, TrainingArguments
from transformers.training_args import OptimizerNames

from hf_tfm.modeling.recipes import RECIPES

__all__ = ["DataArguments", "ModelArguments", "TrainSettings", "parse_settings"]

DEFAULT_STEPS = 400
# Peak rates of AdamW by word of --optimizer: embeddings and norms, its share beside Muon, bear a higher one.
LEARNING_RATES = {"muon": 0.01, "adamw": 3e-3, "trainer": 5e-5}
DECODER_RECIPES = ", ".join(name for name, (architectures, _) in RECIPES.items() if "tfm_decoder" in architectures)


@dataclass
class ModelArguments:
    """How the model is built. Sizes count elements."""

    _argument_group_name = "model"

    recipe: str = field(default="llama", metadata={"help": f"Family whose wiring is used: {DECODER_RECIPES}."})
    hidden_size: int = field(default=192, metadata={"help": "Width of the residual stream, elements."})
    num_hidden_layers: int = field(default=4, metadata={"help": "Number of blocks."})
    num_attention_heads: int = field(default=6, metadata={"help": "Query heads; must divide hidden_size."})
    num_key_value_heads: int | None = field(
        default=None, metadata={"help": "Key and value heads; unset: as many as query heads."}
    )
    intermediate_size: int | None = field(
        default=None,
        metadata={"help": "Width of the feed-forward, elements; unset: 8/3 (gated) or 4 (plain) of hidden_size."},
    )
    max_position_embeddings: int | None = field(
        default=None, metadata={"help": "Longest sequence, tokens; unset: block_size."}
    )
    tie_word_embeddings: bool = field(
        default=True, metadata={"help": "Use one table for reading and for predicting tokens."}
    )
    hidden_dropout: float | None = field(
        default=None, metadata={"help": "Probability of dropping an element of a branch, 0 to 1; unset: the recipe's."}
    )
    depth_scaling: Literal["none", "scaled", "deepnorm"] = field(
        default="scaled",
        metadata={"help": "Initial size of the branches: none, scaled (outputs by 1/sqrt(2 blocks)) or deepnorm."},
    )
    config_overrides: str | None = field(
        default=None,
        metadata={"help": 'Any other field of the configuration, as JSON: \'{"residual_type": "sandwich"}\'.'},
    )

    def words(self) -> dict[str, Any]:
        """Keyword arguments for the configuration's `recipe`: what is set here, with `config_overrides` on top.
        Raises ValueError if `config_overrides` is not a JSON object."""
        own = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        given = {key: value for key, value in own.items() if value is not None}
        return {key: value for key, value in given.items() if key not in ("recipe", "config_overrides")} | (
            parse_overrides(self.config_overrides) if self.config_overrides else {}
        )


def parse_overrides(text: str) -> dict[str, Any]:
    """A JSON object as a dictionary. Raises ValueError, with the expected form, for anything else."""
    try:
        overrides = json.loads(text)
    except json.JSONDecodeError as error:
        overrides = error
    if not isinstance(overrides, dict):
        raise ValueError(
            f"--config_overrides must be a JSON object of configuration fields, got {text!r}. "
            'Example: --config_overrides \'{"residual_type": "sandwich", "qk_norm": "head"}\''
        )
    return overrides


@dataclass
class DataArguments:
    """Which text is read and how it is cut. Without a file or a Hub name: the documentation that Python carries."""

    _argument_group_name = "text"

    train_file: list[str] | None = field(
        default=None,
        metadata={"help": "Your own text (UTF-8): .txt, .jsonl, .json, .csv, .tsv, .parquet; files or globs."},
    )
    validation_file: list[str] | None = field(
        default=None, metadata={"help": "Text for evaluation while training; unset: 5 in 100 training documents."}
    )
    test_file: list[str] | None = field(
        default=None, metadata={"help": "Text for the final measurement; unset: 5 in 100 training documents."}
    )
    text_column: str = field(default="text", metadata={"help": "Column that holds the text in tables and JSON."})
    sample_by: Literal["paragraph", "line", "document"] = field(
        default="paragraph",
        metadata={"help": "What one document is in a .txt file: paragraph (blank lines between), line or document."},
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "A data set on the Hub, instead of files. Needs the network or a cached copy."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of that data set."})
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "Folder or Hub name of a ready tokenizer; unset: one is trained on the text."}
    )
    vocab_size: int = field(default=4096, metadata={"help": "Most tokens of a tokenizer trained here, at least 258."})
    block_size: int = field(default=128, metadata={"help": "Length of one row of training text, tokens."})
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that tokenise; unset: this one."}
    )


HOST = {item.name: item for item in dataclasses.fields(TrainingArguments)}
# The host's own descriptions, for fields of which only the default is ours.
HELP = {name: dict(item.metadata) for name, item in HOST.items()}


@dataclass
class TrainSettings(TrainingArguments):
    """The host's TrainingArguments with defaults for a small model on two CPU cores, and a few choices of our own."""

    _argument_group_name = "training (all of Hugging Face's TrainingArguments, and --task, --optimizer and others)"

    task: str = field(default="causal-lm", metadata={"help": "What the model learns: causal-lm."})
    output_dir: str | None = field(
        default=None, metadata={"help": "Folder for the model, its card and all results; unset: runs/<task>."}
    )
    overwrite_output_dir: bool = field(
        default=False,
        metadata={"help": "Write into an output_dir that holds an earlier result; its checkpoints are deleted."},
    )
    resume_from_checkpoint: str | None = field(
        default=None, metadata={"help": "Go on from a checkpoint: its folder, or True for the last one in output_dir."}
    )
    prompt: list[str] | None = field(
        default=None, metadata={"help": "Beginnings that the model continues before and after training."}
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
    weight_decay: float = field(
        default=0.1,
        metadata={"help": "Decay of hidden matrices: the share lost in one step is this times the learning rate."},
    )
    adam_beta2: float = field(default=0.95, metadata=HELP["adam_beta2"])
    lr_scheduler_type: SchedulerType | str = field(default="warmup_stable_decay", metadata=HELP["lr_scheduler_type"])
    warmup_steps: float = field(default=20, metadata=HELP["warmup_steps"])
    decay_fraction: float = field(
        default=0.6,
        metadata={"help": "Share of all steps over which the rate falls linearly to 0 (warmup_stable_decay only)."},
    )
    max_steps: int = field(default=DEFAULT_STEPS, metadata=HELP["max_steps"])
    num_train_epochs: float = field(
        default=0.0, metadata={"help": "Passes over the training text; above 0 it replaces the default max_steps."}
    )
    per_device_train_batch_size: int = field(default=16, metadata=HELP["per_device_train_batch_size"])
    per_device_eval_batch_size: int = field(default=32, metadata=HELP["per_device_eval_batch_size"])
    logging_steps: float = field(default=20, metadata=HELP["logging_steps"])
    eval_strategy: IntervalStrategy | str = field(default="steps", metadata=HELP["eval_strategy"])
    eval_steps: float | None = field(default=100, metadata=HELP["eval_steps"])
    save_steps: float = field(default=200, metadata=HELP["save_steps"])
    save_total_limit: int | None = field(default=1, metadata=HELP["save_total_limit"])
    dataloader_pin_memory: bool = field(default=torch.cuda.is_available(), metadata=HELP["dataloader_pin_memory"])

    def __post_init__(self) -> None:
        self.output_dir = self.output_dir or f"runs/{self.task}"
        if self.num_train_epochs > 0 and self.max_steps == DEFAULT_STEPS:
            self.max_steps = -1
        if self.learning_rate is None:
            self.learning_rate = LEARNING_RATES[self.optimizer]
        super().__post_init__()
        if not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"--decay_fraction is a share of all steps, from 0 to 1, got {self.decay_fraction}.")
        if self.optimizer != "trainer" and self.optim != OptimizerNames(HOST["optim"].default):
            raise ValueError(
                f"--optim {OptimizerNames(self.optim).value} is Trainer's own choice, but --optimizer is "
                f"{self.optimizer}; add --optimizer trainer to use it."
            )


def parse_settings(arguments: list[str] | None = None) -> tuple[ModelArguments, DataArguments, TrainSettings]:
    """Settings from the command line, or from `arguments`. Exits with a message, as argparse does, for an unknown
    option or an impossible value."""
    parser = HfArgumentParser(
        [ModelArguments, DataArguments, TrainSettings],  # pyright: ignore[reportArgumentType]
        usage="%(prog)s [--option value ...]    (--help lists every option and its default)",
        description="Train one Transformer from scratch and leave a checkpoint that Hugging Face loads.",
    )
    try:
        model, data, train = parser.parse_args_into_dataclasses(args=arguments)
    except ValueError as error:
        parser.error(str(error))
    return model, data, train
