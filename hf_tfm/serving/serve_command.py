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
    if checkpoint is not None and options["continuous_batching"]:
        check_continuous_batching(checkpoint, options["trust_remote_code"])
    Serve(**options)


def check_continuous_batching(checkpoint: str, trust_remote_code: bool) -> None:
    """Raises ValueError for a model of ours whose features continuous batching would drop: before the server starts,
    since every request would fail. `checkpoint`: a folder or Hub name, with @revision."""
    name = ModelManager.process_model_name(split_model_id(checkpoint)[0])
    path, _, revision = name.partition("@")
    config = AutoConfig.from_pretrained(path, revision=revision, trust_remote_code=trust_remote_code)
    if isinstance(config, TfmConfig):
        with torch.device("meta"):
            model = getattr(transformers, (config.architectures or [""])[0])(config)
        if hasattr(model, "init_continuous_batching"):
            model.init_continuous_batching()
