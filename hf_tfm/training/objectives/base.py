"""The base class of all tasks.

An objective defines which columns the data have, which models learn from them, how rows become examples, how
predictions are measured, and how one prediction is shown. It also holds everything that the rest of the package must
know about its task, such as changed defaults, so that a new task is one class and its entry in `OBJECTIVES`. One
instance serves one run, because it learns the labels of the training split.

Legend: B batch, T tokens in a row, V vocabulary."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset, Features, Value
from transformers import EvalPrediction, PreTrainedModel

from ..arguments.task_arguments import TaskArguments
from ..metrics.metric_registry import load_metric
from ..metrics.perplexity import Perplexity
from ..preprocessing.labels import class_label_names
from ..preprocessing.row_values import RowError, text_of
from ..preprocessing.rows import BadRows, prepared_batches, prepared_schema, table_rows

__all__ = [
    "ComputeMetrics",
    "Objective",
    "forward_in_eval_mode",
    "perplexity_results",
    "require_special_token",
    "short_test_rows",
]

# `short_test_rows` searches the first 200 rows for samples of at most 300 characters.
MAX_SAMPLE_CHARACTERS, MAX_ROWS_SEARCHED = 300, 200
# What `make_compute_metrics` returns: a function from the predictions on a split to results by name.
ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]
# A subclass must define these; everything else has a default.
REQUIRED_ATTRIBUTES = ("task", "pipeline_tag", "auto_class", "models", "metric_labels")
REQUIRED_METHODS = (
    "examples", "collator", "make_compute_metrics", "sample_inputs", "format_input", "predict_sample", "usage_snippet",
)  # fmt: skip


class Objective:
    """One task. A subclass defines the first five attributes and every method that raises NotImplementedError here;
    otherwise creating an instance raises TypeError, which lists what is missing."""

    # value of --task
    task: str
    # task of the model card on the Hub: https://huggingface.co/tasks
    pipeline_tag: str
    # name of the transformers class that loads the checkpoint
    auto_class: str
    # model type -> class that learns the task; the first is used unless an option selects another
    models: dict[str, type[PreTrainedModel]]
    # name of a result without the prefix of its split -> description; the first is the run's main result
    metric_labels: dict[str, str]

    # Data
    required_columns: tuple[str, ...] = ("text",)
    optional_columns: tuple[str, ...] = ()
    # entry of BUILTIN_DATASETS that is used without --train_file
    builtin_dataset = "documentation"
    # rows with the same value in this column are put into the same split
    split_column = "text"
    # shares of the training, validation and test split
    split_fractions = (0.80, 0.10, 0.10)
    # False where all labels must be known before training starts
    supports_streaming = True
    # option that limits the tokens in a row
    length_option = "--max_length"
    # options that limit the tokens of a text -> column of the examples that has them; without packing tasks
    length_columns: dict[str, str] = {}

    # Defaults that differ from those of other tasks
    # options of train.py, except those of the model
    default_arguments: dict[str, Any] = {}
    # fields of a new model's configuration, and "recipe"
    default_config_fields: dict[str, Any] = {}
    # the same, for new models that learn from the user's data only
    own_data_arguments: dict[str, Any] = {}
    own_data_config_fields: dict[str, Any] = {}

    # Training
    # whether label t belongs to the logits of position t - 1, as in a causal language model
    shift_labels = False
    # False where labels are not classes
    supports_label_smoothing = True
    # PEFT's TaskType, which is saved in an adapter; None if PEFT has none for the task
    peft_task_type: str | None = None

    # Evaluation
    # columns of the examples that only `make_compute_metrics` reads
    metric_columns: tuple[str, ...] = ()
    # whether --metrics can compare predictions with labels
    supports_extra_metrics = False
    # the result in which `baselines` are measured; None: the first of `metric_labels` that the task measures
    baseline_metric: str | None = None
    # results of which less is better
    lower_is_better: tuple[str, ...] = ("loss", "bits_per_byte", "nats_per_token", "perplexity")
    # what chooses the best weights on the validation split: "loss", or a result of which more is better
    validation_metric = "loss"
    # whether the model can generate text during evaluation (--predict_with_generate)
    generates_text = False

    def __init__(self, args: TaskArguments, seed: int = 0) -> None:
        self.check_complete()
        if args.metrics and not self.supports_extra_metrics:
            raise ValueError(
                f"--metrics compares predictions with labels, which --task {self.task} does not keep; leave it out."
            )
        self.args, self.seed = args, seed
        # labels of the --init_from checkpoint in the order of their ids
        self.checkpoint_labels: tuple[str, ...] = ()
        # required or optional column -> the user's columns that hold it; filled when the data are read
        self.source_columns = {column: [column] for column in self.required_columns}
        # column -> names of its classes in the order of their ids, if the type of the column has them
        self.class_names: dict[str, tuple[str, ...]] = {}
        # what is done with rows that cannot be used
        self.bad_rows = BadRows()
        # what happens to texts that are too long: "error" or "truncate"
        self.long_texts = args.long_texts or "error"
        # name of a metric -> note in the model card about how it was computed
        self.metric_notes: dict[str, str] = {}

    @classmethod
    def check_complete(cls) -> None:
        """Raises TypeError that names every attribute and method that a subclass lacks."""
        attributes = [name for name in REQUIRED_ATTRIBUTES if not getattr(cls, name, None)]
        methods = [f"{name}()" for name in REQUIRED_METHODS if getattr(cls, name) is getattr(Objective, name)]
        if attributes or methods:
            raise TypeError(
                f"The task {cls.__name__} does not define {', '.join([*attributes, *methods])}; add to the class what "
                f"Objective ({__name__}) describes under these names."
            )

    # Data
    def prepare_rows(self, table: Any, where: str) -> Dataset:
        """The rows of a table in memory as the task reads them. Raises ValueError that names the first one that cannot
        be used, unless such rows are dropped."""
        optional = {column: [column] for column in self.optional_columns if column in table.column_names}
        self.use_columns(optional | self.source_columns, table.features)
        batches = prepared_batches(table_rows(table, where), self.prepare_source, self.features())
        return self.bad_rows.check(Dataset(pa.Table.from_batches(batches, prepared_schema(self.features()))))

    def use_columns(self, sources: dict[str, list[str]], types: Features | None = None) -> None:
        """Read these columns from now on, by required or optional column; `types`: the columns' types, if known."""
        self.source_columns = sources
        for column, names in sources.items():
            declared = class_label_names((types or {}).get(names[0]))
            if declared and len(names) == 1:
                self.class_names.setdefault(column, declared)

    def features(self) -> Features:
        """The types of the columns that `prepare` returns."""
        return Features({column: Value("string") for column in self.text_columns()})

    def prepare(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """A row as the task reads it, with the columns of `features`; None for one to be left out. `row`: values by
        required and optional column, as the source has them; of a CSV, all are text. Raises RowError, which says why
        the row cannot be used."""
        return {column: text_of(row[column], column) for column in self.text_columns()}

    def prepare_source(self, values: dict[str, Any]) -> dict[str, Any] | None:
        """A row of the source as the task reads it; None for one to be left out. Raises RowError."""
        for column in self.optional_columns:
            if column not in self.source_columns and values.get(column) is not None:
                raise RowError(f"has a {column}, which the first rows do not have; all rows need the same columns")
        row = {
            column: values.get(names[0]) if len(names) == 1 else [values.get(name) for name in names]
            for column, names in self.source_columns.items()
        }
        return self.prepare(row)

    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold text."""
        return self.required_columns

    def texts(self, row: dict[str, Any]) -> Iterator[str]:
        """The texts of a row, which train the tokenizer and count as bytes of the data."""
        for column in self.text_columns():
            yield row[column]

    def row_classes(self, tables: dict[str, Any]) -> list[list[str]] | None:
        """The classes of each training row, each of which must be in the training split; None if labels are no classes.
        `tables`: those of all splits that the user gives."""
        return None

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        """Learn the labels of the training split, and return all splits with encoded labels."""
        return splits

    # Tokenizer and model
    def tokenizer_style(self, model_type: str) -> str:
        """Which special tokens a new tokenizer has: a key of `TOKENIZER_STYLES`."""
        return "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        """Add the tokens that the task needs to a new or loaded tokenizer. Raises ValueError for special tokens that
        only the user can choose."""

    def max_row_length(self) -> int:
        """Tokens of the longest row."""
        return self.args.max_length

    def config_fields(self, tokenizer: Any) -> dict[str, Any]:
        """Configuration fields that follow from the data, such as labels."""
        return {}

    # Examples
    def encoder(self, tokenizer: Any) -> Callable[..., dict[str, Any]] | None:
        """The function that makes examples of a batch of rows, and raises RowError for one that cannot become any. None
        for a task that can use every row."""
        return None

    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Splits of tokenized rows, as the collator and `make_compute_metrics` read them."""
        raise NotImplementedError

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Callable[[list[Any]], dict[str, Any]]:
        """The function that makes a batch of examples. With `training=False` it must not depend on the epoch."""
        raise NotImplementedError

    # Results
    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        """What is kept of the logits of a batch, one row per example. Full logits of a language model would fill the
        memory."""
        return logits[0] if isinstance(logits, tuple) else logits

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        """The function that computes the results of a split from what `preprocess_logits` kept. `split`: its rows,
        `features`: its examples, `source_bytes`: UTF-8 bytes of its text."""
        raise NotImplementedError

    def baselines(self, data: Any, examples: dict[str, Any], tokenizer: Any) -> dict[str, float]:
        """Results of simple methods on the test split by name, measured as `baseline_metric`, and without a neural
        network. A name says on how many rows the method was fitted if not on all."""
        return {}

    def extra_metrics(self, predictions: Any, references: Any, cache_dir: Path) -> dict[str, float]:
        """All numbers that the metrics of --metrics return."""
        found: dict[str, Any] = {}
        for name in self.args.metrics or ():
            found |= load_metric(name, cache_dir).compute(predictions=predictions, references=references) or {}
        results = {
            name: float(value) for name, value in found.items() if np.ndim(value) == 0 and not isinstance(value, str)
        }
        self.metric_labels = self.metric_labels | {name: name for name in results if name not in self.metric_labels}
        return results

    # Samples
    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        """A few inputs, from --prompt or from the test split, whose outputs are shown before and after training."""
        raise NotImplementedError

    def format_input(self, sample_input: Any) -> str:
        """A sample input as text."""
        raise NotImplementedError

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: Any) -> str:
        """The model's output for a sample input as text."""
        raise NotImplementedError

    def reference(self, sample_input: Any) -> str | None:
        """The correct output for a sample input, if it is known."""
        return None

    def inspected_text(self, tokenizer: Any, sample_input: Any, output: str) -> dict[str, Any]:
        """What the page inspect.html shows the model on: `text`, and `add_special_tokens`, of
        `hf_tfm.inspection.make_report`. `output`: that of `predict_sample`."""
        return {"text": self.format_input(sample_input)}

    def model_files(self) -> dict[str, Any]:
        """Files beside the model that other libraries read: name -> content, which is written as JSON."""
        return {}

    def usage_snippet(self, checkpoint: str, sample_input: Any) -> str:
        """A few lines of Python that load a checkpoint and use it without hf_tfm. `checkpoint`: the arguments that
        every part of it is loaded with, as Python source (see `checkpoint_arguments`)."""
        raise NotImplementedError


def forward_in_eval_mode(model: Any, inputs: dict[str, Any]) -> Any:
    """The outputs of a model for one batch in evaluation mode, without gradients; the mode is restored afterwards."""
    training = model.training
    model.eval()
    with torch.no_grad():
        outputs = model(**{name: value.to(model.device) for name, value in inputs.items()})
    model.train(training)
    return outputs


def short_test_rows(data: Any, count: int = 3) -> list[dict[str, Any]]:
    """The first test rows that are short enough to be shown; the first rows if none is short."""
    table = data.splits["test"]
    rows = [table[at] for at in range(min(len(table), MAX_ROWS_SEARCHED))]
    short = [row for row in rows if sum(map(len, data.objective.texts(row))) <= MAX_SAMPLE_CHARACTERS]
    return (short or rows)[:count]


def require_special_token(tokenizer: Any, token: str, reason: str) -> None:
    """Raises ValueError if a tokenizer lacks a special token such as "eos_token"."""
    if getattr(tokenizer, token) is None:
        raise ValueError(
            f"The tokenizer {tokenizer.name_or_path or 'given'} has no {token}, {reason}; set one and save it: "
            f'tokenizer.add_special_tokens({{"{token}": "<|{token.removesuffix("_token")}|>"}}).'
        )


def perplexity_results(
    prediction: EvalPrediction, metric: Perplexity, source_bytes: int | None, rows: int | None = None
) -> dict[str, float]:
    """Results of a language model from the summed losses of its rows. Raises ValueError if the number of predictions is
    not `rows`, because bits per byte divide by the bytes of the whole text."""
    kept = np.asarray(prediction.predictions, dtype=np.float64)
    if rows is not None and len(kept) != rows:
        raise ValueError(f"{len(kept)} of {rows} rows were evaluated, and bits per byte need all of the text.")
    losses, tokens = kept[:, 0].tolist(), kept[:, 1].astype(np.int64).tolist()
    return metric.compute(losses=losses, tokens=tokens, source_bytes=source_bytes) or {}
