"""The examples of a run, and the data without the rows that cannot become any."""

from typing import Any

from ..arguments.run_arguments import RunArguments
from ..data.sources import TaskData
from ..data.usable_rows import with_usable_rows
from .model_creation import max_positions
from .output_dir import OutputDir

__all__ = ["make_examples"]


def make_examples(
    run_args: RunArguments, data: TaskData, tokenizer: Any, output_dir: OutputDir
) -> tuple[TaskData, dict[str, Any]]:
    """The data without the rows that cannot be used, and tokenized splits. The tokenizer learns how long rows may be;
    the output directory receives the list of dropped rows. Raises ValueError for rows that cannot be used, unless they
    are dropped."""
    objective, workers = data.objective, run_args.data.preprocessing_num_workers
    data = with_usable_rows(data, tokenizer, max_positions(run_args.model), workers)
    tokenizer.model_max_length = run_args.model.max_position_embeddings or objective.max_row_length()
    if run_args.training.should_save:
        objective.bad_rows.write(output_dir.path)
    return data, objective.examples(data.splits, tokenizer, workers)
