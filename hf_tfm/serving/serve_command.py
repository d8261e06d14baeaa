"""`hf-tfm serve CHECKPOINT`: transformers' server with the API of OpenAI, for our models and native ones."""

import functools
import signal
from typing import Any

import torch
import transformers
from transformers import AutoConfig
from transformers.cli.serve import Serve
from transformers.cli.serving.model_manager import ModelManager
from transformers.cli.serving.utils import split_model_id

from hf_tfm.errors import missing_folder_errors
from hf_tfm.modeling.configuration_tfm import TfmConfig

from .typer_commands import run_command

__all__ = ["main"]


def main(arguments: list[str], prog: str) -> None:
    # the server shuts down and then sends itself the signal again: a thread of continuous batching would live on
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    run_command(serve, Serve, arguments, prog)


@functools.wraps(Serve, updated=())
def serve(**options: Any) -> None:
    checkpoint = options["force_model"]
    if checkpoint is not None:
        config = read_config(checkpoint, options["trust_remote_code"])
        if options["continuous_batching"] and isinstance(config, TfmConfig):
            check_continuous_batching(config)
    Serve(**options)


def read_config(checkpoint: str, trust_remote_code: bool) -> Any:
    """The configuration of a folder or Hub name, with @revision. Raises ValueError if it is neither: before the server
    starts, since every request would fail."""
    name = ModelManager.process_model_name(split_model_id(checkpoint)[0])
    path, _, revision = name.partition("@")
    with missing_folder_errors(path):
        return AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)


def check_continuous_batching(config: TfmConfig) -> None:
    """Raises ValueError for a model whose features continuous batching would drop."""
    with torch.device("meta"):
        model = getattr(transformers, (config.architectures or [""])[0])(config)
    if hasattr(model, "init_continuous_batching"):
        model.init_continuous_batching()
