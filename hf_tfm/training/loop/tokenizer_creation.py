"""A tokenizer trained on the run's own text, or a ready one reused."""

from itertools import islice
from typing import Any

from ..data.tokenizer import TYPES, load_tokenizer, train_tokenizer
from .model_creation import token_types

__all__ = ["make_tokenizer"]

# Texts of a stream that a tokenizer learns from.
MOST_TEXTS = 100_000


def make_tokenizer(options: Any, objective: Any, data: Any, model_type: str, folder: Any) -> Any:
    """The tokenizer of a run: the named one, the one of the checkpoint gone on from, or one trained on the training
    texts (the first 100,000 of a stream). It is saved in the run's folder, where a run that goes on, and the other
    processes, find it. It gives token types to a model that has a table for them, and to no other. Raises ValueError
    for one that lacks what the task needs."""
    settings, name = options.train, options.task.tokenizer_name or options.model.init_from
    longest = options.model.max_position_embeddings or objective.row_length()
    types = token_types(options.model, objective.task, model_type)
    with settings.main_process_first(local=False, desc="tokenizer"):
        saved = (folder.path / "tokenizer.json").exists()
        if name:
            tokenizer = load_tokenizer(name, longest)
        elif saved and (folder.resume_from or settings.process_index > 0):
            tokenizer = load_tokenizer(str(folder.path))
        else:
            style = objective.tokenizer_style(model_type)
            texts = islice(data.texts("train"), MOST_TEXTS if data.streaming else None)
            tokenizer = train_tokenizer(
                texts, options.task.vocab_size, longest, style, options.task.tokenizer_type, bool(types)
            )
        if types == 0:
            tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != TYPES]
        objective.prepare_tokenizer(tokenizer)
        if settings.should_save:
            tokenizer.save_pretrained(folder.path)
    return tokenizer
