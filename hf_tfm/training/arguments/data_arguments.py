"""Options for the data."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["DataArguments"]


@dataclass
class DataArguments:
    """Where the data come from. Without a file or Hub name, the built-in data of the task are used, which are made from
    the running Python's own sources."""

    _argument_group_name = "data"

    train_file: list[str] | None = field(
        default=None,
        metadata={"help": "Training data (UTF-8, or UTF-16 with its mark): .txt, .jsonl, .json, .csv, .tsv, .conll, "
                  "also with .gz, or .parquet; files, folders or globs. Unset: built-in data."},
    )  # fmt: skip
    validation_file: list[str] | None = field(
        default=None, metadata={"help": "Data for evaluation during training; unset: split off from the training data."}
    )
    test_file: list[str] | None = field(
        default=None, metadata={"help": "Data for the final evaluation; unset: split off from the training data."}
    )
    columns: list[str] | None = field(
        default=None,
        metadata={"help": "Which of your columns the task reads, as name=column: text=review label=stars; several "
                  "columns of 0 and 1 as one label: label=toxic,obscene. Unset: columns with the names that the "
                  "task reads (see the end)."},
    )  # fmt: skip
    column_names: str | None = field(
        default=None,
        metadata={"help": "Names of the columns of .csv and .tsv files whose first line is a row, in their order: "
                  "label,title,text."},
    )  # fmt: skip
    delimiter: str | None = field(
        default=None,
        metadata={"help": "Character between the fields of .csv and .tsv files, or tab; unset: a comma in .csv, a tab "
                  "in .tsv."},
    )  # fmt: skip
    bad_rows: Literal["refuse", "drop"] = field(
        default="refuse",
        metadata={"help": "Rows that cannot be used (no text, other number of fields, unknown label): refuse the "
                  "data, or drop these rows and list them in _dropped_rows.jsonl."},
    )  # fmt: skip
    max_holdout_rows: int = field(
        default=5000,
        metadata={"help": "Most rows of each split that is cut from your training data; 0: no limit."},
    )
    max_holdout_bytes: int = field(
        default=1_000_000,
        metadata={"help": "Most bytes of text of each split that is cut from your training data; 0: no limit."},
    )
    sample_by: Literal["paragraph", "line", "document"] = field(
        default="paragraph",
        metadata={
            "help": "What one row of a .txt file is: a paragraph (separated by blank lines), a line or the whole file."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={"help": "Data set on the Hub, instead of files. Needs a network connection or a cached copy."},
    )
    dataset_config_name: str | None = field(
        default=None, metadata={"help": "Configuration of the data set on the Hub."}
    )
    builtin_dataset: str | None = field(
        default=None,
        metadata={"help": "Built-in data set other than the task's default: code_summaries (for seq2seq)."},
    )
    mixture: list[float] | None = field(
        default=None,
        metadata={"help": "Sampling weights, one for each entry of --train_file: rows are drawn in this proportion "
                  "until one entry has no rows left."},
    )  # fmt: skip
    streaming: bool = field(
        default=False,
        metadata={"help": "Read the training data during training; needs --max_steps and --validation_file."},
    )
    shuffle_buffer: int = field(
        default=0,
        metadata={"help": "Rows in the shuffle buffer of --streaming; 0: the order of the files."},
    )
    data_note: str | None = field(
        default=None, metadata={"help": "Source and licence of your data, one or two sentences for the model card."}
    )
    preprocessing_num_workers: int | None = field(
        default=None, metadata={"help": "Processes for tokenization; unset: no additional ones."}
    )

    def __post_init__(self) -> None:
        if self.column_names is not None and not all(self.column_names.split(",")):
            raise ValueError(
                f"--column_names {self.column_names!r} has an empty name; write for example label,title,text."
            )
        self.delimiter = "\t" if self.delimiter in ("tab", "\\t") else self.delimiter
        if self.delimiter is not None and (len(self.delimiter) != 1 or self.delimiter in '"\r\n'):
            raise ValueError(f"--delimiter must be one character, such as ';', or tab; got {self.delimiter!r}.")
        if min(self.max_holdout_rows, self.max_holdout_bytes) < 0:
            raise ValueError("--max_holdout_rows and --max_holdout_bytes must be 0 (no limit) or more.")
        if self.train_file and self.dataset_name:
            raise ValueError("--train_file and --dataset_name both select training data; give one of them.")
        if (self.validation_file or self.test_file) and not self.train_file:
            raise ValueError("--validation_file and --test_file need your own training data; add --train_file.")
        if self.mixture and len(self.mixture) != len(self.train_file or ()):
            raise ValueError(
                f"--mixture needs one weight for each entry of --train_file: got {len(self.mixture)} weight(s) for "
                f"{len(self.train_file or ())}."
            )
        if self.mixture and min(self.mixture) <= 0:
            raise ValueError(f"--mixture needs weights above 0, got {' '.join(f'{w:g}' for w in self.mixture)}.")
        if self.streaming and not (self.train_file or self.dataset_name):
            raise ValueError("--streaming needs your own data; add --train_file or --dataset_name.")
        if self.shuffle_buffer and not self.streaming:
            raise ValueError("--shuffle_buffer belongs to --streaming; other data are shuffled completely.")
