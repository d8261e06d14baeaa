"""The page of a finished run, inspect.html: the model from inside, on the text of its first sample."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hf_tfm.inspection import make_report
from hf_tfm.inspection.page import render_page
from hf_tfm.inspection.text_inputs import MAX_TOKENS
from hf_tfm.privacy import hide_secret_values, without_secrets

from ..arguments.run_arguments import RunArguments
from ..loop.trainer import TfmTrainer
from ..utils.files import write_atomically

__all__ = ["PAGE_FILE", "write_inspect_page"]

PAGE_FILE = "inspect.html"


def write_inspect_page(trainer: TfmTrainer, run_args: RunArguments, name: str, sample_input: Any, output: str) -> bool:
    """Write the page into the output directory. `name`: what it calls the model; `output`: the model's, for
    `sample_input`. Returns False, after one line with the reason, if there is none: whatever it is, it does not fail a
    run that is finished."""
    try:
        check_whole_weights(run_args)
        page = make_page(trainer, name, sample_input, output)
        write_atomically(Path(str(trainer.args.output_dir)) / PAGE_FILE, page)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        print(f"No {PAGE_FILE}: {without_secrets(reason)}")
        return False
    return True


def check_whole_weights(run_args: RunArguments) -> None:
    """Raises ValueError if this process does not hold one whole model."""
    if run_args.model.peft and not run_args.model.merge_adapter:
        raise ValueError("this run trained an adapter, and the page reads a whole model; add --merge_adapter for one.")
    if run_args.training.sharding_options() or run_args.training.sharded_by_accelerate:
        raise ValueError(
            "the weights are shared out among processes; `hf-tfm inspect` makes the page from the folder of the run."
        )


def make_page(trainer: TfmTrainer, name: str, sample_input: Any, output: str) -> str:
    """The page of the weights that the run saved."""
    model: Any = trainer.accelerator.unwrap_model(trainer.model)
    tokenizer: Any = trainer.processing_class
    options = trainer.objective.inspected_text(tokenizer, sample_input, output)
    longest = min(MAX_TOKENS, model.config.max_position_embeddings)
    with trainer.ema_weights(), forward_of_class(model):
        report = make_report(model, tokenizer, name=name, max_tokens=longest, **options)
    return hide_secret_values(render_page(report), trainer.args.hub_token)


@contextmanager
def forward_of_class(model: Any) -> Iterator[None]:
    """The model computes in the dtype of its weights. accelerate puts a forward pass of its own in the place of the
    model's, which computes in that of --bf16 or --fp16."""
    replaced = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if replaced is not None:
            model.forward = replaced
