"""Options that say how text becomes examples."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["TaskArguments"]


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
    long_texts: Literal["error", "truncate"] | None = field(
        default=None,
        metadata={
            "help": "What happens to longer ones; unset: error for your data, truncate (and count) for built-in data."
        },
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
