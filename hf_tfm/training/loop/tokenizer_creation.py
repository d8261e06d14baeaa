"""The tokenizer of a run: loaded, or trained on the text of the run."""

from itertools import islice
from typing import Any

from ..arguments.run_arguments import RunArguments
from ..data.sources import TaskData
from ..data.tokenizer import TOKEN_TYPE_IDS, load_tokenizer, train_tokenizer
from ..objectives.base import Objective
from .model_creation import num_token_types
from .output_dir import OutputDir

__all__ = ["make_tokenizer"]

# Texts of a stream that a tokenizer learns from.
MAX_TEXTS = 100_000


def make_tokenizer(
    run_args: RunArguments, objective: Objective, data: TaskData, model_type: str, output_dir: OutputDir
) -> Any:
    """The tokenizer of a run: the named one, the one of the checkpoint gone on from, or one trained on the training
    texts (the first 100,000 of a stream). It is saved in the run's folder, where a run that goes on, and the other
    processes, find it. It gives token types to a model that has a table for them, and to no other. Raises ValueError
    for one that lacks what the task needs."""
    training_args, name = run_args.training, run_args.task.tokenizer_name or run_args.model.init_from
    longest = run_args.model.max_position_embeddings or objective.max_row_length()
    types = num_token_types(run_args.model, objective.task, model_type)
    with training_args.main_process_first(local=False, desc="tokenizer"):
        saved = (output_dir.path / "tokenizer.json").exists()
        if name:
            tokenizer = load_tokenizer(name, longest)
        elif saved and (output_dir.resume_from or training_args.process_index > 0):
            tokenizer = load_tokenizer(str(output_dir.path))
        else:
            style = objective.tokenizer_style(model_type)
            texts = islice(data.texts("train"), MAX_TEXTS if data.streaming else None)
            tokenizer = train_tokenizer(
                texts, run_args.task.vocab_size, longest, style, run_args.task.tokenizer_type, bool(types)
            )
        if types == 0:
            tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != TOKEN_TYPE_IDS]
        objective.prepare_tokenizer(tokenizer)
        if training_args.should_save:
            tokenizer.save_pretrained(output_dir.path)
    return tokenizer
