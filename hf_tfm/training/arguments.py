"""The choices of a run beside its training settings, one dataclass per subject, and the command line of them all."""

import dataclasses
import json
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from transformers import HfArgumentParser

from hf_tfm.modeling.recipes import RECIPES

from .defaults import SETTINGS, further, sizes_of, usual
from .settings import TrainSettings

__all__ = ["DataArguments", "ModelArguments", "Options", "TaskArguments", "parse_options"]

RECIPE_WORDS = "; ".join(
    f"{kind.removeprefix('tfm_')}: {', '.join(name for name, (kinds, _) in RECIPES.items() if kind in kinds)}"
    for kind in ("tfm_encoder", "tfm_decoder", "tfm_seq2seq")
)


@dataclass
class ModelArguments:
    """How the model is built, or where it comes from. Sizes count elements."""

    _argument_group_name = "model"

    init_from: str | None = field(
        default=None, metadata={"help": "A checkpoint to go on from: folder or Hub name. Its sizes and tokenizer hold."}
    )
    config_file: str | None = field(
        default=None, metadata={"help": "A config.json, or a folder with one, to build a model with random weights."}
    )
    architecture: Literal["encoder", "decoder", "seq2seq"] | None = field(
        default=None, metadata={"help": "Kind of Transformer; unset: the recipe's, else the task's usual one."}
    )
    recipe: str | None = field(
        default=None,
        metadata={"help": f"Family whose wiring is used ({RECIPE_WORDS}); unset: pre-norm, RMS norm, rotary, gated."},
    )
    hidden_size: int | None = field(
        default=None, metadata={"help": f"Width of the residual stream, elements; {usual('hidden_size')}."}
    )
    num_hidden_layers: int | None = field(
        default=None, metadata={"help": f"Number of blocks (of each side); {usual('num_hidden_layers')}."}
    )
    num_attention_heads: int | None = field(
        default=None,
        metadata={"help": f"Query heads, which must divide hidden_size; {usual('num_attention_heads')}."},
    )
    num_key_value_heads: int | None = field(
        default=None, metadata={"help": "Key and value heads; unset: as many as query heads."}
    )
    intermediate_size: int | None = field(
        default=None,
        metadata={"help": "Width of the feed-forward, elements; unset: 8/3 (gated) or 4 (plain) of hidden_size."},
    )
    max_position_embeddings: int | None = field(
        default=None, metadata={"help": "Longest sequence, tokens; unset: the longest row of this run."}
    )
    tie_word_embeddings: bool | None = field(
        default=None,
        metadata={"help": f"Use one table for reading and predicting; {usual('tie_word_embeddings')}."},
    )
    hidden_dropout: float | None = field(
        default=None, metadata={"help": "Probability of dropping an element of a branch, 0 to 1; unset: the recipe's."}
    )
    depth_scaling: Literal["none", "scaled", "deepnorm"] | None = field(
        default=None,
        metadata={"help": "Initial size of branches: none, scaled (outputs by 1/sqrt(2 blocks)), deepnorm; "
                  f"{usual('depth_scaling')}."},
    )  # fmt: skip
    config_overrides: str | None = field(
        default=None,
        metadata={"help": 'Any other field of the configuration, as JSON: \'{"residual_type": "sandwich"}\'.'},
    )
    peft: Literal["lora"] | None = field(
        default=None, metadata={"help": "Train a small adapter and leave the weights as they are (needs peft)."}
    )
    lora_r: int = field(default=8, metadata={"help": "Rank of the adapter's matrices."})
    lora_alpha: float = field(
        default=16.0, metadata={"help": "The adapter's output is multiplied by this over lora_r."}
    )
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout on the adapter's input, 0 to 1."})
    merge_adapter: bool = field(
        default=False, metadata={"help": "Save the whole model with the adapter added in, instead of the adapter."}
    )

    SOURCES = ("init_from", "config_file", "architecture", "recipe", "config_overrides")
    ADAPTER = ("peft", "lora_r", "lora_alpha", "lora_dropout", "merge_adapter")

    def __post_init__(self) -> None:
        if self.init_from and self.config_file:
            raise ValueError("--init_from and --config_file are two sources of one model; give one of them.")
        given = ", ".join(f"--{name}" for name in [*self.sizes(), "recipe"] if getattr(self, name) is not None)
        source = "--init_from" if self.init_from else "--config_file" if self.config_file else ""
        if source and given:
            raise ValueError(f"{source} brings its own sizes and wiring; leave out {given}.")
        if self.peft and not self.init_from:
            raise ValueError("--peft trains an adapter on top of learnt weights: name the checkpoint with --init_from.")
        if self.peft is None and self.merge_adapter:
            raise ValueError("--merge_adapter merges an adapter, and none is trained; add --peft lora.")
        self.overrides = parse_overrides(self.config_overrides) if self.config_overrides else {}

    def sizes(self) -> dict[str, Any]:
        """Fields of the configuration that were given by name."""
        names = [item.name for item in dataclasses.fields(self) if item.name not in (*self.SOURCES, *self.ADAPTER)]
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def words(self, task: str) -> dict[str, Any]:
        """For a new configuration: `recipe` and fields. The task's usual ones, what was given, `config_overrides`."""
        return sizes_of(task, self.recipe) | self.sizes() | self.overrides


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
    """Where the data come from. Without a file or a Hub name: a set made from the Python that runs."""

    _argument_group_name = "data"

    train_file: list[str] | None = field(
        default=None,
        metadata={"help": "Your own data (UTF-8): .txt, .jsonl, .json, .csv, .tsv, .conll, each also .gz, .parquet; "
                  "files, folders or globs."},
    )  # fmt: skip
    validation_file: list[str] | None = field(
        default=None, metadata={"help": "Data for evaluation while training; unset: cut from the training data."}
    )
    test_file: list[str] | None = field(
        default=None, metadata={"help": "Data for the final measurement; unset: cut from the training data."}
    )
    columns: list[str] | None = field(
        default=None,
        metadata={"help": "What your columns hold, as part=column: text=review label=stars. Parts by task: causal-lm, "
                  "masked-lm, denoising: text; seq2seq: source target; sequence-classification: text (text_pair) "
                  "label; token-classification: tokens tags; question-answering: id context question answers; "
                  "multiple-choice: stem choices label; chat: messages. Several columns: label=toxic,obscene. "
                  "Unset: columns of these names."},
    )  # fmt: skip
    sample_by: Literal["paragraph", "line", "document"] = field(
        default="paragraph",
        metadata={"help": "What one document is in a .txt file: paragraph (blank lines between), line or document."},
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "A data set on the Hub, instead of files. Needs the network or a cached copy."}
    )
    dataset_config_name: str | None = field(default=None, metadata={"help": "Configuration of that data set."})
    python_set: str | None = field(
        default=None, metadata={"help": "Another set made from Python itself: code_summaries (seq2seq)."}
    )
    mixture: list[float] | None = field(
        default=None,
        metadata={"help": "Weights of the entries of --train_file, as many as there are: rows are drawn in these "
                  "shares until one entry is used up."},
    )  # fmt: skip
    streaming: bool = field(
        default=False, metadata={"help": "Read training data while training; needs --max_steps and --validation_file."}
    )
    shuffle_buffer: int = field(
        default=0,
        metadata={"help": "Rows of a stream among which the next one is drawn; 0: in the order of the files."},
    )
    data_note: str | None = field(
        default=None, metadata={"help": "Where your data come from and their licence, for the card; a sentence or two."}
    )
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes that tokenise; unset: this one."}
    )

    def __post_init__(self) -> None:
        if self.train_file and self.dataset_name:
            raise ValueError("--train_file and --dataset_name are two sources of training data; give one of them.")
        if (self.validation_file or self.test_file) and not self.train_file:
            raise ValueError("--validation_file and --test_file belong to your own training data: add --train_file.")
        if self.mixture and len(self.mixture) != len(self.train_file or ()):
            raise ValueError(
                f"--mixture needs one weight per entry of --train_file: got {len(self.mixture)} weight(s) for "
                f"{len(self.train_file or ())}."
            )
        if self.mixture and min(self.mixture) <= 0:
            raise ValueError(f"--mixture takes weights above 0, got {' '.join(f'{w:g}' for w in self.mixture)}.")
        if self.streaming and not (self.train_file or self.dataset_name):
            raise ValueError("--streaming reads your own data: add --train_file or --dataset_name.")
        if self.shuffle_buffer and not self.streaming:
            raise ValueError("--shuffle_buffer belongs to --streaming; other data are shuffled as a whole.")


@dataclass
class TaskArguments:
    """How text becomes examples. Lengths count tokens."""

    _argument_group_name = "text and task"

    tokenizer_name: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub name of a ready tokenizer; unset: --init_from's, or one is trained."},
    )
    tokenizer_type: Literal["bpe", "characters"] = field(
        default="bpe",
        metadata={"help": "Kind of tokenizer that is trained: byte-level BPE, or one token per character."},
    )
    vocab_size: int = field(default=4096, metadata={"help": "Most tokens of a tokenizer trained here."})
    block_size: int = field(
        default=128, metadata={"help": "Length of one row of running text (causal-lm, masked-lm, denoising)."}
    )
    packing: Literal["connected", "separate"] = field(
        default="connected",
        metadata={"help": "causal-lm: whether a document sees the one before it in its row. separate: positions start "
                  "again at each document and attention stays inside it."},
    )  # fmt: skip
    max_length: int = field(
        default=512, metadata={"help": "Longest input of the other tasks, special tokens included."}
    )
    max_target_length: int = field(
        default=128, metadata={"help": "Longest output of seq2seq, special tokens included."}
    )
    long_texts: Literal["refuse", "cut"] | None = field(
        default=None,
        metadata={"help": "What happens to longer ones; unset: refuse your own data, cut Python's (and count them)."},
    )
    mask_rate: float = field(default=0.15, metadata={"help": "masked-lm, denoising: share of tokens that are hidden."})
    mask_unit: Literal["token", "whole_word", "span"] = field(
        default="token", metadata={"help": "masked-lm: what is hidden at once."}
    )
    noise: Literal["t5", "bart"] = field(
        default="t5",
        metadata={"help": "denoising: T5's span corruption, or BART's text infilling of shuffled sentences."},
    )
    mean_span: float = field(default=3.0, metadata={"help": "Mean length of a hidden span."})
    problem_type: Literal["single_label", "multi_label", "regression"] | None = field(
        default=None, metadata={"help": "sequence-classification: what a label is; unset: told by the column."}
    )
    metrics: list[str] | None = field(
        default=None,
        metadata={"help": "Further measures of predictions against labels: names of this package, or hub:NAME, which "
                  "fetches a script."},
    )  # fmt: skip
    doc_stride: int = field(
        default=64, metadata={"help": "question-answering: tokens that neighbouring windows share."}
    )
    max_answer_tokens: int = field(default=30, metadata={"help": "question-answering: longest answer."})

    def __post_init__(self) -> None:
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"--mask_rate is a share between 0 and 1, got {self.mask_rate}; usual is 0.15.")


class Options(NamedTuple):
    """All choices of a run."""

    model: ModelArguments
    data: DataArguments
    task: TaskArguments
    train: TrainSettings


def parse_options(arguments: list[str] | None = None) -> Options:
    """Choices from the command line, or from `arguments`. Exits with a message and status 2, as argparse does, for an
    unknown option or an impossible value."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = HfArgumentParser(
        [ModelArguments, DataArguments, TaskArguments, TrainSettings],  # pyright: ignore[reportArgumentType]
        usage="%(prog)s [--task WORD] [--option value ...]    (--help lists every option; --task WORD --help that "
        "task's defaults)",
        description="Train one Transformer and leave a checkpoint that Hugging Face loads.",
        allow_abbrev=False,
    )
    parser.set_defaults(**SETTINGS.get(value_of("task", arguments) or TrainSettings.task, {}))
    source = value_of("init_from", arguments)
    if source:
        parser.set_defaults(**further(source, adapter=value_of("peft", arguments) is not None))
    try:
        return Options(*parser.parse_args_into_dataclasses(args=arguments))
    except ValueError as error:
        parser.error(str(error))


def value_of(option: str, arguments: list[str]) -> str | None:
    """What an option is given among command-line arguments, before they are parsed: it decides defaults of others."""
    found = None
    for word, following in pairwise([*arguments, ""]):
        name, equals, value = word.partition("=")
        if name.replace("-", "_") == f"__{option}":
            found = value if equals else following
    return found
