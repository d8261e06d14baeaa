"""The tokenizer of a run: loaded, or trained on the training data."""

import sys
from itertools import islice
from typing import Any

from ..arguments.run_arguments import RunArguments
from ..arguments.task_arguments import TaskArguments
from ..data.sources import TaskData
from ..data.tokenizer import TOKEN_TYPE_IDS, load_tokenizer, train_tokenizer
from ..objectives.base import Objective
from ..utils.printing import print_on_main_process
from .model_creation import num_token_types
from .output_dir import OutputDir

__all__ = ["make_tokenizer"]

# Texts of a stream on which a tokenizer is trained.
MAX_TEXTS = 100_000
# Vocabularies of a new byte-level tokenizer, by the megabytes of training text from which they are used: the first as
# measured on the small data sets of the model cards, the next as large again for ten times the text.
VOCAB_SIZES = {0: 4096, 10: 8192, 100: 16_384, 1000: 32_768}
# Less text has fewer words that occur several times: no more tokens than one for 16 bytes, at least 512.
BYTES_PER_TOKEN, MIN_VOCAB_SIZE = 16, 512


def make_tokenizer(
    run_args: RunArguments, objective: Objective, data: TaskData, model_type: str, output_dir: OutputDir
) -> Any:
    """The tokenizer of --tokenizer_name or --init_from, or one trained on the training texts (the first 100,000 of a
    stream). The other processes read it from the output directory, and a resumed run from its checkpoint. It returns
    token types only to a model that has embeddings for them. Raises ValueError if the task needs special tokens that it
    lacks."""
    training_args, name = run_args.training, run_args.task.tokenizer_name or run_args.model.init_from
    max_length = run_args.model.max_position_embeddings or objective.max_row_length()
    token_types = num_token_types(run_args.model, objective, model_type)
    with training_args.main_process_first(local=False, desc="tokenizer"):
        if name:
            tokenizer = load_tokenizer(name, max_length)
        elif output_dir.resume_from or training_args.process_index > 0:
            tokenizer = load_tokenizer(output_dir.resume_from or str(output_dir.path))
        else:
            style = objective.tokenizer_style(model_type)
            texts = islice(data.texts("train"), MAX_TEXTS if data.streaming else None)
            vocab_size = fitting_vocab_size(run_args.task, data)
            tokenizer = train_tokenizer(
                texts, vocab_size, max_length, style, run_args.task.tokenizer_type, bool(token_types)
            )
        if token_types == 0:
            tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name != TOKEN_TYPE_IDS]
        objective.prepare_tokenizer(tokenizer)
        if training_args.should_save:
            tokenizer.save_pretrained(output_dir.path)
    return tokenizer


def fitting_vocab_size(args: TaskArguments, data: TaskData) -> int:
    """The size of a new vocabulary: --vocab_size, or on the user's data, if that is not given, what suits the size of
    the training text, or has all its characters. A stream, whose size is unknown, has the default."""
    if "vocab_size" not in args.fits_data or data.streaming:
        return args.vocab_size
    if args.tokenizer_type == "characters":
        return sys.maxsize
    size = data.source_bytes["train"]
    largest = [vocab_size for megabytes, vocab_size in VOCAB_SIZES.items() if size >= megabytes * 1e6][-1]
    vocab_size = min(largest, max(MIN_VOCAB_SIZE, size // BYTES_PER_TOKEN))
    print_on_main_process(f"Vocabulary: at most {vocab_size:,} tokens, by your {size:,} bytes of training text")
    return vocab_size
