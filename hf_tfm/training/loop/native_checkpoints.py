"""Checkpoints of native families as the start of a run: they are converted when they are loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoConfig, PreTrainedConfig

from hf_tfm.conversion import from_native
from hf_tfm.conversion.auto_classes import AUTO_CLASSES, head_of_config
from hf_tfm.conversion.registry import family_of, is_supported

from ..utils.printing import print_on_main_process

__all__ = ["converted_checkpoint", "to_tfm_config"]


def to_tfm_config(config: PreTrainedConfig) -> Any:
    """The configuration of a native family as one of ours; any other configuration unchanged."""
    if not is_supported(config.model_type):
        return config
    return family_of(config).config_to_ours(config, "base", {})


@contextmanager
def converted_checkpoint(source: str, auto_class: str, labels: dict[str, Any]) -> Iterator[str]:
    """The folder or Hub name from which a checkpoint can be loaded: `source` itself, or a temporary folder with a
    native checkpoint converted to float32 with the head of `auto_class`. A head that it lacks is made for `labels`."""
    config = AutoConfig.from_pretrained(source)
    if not is_supported(config.model_type):
        yield source
        return
    family = family_of(config)
    head = next((head for head in family.heads if AUTO_CLASSES[family.our_head(head)].__name__ == auto_class), "base")
    label_fields = {} if head_of_config(config) == head else labels
    with TemporaryDirectory() as folder:
        model = from_native(source, head, dtype=torch.float32, **label_fields)
        model.save_pretrained(folder)
        print_on_main_process(f"{source}: {config.model_type}, converted to {model.config.model_type}")
        yield folder
