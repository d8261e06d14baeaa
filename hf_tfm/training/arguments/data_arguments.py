"""Options that say where the data come from."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["DataArguments"]


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
    builtin_dataset: str | None = field(
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
