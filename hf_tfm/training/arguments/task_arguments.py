"""Options for tokenizer and examples."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["FITTED_OPTIONS", "TaskArguments"]

# Options that follow the user's data unless they are given.
FITTED_OPTIONS = ("vocab_size", "max_length", "max_target_length", "max_answer_tokens")


@dataclass
class TaskArguments:
    """How text becomes examples. Lengths are in tokens."""

    _argument_group_name = "tokenizer and task"

    tokenizer_name: str | None = field(
        default=None,
        metadata={
            "help": "Tokenizer to load: folder or Hub name; unset: that of --init_from, else a new one is trained."
        },
    )
    tokenizer_type: Literal["bpe", "characters"] = field(
        default="bpe",
        metadata={"help": "Type of a new tokenizer: byte-level BPE, or one token per character."},
    )
    vocab_size: int = field(
        default=4096,
        metadata={"help": "Vocabulary size of a new tokenizer; on your data, unless given, 512 to 32,768 by the size "
                  "of the training text, or all its characters."},
    )  # fmt: skip
    block_size: int = field(
        default=128, metadata={"help": "Tasks that pack text into rows, such as causal-lm: tokens in one row."}
    )
    packing: Literal["connected", "separate"] = field(
        default="connected",
        metadata={"help": "causal-lm: connected: a token attends to earlier documents of its row; separate: positions "
                  "restart at each document, and attention stays within it."},
    )  # fmt: skip
    max_length: int = field(
        default=512,
        metadata={"help": "All other tasks: longest input in tokens, special tokens included; on your data, unless "
                  "given, raised to what the longest row needs, up to 1024."},
    )  # fmt: skip
    max_target_length: int = field(
        default=128, metadata={"help": "seq2seq: longest target; on your data, unless given, as --max_length."}
    )
    long_texts: Literal["error", "truncate"] | None = field(
        default=None,
        metadata={
            "help": "What happens to texts that are longer; unset: error for your own data, truncate for built-in data."
        },
    )
    mask_rate: float = field(
        default=0.15, metadata={"help": "masked-lm, denoising: fraction of tokens that are masked."}
    )
    mask_unit: Literal["token", "whole_word", "span"] = field(
        default="token", metadata={"help": "masked-lm: unit that is masked."}
    )
    noise: Literal["t5", "bart"] = field(
        default="t5",
        metadata={"help": "denoising: T5's span corruption, or BART's text infilling with shuffled sentences."},
    )
    mean_span: float = field(default=3.0, metadata={"help": "masked-lm, denoising: mean length of a masked span."})
    label_kind: Literal["class", "number", "multi"] | None = field(
        default=None,
        metadata={"help": "sequence-classification: whether a label is one class, a number to predict, or any of "
                  "several classes; unset: lists are several classes, numbers with a fraction are numbers, all others "
                  "are classes."},
    )  # fmt: skip
    metrics: list[str] | None = field(
        default=None,
        metadata={"help": "Additional metrics of predictions against labels: names of built-in metrics, or hub:NAME, "
                  "which downloads and runs a script."},
    )  # fmt: skip
    doc_stride: int = field(default=64, metadata={"help": "question-answering: overlap of neighbouring windows."})
    max_answer_tokens: int = field(
        default=30,
        metadata={"help": "question-answering: longest answer in tokens; on your data, unless given, raised to what "
                  "the longest answer needs."},
    )  # fmt: skip
    temperature: float = field(
        default=0.05,
        metadata={"help": "embeddings: cosine similarities are divided by it before the softmax; sentence-transformers "
                  "multiplies by 20."},
    )  # fmt: skip

    # those of FITTED_OPTIONS that follow the data; the command line sets it
    fits_data: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.mask_rate < 1:
            raise ValueError(f"--mask_rate must be a fraction between 0 and 1, got {self.mask_rate}; BERT uses 0.15.")
        if self.temperature <= 0:
            raise ValueError(f"--temperature must be above 0, got {self.temperature}; usual is 0.05.")
