"""The blanks that a task fills.

An objective says what a row of data holds, which model learns from it, what an example looks like, how results are
measured, and how a person sees one. It knows no sizes, no optimiser and no schedule. One instance serves one run: it
learns the labels of its training split.

Legend: B batch, T tokens in a row, V vocabulary."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EvalPrediction, PreTrainedModel

from ..arguments.task_arguments import TaskArguments
from ..metrics.metric_registry import load_metric
from ..metrics.perplexity import Perplexity
from ..preprocessing.dataset_utils import check_text_column, map_rows

__all__ = [
    "ComputeMetrics",
    "Objective",
    "forward_in_eval_mode",
    "perplexity_results",
    "python_literal",
    "require_special_token",
    "short_test_rows",
]

# Characters of an input that is shown, and rows among which such are looked for.
MAX_SAMPLE_CHARACTERS, MAX_ROWS_SEARCHED = 300, 200
# What `make_compute_metrics` returns: predictions of a split in, named results out.
ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]


class Objective:
    """One task. Subclasses fill the class attributes and the methods that raise NotImplementedError."""

    task: str
    pipeline_tag: str
    auto_class: str
    # model type -> class that learns the task; the first is the usual one
    models: dict[str, type[PreTrainedModel]]
    # what a row holds: parts that must be there, and parts that may
    required_columns: tuple[str, ...] = ("text",)
    optional_columns: tuple[str, ...] = ()
    builtin_dataset = "documentation"
    split_column = "text"
    split_fractions = (0.80, 0.10, 0.10)
    # name of a result after its split's prefix -> how a reader calls it; the first is the run's headline
    metric_labels: dict[str, str] = {}
    # results of which less is better
    lower_is_better = frozenset({"loss", "bits_per_byte", "nats_per_token", "perplexity"})
    # whether predictions and labels can be compared by further measures (--metrics)
    supports_extra_metrics = False
    # whether the model writes text while it is evaluated
    generates_text = False
    # whether training rows may be read while training: not where labels must be known before
    supports_streaming = True
    # columns of the examples that only `make_compute_metrics` reads
    metric_columns: tuple[str, ...] = ()
    # the option that bounds a row's length
    length_option = "--max_length"

    def __init__(self, args: TaskArguments, seed: int = 0) -> None:
        if args.metrics and not self.supports_extra_metrics:
            raise ValueError(f"--metrics compares predictions with labels, which --task {self.task} does not keep.")
        self.args, self.seed = args, seed
        # labels of the checkpoint that is gone on from, in the order of their ids
        self.checkpoint_labels: tuple[str, ...] = ()
        # columns of the user's data by part, filled where they are read
        self.source_columns: dict[str, list[str]] = {}
        # what happens to texts that are too long, "error" or "truncate"; unset, the source of the data decides
        self.long_texts = args.long_texts or "error"
        # what a card says of how results were measured, by name
        self.metric_notes: dict[str, str] = {}

    # Data
    def prepare_rows(self, table: Any, where: str) -> Any:
        """The rows of a table as the task reads them. Raises ValueError that names the row for one that is not."""
        for part in self.text_columns():
            check_text_column(table, part, where)

        def check(batch: dict[str, list[Any]], rows: list[int]) -> dict[str, list[Any]]:
            for part in self.text_columns():
                for row, text in zip(rows, batch[part], strict=True):
                    if text is None or not text.strip():
                        raise ValueError(f"Row {row + 1} of {where} has no {part}; fill it or leave the row out.")
            return batch

        return map_rows(table, check, with_indices=True, desc="Reading rows")

    def text_columns(self) -> tuple[str, ...]:
        """Parts that hold text."""
        return self.required_columns

    def texts(self, row: dict[str, Any]) -> Iterator[str]:
        """The texts of a row: they are counted, and a tokenizer learns from them."""
        for part in self.text_columns():
            yield row[part]

    def fit_labels(self, splits: dict[str, Any]) -> dict[str, Any]:
        """Learn what is known only from the training split (labels), and return the splits with it applied."""
        return splits

    # Tokenizer and model
    def tokenizer_style(self, model_type: str) -> str:
        """Which special tokens a tokenizer trained for this task has: a key of `TOKENIZER_STYLES`."""
        return "pair"

    def prepare_tokenizer(self, tokenizer: Any) -> None:
        """Check a tokenizer, whether trained here or given, and add what can be added. Raises ValueError for special
        tokens that the task needs and the tokenizer lacks."""

    def max_row_length(self) -> int:
        """Tokens of the longest row."""
        return self.args.max_length

    def config_fields(self, tokenizer: Any) -> dict[str, Any]:
        """Fields of the configuration that the task decides."""
        return {}

    # Examples
    def examples(self, splits: dict[str, Any], tokenizer: Any, num_proc: int | None) -> dict[str, Any]:
        """Rows that the model trains on."""
        raise NotImplementedError

    def collator(self, tokenizer: Any, model: Any, training: bool) -> Callable[[list[Any]], dict[str, Any]]:
        """What makes a batch of examples."""
        raise NotImplementedError

    # Results
    def preprocess_logits(self, logits: Any, labels: Any) -> Any:
        """What is kept of the logits of a batch, one row per example."""
        return logits[0] if isinstance(logits, tuple) else logits

    def make_compute_metrics(
        self, split: Any, features: Any, tokenizer: Any, cache_dir: Path, source_bytes: int
    ) -> ComputeMetrics:
        """The function that turns what was kept of a split into results: `split` its rows, `features` its examples,
        `source_bytes` the UTF-8 bytes of its text."""
        raise NotImplementedError

    def baselines(self, data: Any) -> dict[str, float]:
        """What simple methods reach on the test split, by name, in the first of `metric_labels`."""
        return {}

    def extra_metrics(self, predictions: Any, references: Any, cache_dir: Path) -> dict[str, float]:
        """Results of the measures that --metrics asks for, the numbers among them."""
        found: dict[str, Any] = {}
        for name in self.args.metrics or ():
            found |= load_metric(name, cache_dir).compute(predictions=predictions, references=references) or {}
        results = {
            name: float(value) for name, value in found.items() if np.ndim(value) == 0 and not isinstance(value, str)
        }
        self.metric_labels = self.metric_labels | {name: name for name in results if name not in self.metric_labels}
        return results

    # For the eye
    def sample_inputs(self, data: Any, tokenizer: Any, prompts: list[str] | None) -> list[Any]:
        """A few inputs whose answers are shown, from the user or from the test split."""
        raise NotImplementedError

    def format_input(self, sample_input: Any) -> str:
        """An input as a reader sees it."""
        raise NotImplementedError

    def predict_sample(self, model: Any, tokenizer: Any, sample_input: Any) -> str:
        """What the model makes of an input."""
        raise NotImplementedError

    def reference(self, sample_input: Any) -> str | None:
        """The right answer, where there is one."""
        return None

    def usage_snippet(self, home: str, sample_input: Any) -> str:
        """A few lines of Python that load the checkpoint at `home` and use it, without hf_tfm installed."""
        raise NotImplementedError


def forward_in_eval_mode(model: Any, inputs: dict[str, Any]) -> Any:
    """The outputs of a model for one batch, without gradients and in evaluation; its mode is left as it was."""
    training = model.training
    model.eval()
    with torch.no_grad():
        outputs = model(**{name: value.to(model.device) for name, value in inputs.items()})
    model.train(training)
    return outputs


def short_test_rows(data: Any, count: int = 3) -> list[dict[str, Any]]:
    """The first test rows that are short enough to be shown, or the first ones where none is."""
    table = data.splits["test"]
    rows = [table[at] for at in range(min(len(table), MAX_ROWS_SEARCHED))]
    short = [row for row in rows if sum(map(len, data.objective.texts(row))) <= MAX_SAMPLE_CHARACTERS]
    return (short or rows)[:count]


def python_literal(value: Any) -> str:
    """A value as it is written in Python, texts in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def require_special_token(tokenizer: Any, token: str, reason: str) -> None:
    """Raises ValueError if a tokenizer lacks a special token ("eos_token")."""
    if getattr(tokenizer, token) is None:
        raise ValueError(
            f"The tokenizer {tokenizer.name_or_path or 'given'} has no {token}, {reason}; set one and save it: "
            f'tokenizer.add_special_tokens({{"{token}": "<|{token.removesuffix("_token")}|>"}}).'
        )


def perplexity_results(
    prediction: EvalPrediction, metric: Perplexity, source_bytes: int | None, rows: int | None = None
) -> dict[str, float]:
    """Results of a language model from the summed losses of its rows. Raises ValueError if these are not all `rows`
    that the text of `source_bytes` makes."""
    kept = np.asarray(prediction.predictions, dtype=np.float64)
    if rows is not None and len(kept) != rows:
        raise ValueError(f"{len(kept)} of {rows} rows were measured, and bits per byte need all of the text.")
    losses, tokens = kept[:, 0].tolist(), kept[:, 1].astype(np.int64).tolist()
    return metric.compute(losses=losses, tokens=tokens, source_bytes=source_bytes) or {}
